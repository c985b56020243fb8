package app

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"waybill/compat/testmode"
	"waybill/transport/dns"
	"waybill/transport/dns/dnstest"
)

// zoneVariable names the file with a zone that this program serves on the usual port instead of running tests: in the
// network of its own in which the real sendmail runs.
const zoneVariable = "WAYBILL_TEST_ZONE"

func TestMain(m *testing.M) {
	file := os.Getenv(zoneVariable)
	if file == "" {
		os.Exit(m.Run())
	}
	zone, err := os.ReadFile(file)
	if err == nil {
		_, _, err = dnstest.Serve(string(zone), "127.0.0.1:53")
	}
	if err != nil {
		os.Stderr.WriteString(err.Error() + "\n")
		os.Exit(1)
	}
	os.WriteFile(file+".ready", nil, 0o644)
	time.Sleep(5 * time.Minute) // whoever started it ends it, with its network
}

// TestMapsBesideSendmail asks the real sendmail and our address test mode about maps of all classes, with all their
// flags, and compares each answer. testdata/maps/NAME.txtar has the configuration, the questions, the zone, other files,
// and in "ours" the questions that have another answer here, on purpose.
func TestMapsBesideSendmail(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("this test needs root, for a network and a host name of sendmail's own")
	}
	files, _ := filepath.Glob("testdata/maps/*.txtar")
	if len(files) == 0 {
		t.Fatal("no files")
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			mapsBeside(t, a)
		})
	}
}

func mapsBeside(t *testing.T, a *txtar.Archive) {
	dir, err := os.MkdirTemp("/var/lib", "waybill-test-") // the default user must be able to reach programs, and sendmail to trust them
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	text := map[string]string{"hosts": "127.0.0.1 localhost\n192.0.2.10 mail.example.org mail\n", "resolv.conf": "nameserver 127.0.0.1\noptions timeout:20 attempts:2\n"}
	for _, f := range a.Files {
		text[f.Name] = strings.ReplaceAll(string(f.Data), "$DIR", dir)
	}
	for name, data := range text {
		mode := os.FileMode(0o644)
		if strings.HasPrefix(data, "#!") {
			mode = 0o755
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), mode); err != nil {
			t.Fatal(err)
		}
	}
	for name := range text { // what Debian's makemap makes a file of
		if file, is := strings.CutSuffix(name, ".btree"); is {
			cmd := exec.Command(filepath.Join(besidePeers(), "sendmail/usr/libexec/sendmail/makemap"), "-C", "/dev/null", "-d", "btree", filepath.Join(dir, file))
			cmd.Stdin = strings.NewReader(text[name])
			if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
				t.Fatalf("makemap: %v %s", err, out)
			}
		}
	}
	var questions []string
	for q := range strings.Lines(text["questions"]) {
		if q = strings.TrimSpace(q); q != "" {
			questions = append(questions, q)
		}
	}
	input := strings.Join(questions, "\n") + "\n"
	conf := filepath.Join(dir, "cf")
	want := split(t, "sendmail", besideSendmail(t, dir, input), questions)

	var out bytes.Buffer
	at, stop, err := dnstest.Serve(text["zone"], "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	resolver, err := dns.New(dns.Config{Servers: []string{at}, Hosts: "-", Timeout: 30 * time.Second, Tries: 1})
	if err != nil {
		t.Fatal(err)
	}
	testmode.Main([]string{"-bt", "-C", conf}, strings.NewReader(input), &out, testmode.Config{Host: oracleHost, Resolver: ruleTables{resolver}})
	got := split(t, "Waybill", out.String(), questions)
	ours := strings.Split(text["ours"], "\n")
	for i := range want {
		what := "the beginning"
		if i > 0 {
			what = questions[i-1]
		}
		if got[i] != want[i] != slices.Contains(ours, what) {
			t.Errorf("%s\n sendmail %s\n ours     %s", what, want[i], got[i])
		}
	}
}

// besideSendmail runs the real one in namespaces of its own, beside a name server.
func besideSendmail(t *testing.T, dir, input string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	script := `hostname mail.example.org && mount --bind "$0/hosts" /etc/hosts && mount --bind "$0/resolv.conf" /etc/resolv.conf && ip link set lo up || exit 1
if [ -e "$0/zone" ]; then
	` + zoneVariable + `="$0/zone" "$1" </dev/null >/dev/null &
	until [ -e "$0/zone.ready" ]; do sleep 0.05; done
fi
shift; "$@"; kill $!`
	cmd := exec.CommandContext(ctx, "unshare", "-n", "-u", "-m", "-p", "--fork", "--kill-child", "--mount-proc", "--", "/bin/sh", "-c", script, dir, self,
		filepath.Join(besidePeers(), "sendmail/usr/libexec/sendmail/sendmail"), "-bt", "-C", filepath.Join(dir, "cf"))
	cmd.Stdin = strings.NewReader(input)
	var says bytes.Buffer
	cmd.Stderr = &says
	out, err := cmd.Output()
	if len(out) == 0 {
		t.Fatalf("sendmail: %v\n%s", err, &says)
	}
	return string(out)
}

// besidePeers is where the other mail servers are unpacked.
func besidePeers() string {
	peers := os.Getenv("PEERS")
	if peers == "" {
		peers, _ = filepath.Abs("../../../run/peers")
	}
	return peers
}

// split divides what address test mode says by its prompts; the answers to "$=x" have no order.
func split(t *testing.T, who, text string, questions []string) []string {
	t.Helper()
	list := strings.Split(strings.TrimSuffix(text, "\n> "), "\n> ")
	if len(list) != len(questions)+1 {
		t.Fatalf("%s has %d answers to %d questions\n%s", who, len(list)-1, len(questions), text)
	}
	for i, q := range questions {
		if strings.HasPrefix(q, "$=") {
			words := strings.Fields(list[i+1])
			slices.Sort(words)
			list[i+1] = strings.Join(words, " ")
		}
	}
	return list
}
