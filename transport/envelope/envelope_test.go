package envelope

import "testing"

func TestName(t *testing.T) {
	for _, c := range []struct {
		r    Recipient
		want string
	}{
		{Recipient{Addr: "bob@example.org"}, "bob@example.org"},
		{Recipient{Addr: `\bob`}, `\bob`},
		{Recipient{Addr: NoAlias + "bob"}, "bob"},
		{Recipient{Command: "/bin/x y"}, "|/bin/x y"},
		{Recipient{Command: `"|/bin/x y"`}, `"|/bin/x y"`},
		{Recipient{File: "/var/mail/x"}, "/var/mail/x"},
	} {
		if got := c.r.Name(); got != c.want {
			t.Errorf("%+v is shown as %q, want %q", c.r, got, c.want)
		}
	}
}
