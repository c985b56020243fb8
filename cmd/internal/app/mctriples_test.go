package app

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"waybill/compat/cf"
	"waybill/compat/convert"
	"waybill/etc"
	"waybill/rules"
)

// TestMCBothWays turns each .mc file into rules of our own, and into a sendmail.cf with m4, which the real sendmail
// reads; then both are asked where mail for some hundred addresses goes: mailer, host, user.
func TestMCBothWays(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("sendmail wants to be root")
	}
	for name, file := range madeByM4(t) {
		if name == "debian" {
			continue // it includes m4 files of its installation
		}
		t.Run(name, func(t *testing.T) {
			dir := filepath.Dir(file)
			var text, says strings.Builder
			mc := filepath.Join(dir, "site.mc")
			if err := os.Rename(filepath.Join(dir, "mc"), mc); err != nil {
				t.Fatal(err)
			}
			rulesCommand(stdio{strings.NewReader(""), &text, &says}, []string{"convert", mc})
			router, err := rules.Load("site.rules", rules.Options{Text: []byte(text.String()), Library: etc.Library(), Hostname: oracleHost.Name})
			if err != nil {
				t.Fatalf("%v\n%s", err, &text)
			}
			conf, err := cf.ReadFile(file, cf.Options{Host: oracleHost})
			if err != nil {
				t.Fatal(err)
			}
			list := convert.NewAddresses(conf, rand.New(rand.NewPCG(3, 1))).Ordinary(400)
			if name == "old" {
				list = append(list, strings.Fields(`alice@mapped.example bob@mapped.example bob+x@mapped.example alice+y@mapped.example joe.user@mapped.example nobody@mapped.example
					alice@two-parts.example carol+z@two-parts.example a%b.example@mapped.example b.example!a@mapped.example +joe +bob@localhost joe@node.vnet joe@node.rscs
					joe@node.ipnet joe%node.rscs@gate.example joe%ibmus.rscs@gate.example joe@w.ibm.com joe@a.b.ibm.com`)...)
			}
			want := parsedBySendmail(t, dir, file, list)
			wrong, asked := 0, 0
			for i, a := range list {
				if why := notCompared(name, a, want[i]); why != "" {
					continue
				}
				asked++
				d, err := router.Route(context.Background(), rules.Query{Recipient: a, Sender: "x@example.net"}, nil)
				got := triple(d, err)
				if part := strings.SplitN(want[i], "|", 3); name == "submit" && len(part) == 3 { // the mailer itself has the host (A=TCP [127.0.0.1])
					want[i] = part[0] + "|[127.0.0.1]|" + part[2]
				}
				if got != want[i] {
					if wrong++; wrong <= 12 {
						t.Errorf("%s: sendmail %s, we %s", a, want[i], got)
					}
				}
			}
			if asked < len(list)/3 {
				t.Errorf("only %d addresses were compared", asked)
			}
			if wrong > 0 {
				t.Errorf("%d of %d differ; the rules:\n%s%s", wrong, len(list), &text, &says)
			}
		})
	}
}

// notCompared tells why an address is left out: sendmail decides about it only when it delivers (ruleset 5), or it has no
// meaning for a site.
func notCompared(site, address, want string) string {
	switch {
	case (site == "client" || site == "satellite" || site == "submit") && strings.HasPrefix(want, "local|"):
		return "ruleset 5 sends it on"
	case site == "gateway" && strings.HasSuffix(strings.ToLower(address), "@mail.example.org"):
		return "the machine of this test has another name"
	case strings.HasSuffix(strings.ToUpper(address), ".UUCP") && site != "bangs" && site != "satellite":
		return "there is no UUCP"
	}
	return ""
}

var parsed = regexp.MustCompile(`(?m)^mailer (\S+?)(?:, host ([^,]*))?, user (.*)$`)

// parsedBySendmail asks the real one, in namespaces of its own.
func parsedBySendmail(t *testing.T, dir, file string, list []string) []string {
	t.Helper()
	peers := os.Getenv("PEERS")
	if peers == "" {
		peers, _ = filepath.Abs("../../../run/peers")
	}
	work := safeDir(t)
	files, _ := filepath.Glob(filepath.Join(dir, "*"))
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		put := strings.ReplaceAll(string(data), dir, work)
		if err := os.WriteFile(filepath.Join(work, filepath.Base(f)), []byte(put), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(work, "resolv.conf"), []byte("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	var in strings.Builder
	for _, a := range list {
		fmt.Fprintf(&in, ".D{zz}mark\n$={zzz}\n/parse %s\n", a)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	script := `hostname mail.example.org && mount --bind "$0/hosts" /etc/hosts && mount --bind "$0/resolv.conf" /etc/resolv.conf && exec "$@"`
	cmd := exec.CommandContext(ctx, "unshare", "-n", "-u", "-m", "--", "/bin/sh", "-c", script, work,
		filepath.Join(peers, "sendmail/usr/libexec/sendmail/sendmail"), "-bt", "-C", filepath.Join(work, filepath.Base(file)))
	cmd.Stdin = strings.NewReader(in.String())
	out, err := cmd.Output()
	parts := strings.Split(string(out), "> Cracked address")
	if len(parts) != len(list)+1 {
		t.Fatalf("%d answers for %d addresses (%v)\n%.2000s", len(parts)-1, len(list), err, out)
	}
	var answers []string
	for _, part := range parts[1:] {
		m := parsed.FindStringSubmatch(part)
		switch {
		case m == nil:
			answers = append(answers, "none "+part)
		case m[1] == "*error*" && strings.Contains(part, "$# discard"):
			answers = append(answers, "discard")
		case m[1] == "*error*":
			class := "5"
			if strings.HasPrefix(strings.TrimLeft(m[3], `"`), "4") || strings.HasPrefix(m[2], "4") || m[2] == "75" {
				class = "4"
			}
			answers = append(answers, "error "+class)
		default:
			answers = append(answers, plainTriple(m[1], m[2], m[3]))
		}
	}
	return answers
}
