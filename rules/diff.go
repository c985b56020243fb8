package rules

import (
	"bufio"
	"context"
	"io"
	"iter"
	"strings"
	"time"
)

// Difference is an address that two sets of rules treat differently.
type Difference struct {
	Address  string
	Old, New Explanation // with Why
}

// String is the difference in three lines.
func (d Difference) String() string {
	return d.Address + "\n  old: " + d.Old.Outcome() + "\n  new: " + d.New.Outcome() + "\n"
}

// Diff asks two routers about each address and yields those about which they disagree, each address once. What the
// query says beside the recipient holds for all of them.
func Diff(ctx context.Context, old, new *Router, addresses iter.Seq[string], q Query) iter.Seq[Difference] {
	if q.Time.IsZero() {
		q.Time = time.Now()
	}
	return func(yield func(Difference) bool) {
		seen := map[string]bool{}
		for a := range addresses {
			if seen[a] || ctx.Err() != nil {
				continue
			}
			seen[a] = true
			q.Recipient = a
			x, errX := old.Route(ctx, q, nil)
			y, errY := new.Route(ctx, q, nil)
			if same(x, errX, y, errY) {
				continue
			}
			if !yield(Difference{a, old.Explain(ctx, q), new.Explain(ctx, q)}) {
				return
			}
		}
	}
}

// same reports whether two decisions mean the same for the mail.
func same(x Decision, errX error, y Decision, errY error) bool {
	if errX != nil || errY != nil {
		return errX != nil && errY != nil
	}
	if (x.Refusal == nil) != (y.Refusal == nil) || x.Refusal != nil && *x.Refusal != *y.Refusal {
		return false
	}
	return strings.EqualFold(x.Mailer, y.Mailer) && strings.EqualFold(x.Host, y.Host) && x.User == y.User && x.When == y.When &&
		x.NotBefore.Equal(y.NotBefore) && x.Priority == y.Priority
}

// Lines yields the lines of a text without blanks around them; empty lines and those that begin with "#" are left out.
func Lines(r io.Reader) iter.Seq[string] {
	return func(yield func(string) bool) {
		in := bufio.NewScanner(r)
		in.Buffer(make([]byte, 64<<10), 1<<20)
		for in.Scan() {
			if line := strings.TrimSpace(in.Text()); line != "" && line[0] != '#' && !yield(line) {
				return
			}
		}
	}
}

// LogAddresses yields the recipients in a mail log, ours or sendmail's: each address in "to=<a>,<b>,".
func LogAddresses(r io.Reader) iter.Seq[string] {
	return func(yield func(string) bool) {
		for line := range Lines(r) {
			_, rest, ok := strings.Cut(line, " to=")
			for ok {
				rest, ok = strings.CutPrefix(rest, "<")
				if !ok {
					break
				}
				end := closing(rest)
				if end < 0 {
					break
				}
				if end > 0 && !yield(rest[:end]) {
					return
				}
				rest, ok = strings.CutPrefix(rest[end+1:], ",")
			}
		}
	}
}

// closing finds the bracket that ends an address; one in quotes does not.
func closing(s string) int {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			quoted = !quoted
		case '>':
			if !quoted {
				return i
			}
		}
	}
	return -1
}
