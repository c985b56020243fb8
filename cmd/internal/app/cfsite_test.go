package app

import (
	"flag"
	"slices"
	"testing"

	"waybill/compat/cf"
	"waybill/compat/flags"
	"waybill/transport/envelope"
)

func TestDaemonPort(t *testing.T) {
	for in, want := range map[string]string{
		"Name=MTA":                               "*:25",
		"Port=587, Name=MSA, M=E":                "*:587",
		"Name=MTA,Port=smtp,Addr=127.0.0.1":      "127.0.0.1:25",
		"Family=inet6, Addr=IPv6:::1, Port=2525": "[::1]:2525",
	} {
		if got := daemonPort(in); got != want {
			t.Errorf("%s: %s, not %s", in, got, want)
		}
	}
}

// What a command line says reaches an engine that is started for it.
func TestOverridesAsArguments(t *testing.T) {
	o := overrides{options: []flags.Option{{Name: "Timeout.queuewarn", Value: "3s"}}, macros: []flags.Macro{{Name: "j", Value: "a\nDjevil"}}, tag: "tag"}
	var again overrides
	fs := flag.NewFlagSet("x", flag.ContinueOnError)
	again.flags(fs)
	if err := fs.Parse(o.args()); err != nil {
		t.Fatal(err)
	}
	if got := again.extra(); len(got) != 1 || got[0] != (cf.Option{Name: "Timeout", Sub: "queuewarn", Value: "3s"}) {
		t.Errorf("%+v", got)
	}
	if got := again.lines(); !slices.Equal(got, []string{"D{j}a Djevil"}) {
		t.Errorf("%q", got)
	}
}

func TestNamesSender(t *testing.T) {
	byRoot := envelope.Origin{Protocol: "local", User: "root"}
	bySMTP := envelope.Origin{Protocol: "ESMTP", UID: -1}
	notice := envelope.Origin{Protocol: "local", UID: -1}
	for _, tc := range []struct {
		name string
		site *cfSite
		e    envelope.Envelope
		want bool
	}{
		{"who called", &cfSite{}, envelope.Envelope{Sender: "root", Origin: byRoot}, false},
		{"who called, in a queue run", &cfSite{queueRun: true}, envelope.Envelope{Sender: "root", Origin: byRoot}, true},
		{"somebody else", &cfSite{}, envelope.Envelope{Sender: "a@example.org", Origin: byRoot}, true},
		{"nobody, by -f", &cfSite{oneShot: true}, envelope.Envelope{Origin: byRoot}, true},
		{"by SMTP", &cfSite{}, envelope.Envelope{Sender: "root", Origin: bySMTP}, true},
		{"a notice to who called", &cfSite{oneShot: true}, envelope.Envelope{Origin: notice}, false},
		{"a notice of the daemon", &cfSite{}, envelope.Envelope{Origin: notice}, true},
	} {
		if got := tc.site.namesSender(&tc.e); got != tc.want {
			t.Errorf("%s: %v", tc.name, got)
		}
	}
}
