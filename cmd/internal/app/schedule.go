package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"waybill/compat/cf"
	"waybill/compat/flags"
	"waybill/queue"
	"waybill/queue/maillog"
	"waybill/queue/sched"
	"waybill/rules"
)

// openLog opens the mail log. Who only looks at the queue (level is above Info) may do so without it.
func openLog(where string, opt maillog.Options, level slog.Level) (*maillog.Log, error) {
	l, err := maillog.Open(where, opt)
	if errors.Is(err, os.ErrPermission) && level > slog.LevelInfo {
		return maillog.Open("stderr", opt)
	}
	return l, err
}

// spoolTrouble says what to do about a spool that cannot be used.
func spoolTrouble(dir string, err error) error {
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("the spool cannot be used: %w; make the directory above %s, or name another one with: spool DIRECTORY", err, dir)
	case errors.Is(err, os.ErrPermission) && os.Getuid() != 0:
		return fmt.Errorf("the spool cannot be used: %w; no daemon runs that could answer, so this takes the rights of root or of the daemon's user", err)
	}
	return fmt.Errorf("the spool cannot be used: %w", err)
}

// Plan asks the schedule block of the rules.
func (q queueRouter) Plan(ctx context.Context, question queue.Question, d queue.Decision, failure []string) (queue.Plan, error) {
	query := q.query(question)
	query.Error = failure
	p, err := q.r.Schedule(ctx, query, rules.Decision{Mailer: d.Mailer, Host: d.Host, User: d.User, Priority: d.Priority}, nil)
	if err != nil {
		return queue.Plan{}, err
	}
	out := queue.Plan{Retry: sched.Delays(p.Retry), Concurrency: p.Concurrency, Rate: sched.Rate{N: p.Rate, Per: p.RatePer}}
	if p.GiveUp != nil {
		out.GiveUp = max(1, *p.GiveUp)
	}
	if p.WarnAfter != nil {
		out.WarnAfter = *p.WarnAfter
		if out.WarnAfter == 0 {
			out.WarnAfter = -1
		}
	}
	return out, nil
}

// cfPlans are the timeouts of a sendmail.cf for each class of messages.
type cfPlans map[string]queue.Plan

// queueClasses are the classes of Timeout.queuereturn and Timeout.queuewarn: by the Priority field of the header, and
// dsn for notices.
var queueClasses = []string{"normal", "urgent", "non-urgent", "dsn"}

func newCFPlans(c *cf.Config) cfPlans {
	plans := cfPlans{}
	for _, class := range queueClasses {
		p := queue.Plan{GiveUp: 5 * 24 * time.Hour, WarnAfter: -1}
		for _, o := range c.Options { // the last one counts, also one for all classes
			if o.Name == "QueueTimeout" { // "5d/4h"
				back, warn, _ := strings.Cut(o.Value, "/")
				setTimeout(&p.GiveUp, back)
				setTimeout(&p.WarnAfter, warn)
			}
			if o.Name != "Timeout" {
				continue
			}
			switch o.Sub {
			case "queuereturn", "queuereturn." + class:
				setTimeout(&p.GiveUp, o.Value)
			case "queuewarn", "queuewarn." + class:
				setTimeout(&p.WarnAfter, o.Value)
			}
		}
		if p.WarnAfter == 0 {
			p.WarnAfter = -1
		}
		plans[class] = p
	}
	return plans
}

// returnNow is Timeout.queuereturn=now.
const returnNow = 1

// setTimeout reads a time in days, or "now".
func setTimeout(t *time.Duration, v string) {
	if strings.EqualFold(v, "now") {
		*t = returnNow
	} else if d, ok := flags.Duration(v, 24*time.Hour); ok && v != "" {
		*t = d
	}
}

// Plan is the class's. sendmail tells it by the header alone.
func (p cfPlans) Plan(_ context.Context, q queue.Question, _ queue.Decision, _ []string) (queue.Plan, error) {
	class := "normal"
	switch word := strings.ToLower(strings.TrimSpace(q.Header("Priority"))); {
	case isNotice(q.Sender, q.Origin):
		class = "dsn"
	case word == "urgent" || word == "non-urgent":
		class = word
	}
	return p[class], nil
}
