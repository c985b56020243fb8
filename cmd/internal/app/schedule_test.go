package app

import (
	"context"
	"testing"
	"time"

	"waybill/compat/cf"
	"waybill/queue"
	"waybill/transport/envelope"
)

// TestTimeoutsOfClasses holds Timeout.queuereturn and Timeout.queuewarn with and without a class.
func TestTimeoutsOfClasses(t *testing.T) {
	const day = 24 * time.Hour
	plans := newCFPlans(&cf.Config{Options: []cf.Option{
		{Name: "Timeout", Sub: "queuereturn.urgent", Value: "9d"},
		{Name: "Timeout", Sub: "queuereturn", Value: "3d"},
		{Name: "Timeout", Sub: "queuereturn.non-urgent", Value: "7"},
		{Name: "Timeout", Sub: "queuereturn.dsn", Value: "1d12h"},
		{Name: "Timeout", Sub: "queuewarn", Value: "4h"},
		{Name: "Timeout", Sub: "queuewarn.urgent", Value: "now"},
		{Name: "Timeout", Sub: "queuewarn.dsn", Value: "0"},
	}})
	for _, c := range []struct {
		priority, sender string
		back, warn       time.Duration
	}{
		{"", "a@b", 3 * day, 4 * time.Hour},
		{"normal", "a@b", 3 * day, 4 * time.Hour},
		{"Urgent", "a@b", 3 * day, 1},
		{"non-urgent", "a@b", 7 * day, 4 * time.Hour},
		{"urgent", "", 36 * time.Hour, -1},
	} {
		q := queue.Question{Sender: envelope.Address(c.sender), Origin: envelope.Origin{Protocol: "local"}, Header: func(string) string { return c.priority }}
		p, err := plans.Plan(context.Background(), q, queue.Decision{}, nil)
		if err != nil || p.GiveUp != c.back || p.WarnAfter != c.warn {
			t.Errorf("%q from <%s>: %v and %v, %v; want %v and %v", c.priority, c.sender, p.GiveUp, p.WarnAfter, err, c.back, c.warn)
		}
	}
}
