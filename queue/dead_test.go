package queue

import (
	"context"
	"io"
	"strings"
	"testing"

	"waybill/queue/spool/crashfs"
	"waybill/transport/envelope"
)

// What a killed daemon has left in its log is listed, shown, held and delivered by those who come without a daemon.
func TestLogOfADeadDaemonIsSeen(t *testing.T) {
	r := logRig(t)
	receipt, err := r.q.Accept(context.Background(), mail("alice@here.test", envelope.WhenQueue, "bob@there.test"), strings.NewReader(message("dead", 100)), Options{})
	if err != nil || r.q.spool.Logged() != 1 {
		t.Fatal(err, r.q.spool.Logged())
	}
	r.fs = r.fs.Crash(crashfs.All, nil)
	r.useLog = false
	r.open()
	defer r.closeQueue()
	var got []string
	if err := r.q.List(context.Background(), func(l Listed) error { got = append(got, l.ID); return nil }); err != nil || len(got) != 1 || got[0] != receipt.ID {
		t.Fatalf("listed %v, want %s: %v", got, receipt.ID, err)
	}
	if err := r.q.Control(context.Background(), "test", []string{"hold", receipt.ID}, func(line string) error { _, err := io.WriteString(io.Discard, line); return err }); err != nil {
		t.Error(err)
	}
	if names := r.fs.Names("/spool/hold"); len(names) != 1 || names[0] != receipt.ID {
		t.Errorf("held: %v", names)
	}
}
