package pipe

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"waybill/transport"
	"waybill/transport/envelope"
	"waybill/transport/passwd"
)

// nncp runs a tool of NNCP.
func nncp(t *testing.T, tool string, args ...string) []byte {
	t.Helper()
	out, err := exec.Command(tool, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", tool, err, out)
	}
	return out
}

// TestNNCP sends mail by nncp-exec, carries the packets over by way of a directory, as on a stick, and lets the real
// nncp-toss run the program at the other end.
func TestNNCP(t *testing.T) {
	for _, tool := range []string{"nncp-cfgnew", "nncp-exec", "nncp-xfer", "nncp-toss"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatal(err)
			}
			t.Skip(err)
		}
	}
	dir := t.TempDir()
	program, err := exec.LookPath("nncp-exec")
	if err != nil {
		t.Fatal(err)
	}
	receive := script(t, dir+"/receive", `n=$(mktemp `+dir+`/in.XXXXXX); for a; do echo "<$a>"; done >$n; cat >>$n`)
	self, neighbour := map[string]string{}, map[string]string{}
	for _, site := range []string{"alpha", "beta"} {
		full := string(nncp(t, "nncp-cfgnew", "-nocomments"))
		value := func(key string) string {
			m := regexp.MustCompile(`\b` + key + `: (\S+)`).FindStringSubmatch(full)
			if m == nil {
				t.Fatalf("no %s in %s", key, full)
			}
			return m[1]
		}
		for _, key := range []string{"id", "exchpub", "exchprv", "signpub", "signprv", "noisepub", "noiseprv"} {
			self[site] += "    " + key + ": " + value(key) + "\n"
			if !strings.HasSuffix(key, "prv") {
				neighbour[site] += "      " + key + ": " + value(key) + "\n"
			}
		}
	}
	for site, other := range map[string]string{"alpha": "beta", "beta": "alpha"} {
		if err := os.Mkdir(filepath.Join(dir, site), 0o700); err != nil {
			t.Fatal(err)
		}
		conf := fmt.Sprintf("{\n  spool: %s/%s\n  log: %s/%s.log\n  self: {\n%s  }\n  neigh: {\n    self: {\n%s    }\n    %s: {\n%s      exec: {sendmail: [%q]}\n    }\n  }\n}\n",
			dir, site, dir, site, self[site], neighbour[site], other, neighbour[other], receive)
		if err := os.WriteFile(filepath.Join(dir, site+".hjson"), []byte(conf), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p := open(t, Config{
		Program: program, Args: []string{"nncp-exec", "-cfg", dir + "/alpha.hjson", "-quiet", "-noprogress", "$h", "sendmail", "-i", "-f$f", "--", "$u"}, MaxUsers: 10, NoFromLine: true,
		Users: passwd.Static{"me": {UID: os.Getuid(), GID: os.Getgid(), Home: dir}}, User: "me",
	})
	names := []string{"bob", "two words", "-rf", "$(id)", "`id`", "a'b\"c", "..", "ü@ö.example", "a;b|c&d>e<f"}
	var rcpts []transport.Recipient
	for _, n := range names {
		rcpts = append(rcpts, user(n))
	}
	req := request(rcpts...)
	req.Host = "beta"
	body := "Subject: far\n\nFrom here\n.\n\x00\xff bare \r CR\n" + strings.Repeat("x", 100_000) + "\n"
	req.Body = envelope.BytesBody(body)
	for i, s := range p.Deliver(context.Background(), req) {
		check(t, names[i], s, transport.Delivered, "2.0.0")
	}
	req.Host = "nosuch"
	if s := p.Deliver(context.Background(), req)[0]; s.Outcome() != transport.Failed {
		t.Errorf("an unknown node: %v %s %s", s.Outcome(), s.Code(), s.Text())
	}
	carrier := filepath.Join(dir, "stick")
	if err := os.Mkdir(carrier, 0o700); err != nil {
		t.Fatal(err)
	}
	nncp(t, "nncp-xfer", "-cfg", dir+"/alpha.hjson", "-quiet", "-noprogress", "-tx", "-mkdir", carrier)
	nncp(t, "nncp-xfer", "-cfg", dir+"/beta.hjson", "-quiet", "-noprogress", "-rx", carrier)
	nncp(t, "nncp-toss", "-cfg", dir+"/beta.hjson", "-quiet", "-noprogress")
	arrived, err := filepath.Glob(dir + "/in.*")
	if err != nil || len(arrived) != 1 {
		t.Fatalf("arrived: %q %v", arrived, err)
	}
	got, err := os.ReadFile(arrived[0])
	if err != nil {
		t.Fatal(err)
	}
	want := "<-i>\n<-fs@x>\n<-->\n<" + strings.Join(names, ">\n<") + ">\n" + body
	if !bytes.Equal(got, []byte(want)) {
		t.Errorf("arrived %.300q\nwant %.300q", got, want)
	}
}
