package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"waybill/transport/smtpclient"
)

// TestLogins reads both forms of a file with logins.
func TestLogins(t *testing.T) {
	file := filepath.Join(t.TempDir(), "logins")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("# ours\nmail.example.com joe secret\nAuthInfo:Hub.example.net\t\"U:smmsp\" \"I:relay\" \"P:se cret\" \"M:PLAIN LOGIN\"\nAuthInfo:[192.0.2.1] \"U:bob\" \"P=c2VjcmV0\"\nAuthInfo: \"U:all\" \"P:x\"\n")
	l, err := readLogins(file)
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]string{"MAIL.example.com": "joe||secret|", "hub.example.net": "relay|smmsp|se cret|PLAIN LOGIN", "[192.0.2.1]": "bob||secret|", "other.example": "all||x|"} {
		c, ok, err := l.find(t.Context(), smtpclient.Peer{Host: host, Domain: "d.example"})
		if got := c.User + "|" + c.Identity + "|" + c.Password + "|" + strings.Join(c.Mechanisms, " "); got != want || !ok || err != nil {
			t.Errorf("%s: %s %v %v, want %s", host, got, ok, err, want)
		}
	}
	write("AuthInfo:a.example \"P:x\"\n")
	if _, err := readLogins(file); err == nil || !strings.Contains(err.Error(), "logins:1: a login has a user") {
		t.Error(err)
	}
}
