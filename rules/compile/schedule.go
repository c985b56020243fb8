package compile

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"waybill/rules/lang"
	"waybill/rules/prog"
)

// errorClasses are the words for kinds of temporary failures.
var errorClasses = []string{"connect", "dns", "greylist", "load", "lost", "mailbox", "network", "policy", "reply", "system", "timeout"}

// errorTest compiles "error", "error CLASS" and "error CODE": 4, 4.2, 4.2.2 or a reply code.
func (c *compiler) errorTest(t *lang.FactTest, out *prog.Cond, arg string) *prog.Cond {
	switch {
	case t.Op != "" || t.In != nil || t.Is != nil || t.Window != nil:
		c.errorf(t.Pos, t.EndPos, "write: "+factForms[prog.FactError], "this is no condition about %s", t.Fact)
		return &prog.Cond{Op: prog.Always}
	case arg == "":
		out.Cmp = prog.IsSet
		return out
	}
	known := strings.Trim(arg, "0123456789.") == "" && arg[0] == '4'
	for _, class := range errorClasses {
		known = known || class == arg
	}
	if !known {
		remedy := "known are: " + strings.Join(errorClasses, ", ") + ", and codes that begin with 4"
		if near := lang.Nearest(arg, errorClasses); near != "" {
			remedy = "did you mean \"" + near + "\"?"
		}
		c.errorf(t.Pos, t.EndPos, remedy, "%q is no class of temporary errors", arg)
		return &prog.Cond{Op: prog.Always}
	}
	out.Cmp, out.Value.Text = prog.Eq, arg
	return out
}

// scheduleRule compiles a line of a schedule block. Such a line never ends the block: what it does not say, others may.
func (c *compiler) scheduleRule(r *lang.ScheduleRule) *prog.Rule {
	out := &prog.Rule{
		Pos: Place(r.Pos), Source: c.src.Between(r.Pos, r.EndPos), LHS: everything, Mode: prog.Once,
		RHS: []prog.Tok{{Kind: prog.Capture, N: 1}}, Attr: &prog.Attr{Plan: &prog.Plan{}},
	}
	s := newScope()
	s.bind("")
	if r.Cond != nil {
		out.Cond = c.cond(r.Cond, s)
	}
	var words []string
	for _, i := range r.Words.Items() {
		words = append(words, i.Value())
	}
	if problem := readPlan(out.Attr.Plan, words); problem != "" {
		c.errorf(r.Words.Pos, r.Words.EndPos, "write: retry DURATION... give-up DURATION warn-after DURATION (or never) rate N/s, N/m, N/h or N/d (or unlimited) concurrency N", "%s", problem)
	}
	return out
}

// readPlan reads "retry 1h 2h give-up 10d"; it returns what is wrong with it.
func readPlan(p *prog.Plan, words []string) (problem string) {
	for len(words) > 0 {
		word := words[0]
		words = words[1:]
		value := ""
		if len(words) > 0 {
			value = words[0]
		}
		switch word {
		case "retry":
			n := 0
			for ; n < len(words); n++ {
				d, err := Duration(words[n])
				if err != nil {
					break
				}
				if d < time.Second || d > 24*time.Hour {
					return "a waiting time is between a second and a day"
				}
				p.Retry = append(p.Retry, d)
			}
			if n == 0 {
				return "retry needs waiting times"
			}
			words = words[n:]
			continue
		case "give-up":
			d, err := Duration(value)
			if err != nil {
				return "give-up needs a duration"
			}
			p.GiveUp = &d
		case "warn-after":
			d, err := Duration(value)
			if err != nil && value != "never" {
				return "warn-after needs a duration or \"never\""
			}
			p.WarnAfter = &d
		case "rate":
			r, ok := readRate(value)
			if !ok {
				return "a rate is a number of deliveries in a second, minute, hour or day"
			}
			p.Rate = &r
		case "concurrency":
			n, err := strconv.Atoi(value)
			if err != nil || n < 1 || n > 10000 {
				return "concurrency is a number from 1 to 10000"
			}
			p.Concurrency = n
		default:
			if near := lang.Nearest(word, []string{"retry", "give-up", "warn-after", "rate", "concurrency"}); near != "" {
				return fmt.Sprintf("%q is not known here; did you mean %q?", word, near)
			}
			return fmt.Sprintf("%q is not known here", word)
		}
		words = words[1:]
	}
	return ""
}

func readRate(text string) (prog.Rate, bool) {
	if text == "unlimited" {
		return prog.Rate{}, true
	}
	number, unit, ok := strings.Cut(text, "/")
	n, err := strconv.Atoi(number)
	per := map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour}[unit]
	return prog.Rate{N: n, Per: per}, ok && err == nil && n > 0 && n <= 1_000_000 && per > 0
}
