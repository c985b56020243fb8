package app

import (
	"testing"

	"waybill/transport"
)

func TestWhatMailqSays(t *testing.T) {
	for _, c := range []struct{ mailer, text, want string }{
		{"esmtp", "Connection refused", "Deferred: Connection refused"},
		{"", "busy", "bob@x... busy"},
		{"*error*", "come again", "bob@x... come again"},
		{"*error*", "host map: lookup (x): deferred", "host map: lookup (x): deferred"},
	} {
		if got := cfSaid("bob@x", c.mailer, transport.NewStatus(transport.Deferred, "4.2.0", c.text)); got != c.want {
			t.Errorf("%s, %s: %q, want %q", c.mailer, c.text, got, c.want)
		}
	}
}
