package app

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"waybill/etc"
)

func TestVerify(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	users := write("passwd", "alice:x:1001:1001::"+dir+":/bin/sh\nbob:x:1002:1002::"+dir+"/none:/bin/sh\n")
	aliases := write("aliases", "team: bob, carol@example.com, inner, \"|/bin/x y\", /var/mail/box\ninner: alice, nosuchx\nloopa: loopb\nloopb: loopa\n")
	rules := write("site.rules", fmt.Sprintf("host mx.example.org\nspool %s/spool\nset users %s\nset log %s/log\n", dir, users, dir)+
		strings.ReplaceAll(string(etc.DefaultRules()), "?/etc/aliases", aliases))
	for _, c := range []struct {
		args []string
		exit int
		want string
	}{
		{[]string{"bob"}, 0, "bob... deliverable: mailer local, user bob\n"},
		{[]string{"Bob <bob>"}, 0, "Bob <bob>... deliverable: mailer local, user bob\n"},
		{[]string{"carol@example.com"}, 0, "carol@example.com... deliverable: mailer esmtp, host example.com, user carol@example.com\n"},
		{[]string{"nosuch"}, 67, "nosuch... User unknown\n"},
		{[]string{"bob,nosuch", "bob"}, 67, "bob... deliverable: mailer local, user bob\nnosuch... User unknown\n"},
		{[]string{"team"}, 67, "bob... deliverable: mailer local, user bob\n" +
			"carol@example.com... deliverable: mailer esmtp, host example.com, user carol@example.com\n" +
			"alice... deliverable: mailer local, user alice\n" +
			"nosuchx... User unknown\n" +
			"|/bin/x y... deliverable: mailer prog, user |/bin/x y\n" +
			"/var/mail/box... deliverable: mailer *file*, user /var/mail/box\n"},
		{[]string{"loopa"}, 64, "loopa... aliasing/forwarding loop broken\n"},
		{[]string{"a@@b"}, 64, "a@@b... Invalid route address\n"},
		{[]string{"no\x1b]0;x\x07such"}, 64, "no?]0;x?such... Invalid route address\n"},
		{nil, 64, "Recipient names must be specified\n"},
	} {
		var out, errs strings.Builder
		exit := Main(append([]string{"waybill", "--as", "sendmail", "-C" + rules, "-bv"}, c.args...), strings.NewReader(""), &out, &errs)
		if exit != c.exit || out.String() != c.want || errs.Len() > 0 {
			t.Errorf("%q: exit %d, not %d\n%s%s", c.args, exit, c.exit, out.String(), errs.String())
		}
	}
}
