package app

import (
	"testing"
	"time"

	"waybill/compat/cf"
	"waybill/rules/prog"
	"waybill/transport/envelope"
)

func TestFromLineOfAConfiguration(t *testing.T) {
	when := time.Date(2026, 11, 2, 3, 4, 5, 0, time.UTC)
	for _, c := range []struct {
		option string
		sender envelope.Address
		want   string
	}{
		{"", "bob@example.org", "From bob@example.org Mon Nov  2 03:04:05 2026"},
		{"", "", "From  Mon Nov  2 03:04:05 2026"}, // a file has nobody's name for nobody
		{"From $g at $d by $n", "bob", "From bob at Mon Nov  2 03:04:05 2026 by daemon"},
		{"From $g $d", "b\nob\x07", "From bob Mon Nov  2 03:04:05 2026"},
	} {
		conf := &cf.Config{Prog: prog.New()}
		conf.Prog.Macros["n"] = "daemon"
		if c.option != "" {
			conf.Options = append(conf.Options, cf.Option{Name: "UnixFromLine", Value: c.option})
		}
		if got := (&cfSite{conf: conf}).fromLine(c.sender, when); got != c.want {
			t.Errorf("%q, %q: %q, want %q", c.option, c.sender, got, c.want)
		}
	}
}
