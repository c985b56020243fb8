package cf

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestInterfacesAreProbed: without DontProbeInterfaces, addresses and names of the interfaces are this host, as sendmail 8.17
// has them in class w.
func TestInterfacesAreProbed(t *testing.T) {
	host := Host{Name: "mail.example.org", NodeName: "mail", Interfaces: func() []Interface {
		return []Interface{{Address: "127.0.0.1", Names: []string{"localhost"}, Loopback: true}, {Address: "192.0.2.9", Names: []string{"inside.example.org", "inside"}}, {Address: "203.0.113.7"}}
	}}
	for option, want := range map[string]string{
		"":         "[127.0.0.1] [192.0.2.9] [203.0.113.7] [inside.example.org] [inside] [localhost] inside inside.example.org localhost mail mail.example.org",
		"false":    "[127.0.0.1] [192.0.2.9] [203.0.113.7] [inside.example.org] [inside] [localhost] inside inside.example.org localhost mail mail.example.org",
		"loopback": "[127.0.0.1] [192.0.2.9] [203.0.113.7] [inside.example.org] [inside] inside inside.example.org mail mail.example.org",
		"true":     "mail mail.example.org",
	} {
		file := filepath.Join(t.TempDir(), "cf")
		text := "V10/Berkeley\nMlocal, P=/bin/false, A=x\n"
		if option != "" {
			text += "O DontProbeInterfaces=" + option + "\n"
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		c, err := ReadFile(file, Options{Trust: true, Host: host})
		if err != nil {
			t.Fatal(err)
		}
		words := slices.Sorted(slices.Values(c.Prog.Classes["w"].Words))
		if got := strings.Join(words, " "); got != want {
			t.Errorf("DontProbeInterfaces=%s:\n got  %s\n want %s", option, got, want)
		}
	}
	found := false
	for _, i := range interfaces("127.0.0.1 localhost lo # a comment\n") {
		found = found || i.Loopback && i.Address == "127.0.0.1" && slices.Equal(i.Names, []string{"localhost", "lo"})
	}
	if !found {
		t.Error("no loopback interface with the names of the hosts file")
	}
}

// TestLineLimitByFlag: the flag L limits lines where L= does not.
func TestLineLimitByFlag(t *testing.T) {
	file := filepath.Join(t.TempDir(), "cf")
	if err := os.WriteFile(file, []byte("V10/Berkeley\nMlocal, P=/bin/false, A=x\nMa, P=[IPC], F=L, A=TCP $h\nMb, P=[IPC], F=L, L=100, A=TCP $h\nMc, P=/bin/cat, F=l, A=cat\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	c, err := ReadFile(file, Options{Trust: true})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int{"a": 990, "b": 100, "c": 0} {
		if got := c.Mailer(name).LineLimit; got != want {
			t.Errorf("mailer %s: L=%d, want %d", name, got, want)
		}
	}
}
