package rules

import (
	"context"
	"strings"
	"testing"

	"waybill/etc"
)

// TestOddAddresses asks the default rules about addresses that people and attackers write.
func TestOddAddresses(t *testing.T) {
	r, err := Load("default.rules", Options{Text: etc.DefaultRules(), Library: etc.Library(), Hostname: "mail.example.org"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ address, want string }{
		{"Üser@exämple.example", "esmtp exämple.example Üser@exämple.example"},
		{"用户@例子.example", "esmtp 例子.example 用户@例子.example"},
		{`"a@b"@example.com`, `esmtp example.com "a@b"@example.com`},
		{`a\@b@example.com`, `esmtp example.com a\@b@example.com`},
		{"a@b", "esmtp b a@b"},
		{"o'brien@example.com", "esmtp example.com o'brien@example.com"},
		{"$x@example.com", "esmtp example.com $x@example.com"},
		{"${host}@example.com", "esmtp example.com ${host}@example.com"},
		{"-oQ/tmp@example.com", "esmtp example.com -oQ/tmp@example.com"},
		{"|/bin/sh", "local |/bin/sh"}, // a user name like any other: there is no such user
		{"/etc/passwd", "local /etc/passwd"},
		{"bob (a comment)@example.com", "esmtp example.com bob@example.com"},
		{"a@b\r\nc", "reject 553 5.1.3 this is no mailbox address"},
		{"a\x00b@c", "reject 553 5.1.3 this is no mailbox address"},
		{"Bob <bob@example.com>", "reject 553 5.1.3 this is no mailbox address"},
		{`"unbalanced@example.com`, "reject 553 5.1.3 this is no mailbox address"},
		{"\x81error@example.com", "reject 553 5.1.3 this is no mailbox address"},
		{strings.Repeat("a", 1000) + "@example.com", "reject 553 5.1.3 this is no mailbox address"},
		{" ", "reject 553 5.1.3 this is no mailbox address"},
	} {
		d, err := r.Route(context.Background(), Query{Recipient: c.address}, nil)
		if got := strings.Join(decisionWords(d, err), " "); got != c.want {
			t.Errorf("%q: %s, want %s", c.address, got, c.want)
		}
	}
}
