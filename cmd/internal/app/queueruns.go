package app

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"waybill/compat/cf"
	"waybill/compat/flags"
	"waybill/queue"
	"waybill/queue/sched"
	"waybill/queue/spool"
)

// queueRuns is what -q says to a daemon.
type queueRuns struct {
	interval time.Duration // -q30m: of queue runs; 0: not said
	only     bool          // no SMTP: -q30m without -bd
}

func runsOf(v *flags.Invocation) queueRuns {
	return queueRuns{interval: v.Queue.Interval, only: v.Mode == flags.RunQueue}
}

func (r queueRuns) args() []string {
	var list []string
	if r.interval > 0 {
		list = append(list, "-queue-interval", r.interval.String())
	}
	if r.only && r.interval > 0 {
		list = append(list, "-queue-only")
	}
	return list
}

func (r *queueRuns) flags(fs *flag.FlagSet) {
	fs.DurationVar(&r.interval, "queue-interval", 0, "the `time` between queue runs: how long mail waits that is to wait for one")
	fs.BoolVar(&r.only, "queue-only", false, "work on the queue, and take no SMTP")
}

func runsIn(given []overrides) queueRuns {
	if len(given) == 0 {
		return queueRuns{}
	}
	return given[0].runs
}

// queueInterval is when mail is tried again with a sendmail.cf: in each queue run, if somebody has said how often those
// are, but not before MinQueueAge; with MaxQueueAge the time doubles from run to run up to that.
func queueInterval(given []overrides, c *cf.Config, standard []time.Duration) sched.Delays {
	interval := max(runsIn(given).interval, minAge(c))
	if runsIn(given).interval == 0 || interval < time.Second {
		return sched.Delays(standard)
	}
	list := sched.Delays{interval}
	v, _ := c.Option("MaxQueueAge", "")
	most, _ := flags.Duration(v, time.Minute)
	for next := 2 * interval; next <= most && len(list) < 30; next *= 2 {
		list = append(list, next)
	}
	if most > list[len(list)-1] {
		list = append(list, most)
	}
	return list
}

// listenUnless opens the ports, but not for a daemon that only runs the queue.
func (s *site) listenUnless(only bool) ([]port, error) {
	if only {
		return nil, nil
	}
	return s.listen()
}

// queueRunner is -q30m without -bd: a daemon without SMTP. One that runs already runs this queue, too.
func queueRunner(std stdio, v *flags.Invocation) int {
	located, err := spool.Locate(v.ConfigFile)
	if err != nil {
		return cannotOpen(std, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	pid := ""
	if err := spool.Control(ctx, located.Socket, []string{"ping"}, func(line string) error { pid = line; return nil }); err == nil {
		fmt.Fprintf(std.err, "waybill: the daemon (process %s) runs this queue already\n", pid)
		return 0
	}
	return daemon(std, v)
}

// queueRunHere is -qf: a queue run in this process, to its end.
func queueRunHere(std stdio, v *flags.Invocation) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	s, err := openSite(v.ConfigFile, slog.LevelWarn, overridesOf(v))
	if err != nil {
		return cannotOpen(std, err)
	}
	return max(failed(std, s.queue.RunOnce(ctx, chosen(v.Queue))), failed(std, s.close(ctx)))
}

// chosen is what -qI, -qR, -qS and -qG select. Waybill has no queue groups; sendmail's are mostly given by mailer (Q=), so
// a group is what the transport of that name has tried, and "mqueue", sendmail's first group, is everything.
func chosen(q flags.QueueRun) queue.Selection {
	s := selection(q.Select)
	if q.Group != "" && !strings.EqualFold(q.Group, "mqueue") {
		s = append(slices.Clip(s), queue.Condition{What: 'M', Sub: q.Group})
	}
	return s
}
