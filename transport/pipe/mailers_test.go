package pipe

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"waybill/transport"
	"waybill/transport/identity"
)

// Real delivery programs as mailers: procmail and maildrop, with rules that keep, refuse and put off.
func TestDeliveryPrograms(t *testing.T) {
	for _, c := range []struct {
		program string
		args    []string // FILE is the rules file
		rules   map[string]string
	}{
		{"/usr/bin/procmail", []string{"procmail", "-f$f", "-a$d", "FILE"}, map[string]string{
			"keep": "DEFAULT=DIR/box\n:0\n* ^Subject: hi\n{\n :0 c:\n DIR/copy\n}\n", "refuse": "EXITCODE=67\n:0\n/dev/null\n", "later": "EXITCODE=75\n:0\n/dev/null\n",
			"program": "SHELL=/bin/sh\n:0\n| cat > DIR/piped\n",
		}},
		{"/usr/bin/maildrop", []string{"maildrop", "FILE"}, map[string]string{
			"keep": "cc \"DIR/copy\"\nto \"DIR/box\"\n", "refuse": "EXITCODE=67\nexit\n", "later": "EXITCODE=75\nexit\n", "program": "SHELL=\"/bin/sh\"\nto \"| cat > DIR/piped\"\n",
		}},
	} {
		t.Run(filepath.Base(c.program), func(t *testing.T) {
			if _, err := os.Stat(c.program); err != nil {
				if os.Getenv("CI") == "true" {
					t.Fatal(err)
				}
				t.Skip(err)
			}
			dir, users := site(t)
			e := users["prog"]
			if identity.CanChange() { // maildrop wants to find its user in /etc/passwd
				e.UID, e.GID = 8, 8
				users["prog"] = e
				if err := os.Chown(dir, 8, 8); err != nil {
					t.Fatal(err)
				}
			}
			for name, want := range map[string]string{"keep": "2.0.0", "refuse": "5.1.1", "later": "4.3.0", "program": "2.0.0"} {
				file := filepath.Join(dir, name)
				if err := os.WriteFile(file, []byte(strings.ReplaceAll(c.rules[name], "DIR", dir)), 0o600); err != nil {
					t.Fatal(err)
				}
				if err := os.Chown(file, e.UID, e.GID); err != nil {
					t.Fatal(err)
				}
				args := append([]string(nil), c.args...)
				for i := range args {
					args[i] = strings.ReplaceAll(args[i], "FILE", file)
				}
				p := open(t, Config{Program: c.program, Args: args, Users: users, User: "prog", NoFromLine: c.program == "/usr/bin/maildrop"})
				rcpt := user("bob")
				rcpt.Detail = "-detail; $(id)"
				if s := p.Deliver(context.Background(), request(rcpt))[0]; s.Code() != want {
					t.Errorf("%s: %v %s %s, want %s", name, s.Outcome(), s.Code(), s.Text(), want)
				} else if s.Outcome() == transport.Deferred && s.Diagnostic != "x-unix" {
					t.Errorf("%s: diagnostic %q", name, s.Diagnostic)
				}
			}
			for _, name := range []string{"box", "copy", "piped"} {
				if got := read(t, filepath.Join(dir, name)); !strings.Contains(got, "Subject: hi\n\nbody\n") || c.program == "/usr/bin/procmail" && !strings.HasPrefix(got, "From s@x ") {
					t.Errorf("%s: %q", name, got)
				}
			}
		})
	}
}
