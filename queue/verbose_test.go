package queue

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"waybill/transport/envelope"
)

// sendmail -v tells of each recipient what became of it, also where no transport says anything.
func TestWhoWatchesHearsTheOutcomes(t *testing.T) {
	r := newRig(t)
	r.route = func(q Question) (Decision, error) {
		if strings.HasPrefix(string(q.Recipient), "later") {
			return Decision{}, errors.New("the name server does not answer")
		}
		return plainRoute(q)
	}
	var heard []string
	e := mail("alice@here.test", envelope.WhenNow, "bob@there.test", "later@there.test")
	opt := Options{Verbose: func(line string) { heard = append(heard, line) }}
	if _, err := r.q.Accept(context.Background(), e, strings.NewReader(message("one", 100)), opt); err != nil {
		t.Fatal(err)
	}
	want := []string{"bob@there.test... Sent", "later@there.test... Deferred: Temporary lookup failure"}
	if !slices.Equal(heard, want) {
		t.Errorf("heard %q, want %q", heard, want)
	}
}
