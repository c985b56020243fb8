package pipe

import (
	"context"
	"os"
	"testing"

	"waybill/transport"
)

// What a stranger wrote reaches no interpreter, by whichever macro it comes.
func TestNothingOfAMessageReachesAnInterpreter(t *testing.T) {
	dir, users := site(t)
	for _, c := range []struct {
		arg, host string
		outcome   transport.Outcome
	}{
		{"cat >" + dir + "/mail; echo $h", "h.example", transport.Delivered},
		{"cat >" + dir + "/mail; echo $h", "x;touch " + dir + "/broken", transport.Failed},
		{"cat >" + dir + "/mail; echo $h", "-x", transport.Failed},
		{"cat >" + dir + "/mail; echo $d", "h.example", transport.Failed},
		{"cat >" + dir + "/mail; echo ${client_name}", "h.example", transport.Failed},
	} {
		p := open(t, Config{Program: "/bin/sh", Args: []string{"sh", "-c", c.arg, "sh", "$u"}, Users: users, User: "prog"})
		req := request(user("bob"))
		req.Host = c.host
		req.Recipients[0].Detail = "`touch " + dir + "/broken`"
		req.Envelope.Origin.ClientName = "$(touch " + dir + "/broken)"
		if s := p.Deliver(context.Background(), req)[0]; s.Outcome() != c.outcome {
			t.Errorf("%s with %s: %v %s", c.arg, c.host, s.Outcome(), s.Text())
		}
		if _, err := os.Stat(dir + "/broken"); err == nil {
			t.Fatalf("%s with %s: the interpreter obeyed", c.arg, c.host)
		}
	}
}
