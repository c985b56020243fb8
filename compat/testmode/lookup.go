package testmode

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"waybill/rules/eval"
)

// lookup is the command /map NAME KEY.
func (s *session) lookup(arg string) {
	if arg == "" {
		fmt.Fprint(s.out, "Usage: /map mapname key\n")
		return
	}
	arg = strings.TrimLeft(arg, " \t")
	name, key := arg, ""
	if i := strings.IndexAny(arg, " \t"); i >= 0 {
		name, key = arg[:i], strings.TrimRight(arg[i+1:], " \t")
	}
	if strings.TrimSpace(key) == "" {
		fmt.Fprint(s.out, "No key specified\n")
		return
	}
	a := s.engine().Ask(s.ctx, name, key, s.state)
	switch {
	case !a.Exists:
		fmt.Fprintf(s.out, "Map named \"%s\" not found\n", name)
		return
	case !a.Open:
		fmt.Fprintf(s.out, "Map named \"%s\" not open\n", name)
		return
	}
	if a.Says != "" {
		s.failed(a.Says)
	}
	if a.Says != "" && !a.During {
		fmt.Fprintln(s.out, a.Says)
	}
	fmt.Fprintf(s.out, "map_lookup: %s (%s) ", name, key)
	if a.Says != "" && a.During {
		fmt.Fprintln(s.out, a.Says)
	}
	if t := s.cfg.Prog.Table(name); t != nil && t.Class == "regex" {
		a.Value = strings.ReplaceAll(a.Value, "$|", "\x9b") // the octet that the real one has for it
	}
	if a.Found {
		fmt.Fprintf(s.out, "returns %s (%d)\n", a.Value, a.Status)
		return
	}
	fmt.Fprintf(s.out, "no match (%d)\n", a.Status)
}

// canon is the command /canon HOST.
func (s *session) canon(arg string) {
	host := arg
	name, _, err := s.engine().Canonical(s.ctx, host)
	var says *eval.Complaint
	if errors.As(err, &says) && strings.HasPrefix(says.Say, "DNS failure:") {
		fmt.Fprintln(s.out, says.Say)
	}
	fmt.Fprintf(s.out, "getcanonname(%s) returns %s\n", host, name)
}

// mx is the command /mx HOST.
func (s *session) mx(host string) {
	hosts, null, err := s.engine().MX(s.ctx, host)
	var says *eval.Complaint
	if errors.As(err, &says) {
		fmt.Fprintln(s.out, says.Say)
	}
	switch {
	case null:
		fmt.Fprintf(s.out, "getmxrr(%s) returns null MX (See RFC7505)\n", host)
	case err != nil:
		fmt.Fprintf(s.out, "getmxrr(%s) returns -1 value(s):\n", host)
	default:
		fmt.Fprintf(s.out, "getmxrr(%s) returns %d value(s):\n", host, len(hosts))
		for _, h := range hosts {
			fmt.Fprintf(s.out, "\t%s\n", h)
		}
	}
}

// beside is where programs write their complaints: behind what the session has written before. A writer that is nil stays so.
func (s *session) beside(stderr io.Writer) io.Writer {
	if stderr == nil {
		return nil
	}
	return &complaints{s.out, stderr}
}

type complaints struct {
	before *bufio.Writer
	w      io.Writer
}

func (c *complaints) Write(p []byte) (int, error) {
	c.before.Flush()
	return c.w.Write(p)
}
