package queue

import (
	"strings"
	"testing"
	"time"

	"waybill/queue/spool"
	"waybill/transport/envelope"
)

// A message of another queue keeps what it waits for, said once, and the place in the order that its header gives it.
func TestImportKeepsReasonAndPriority(t *testing.T) {
	r := newRig(t)
	id, err := r.q.Import(Import{
		Envelope: mail("alice@here.test", envelope.WhenDefault, "bob@there.test"),
		Body:     strings.NewReader("Precedence: bulk\nSubject: one\n\nbody\n"),
		Tries:    4, LastTry: time.Now(), Why: "Deferred: Connection refused by mx.there.test",
	})
	if err != nil {
		t.Fatal(err)
	}
	m, err := r.q.Spool().Peek(id, false)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if got := m.Recipients[0].Status; got.Outcome != spool.Deferred || got.Text != "Connection refused by mx.there.test" {
		t.Errorf("waits because of %q (%s)", got.Text, got.Outcome)
	}
	if m.Envelope.Priority != -60 || m.Attempts != 4 {
		t.Errorf("priority %d after %d attempts", m.Envelope.Priority, m.Attempts)
	}
}
