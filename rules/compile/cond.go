package compile

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"waybill/rules/lang"
	"waybill/rules/prog"
)

func (c *compiler) cond(n *lang.Cond, s *scope) *prog.Cond {
	var any []*prog.Cond
	for _, all := range n.Or {
		var list []*prog.Cond
		for _, u := range all.And {
			list = append(list, c.unary(u, s))
		}
		any = append(any, combine(prog.And, list))
	}
	out := combine(prog.Or, any)
	out.Pos = Place(n.Pos)
	return out
}

func combine(op prog.CondOp, list []*prog.Cond) *prog.Cond {
	if len(list) == 1 {
		return list[0]
	}
	return &prog.Cond{Op: op, Sub: list, Pos: list[0].Pos}
}

func negate(c *prog.Cond) *prog.Cond {
	return &prog.Cond{Op: prog.Not, Sub: []*prog.Cond{c}, Pos: c.Pos}
}

func (c *compiler) unary(u *lang.Unary, s *scope) *prog.Cond {
	var out *prog.Cond
	bound := len(s.names)
	switch {
	case u.Group != nil:
		out = c.cond(u.Group, s)
	case u.Lookup != nil:
		out = c.lookupTest(u.Lookup, s)
	case u.Capture != nil:
		out = c.varTest(u.Capture, s)
	default:
		out = c.factTest(u.Fact, s)
	}
	out.Pos = Place(u.Pos)
	if u.Not {
		for n := bound; n < len(s.names); n++ {
			s.names[n] = "" // what is denied binds nothing
		}
		out = negate(out)
	}
	return out
}

// lookupTest compiles TABLE(key, arg...) is PATTERN. A capture alone gets the whole value; another pattern, and "in",
// look at the value, which a capture without a name holds.
func (c *compiler) lookupTest(t *lang.LookupTest, s *scope) *prog.Cond {
	l := t.Lookup
	out := &prog.Cond{Op: prog.Lookup, Table: strings.TrimSuffix(l.Table, "("), Pos: Place(t.Pos)}
	if l.HasElse {
		c.errorf(l.Pos, l.EndPos, "a condition holds or does not; write the default in a rule after this one", "a lookup in a condition has no else")
	}
	for n, a := range l.Args {
		if n == 0 {
			out.Key = c.arg(a, s)
		} else {
			out.Args = append(out.Args, c.arg(a, s))
		}
	}
	switch {
	case t.Is != nil:
		if items := t.Is.Items(); len(items) == 1 && items[0].Var() {
			if v := parseVar(items[0].Text); v.kind == 0 || v.kind == '*' && v.name != "" {
				c.rebound(items[0], v.name, s)
				out.Bind, out.Name = s.bind(v.name), v.name
				return out
			}
		}
		out.Bind = s.bind("")
		test := &prog.Cond{Op: prog.Test, Fact: prog.FactCapture, Cap: out.Bind, Pos: out.Pos}
		c.matches(test, t.Is, s)
		return combine(prog.And, []*prog.Cond{out, test})
	case t.In != nil:
		out.Bind = s.bind("")
		test := &prog.Cond{Op: prog.Test, Fact: prog.FactCapture, Cap: out.Bind, Cmp: prog.In, Value: prog.Value{Text: t.In.Value()}, Pos: out.Pos}
		return combine(prog.And, []*prog.Cond{out, test})
	case t.Op != "":
		out.Bind = s.bind("")
		test := &prog.Cond{Op: prog.Test, Fact: prog.FactCapture, Cap: out.Bind, Pos: out.Pos}
		c.numeric(test, t.Op, t.Value)
		return combine(prog.And, []*prog.Cond{out, test})
	}
	return out
}

var operators = map[string]prog.Cmp{"<": prog.Lt, "<=": prog.Le, ">": prog.Gt, ">=": prog.Ge}

// numeric completes a test that compares a text, read as a number, with another number.
func (c *compiler) numeric(test *prog.Cond, op string, value *lang.Name) {
	var err error
	test.Cmp = operators[op]
	if test.Value.Int, err = Size(value.Value()); err != nil {
		c.errorf(value.Pos, value.EndPos, "write a number, or a size such as 20M", "%q is no number", value.Value())
	}
}

func (c *compiler) rebound(i lang.Item, name string, s *scope) {
	used := s.used[name]
	if s.number(name) > 0 {
		c.errorf(i.Pos, i.End, "give it another name; to compare, write: where $x is ...", "capture $%s is bound twice", name)
	}
	s.used[name] = used
}

// matches completes a test with "is PATTERN".
func (c *compiler) matches(test *prog.Cond, p *lang.Pattern, s *scope) {
	items := p.Items()
	if len(items) == 1 && items[0].Quote() == '"' {
		test.Cmp, test.Value.Text = prog.Eq, items[0].Value()
		return
	}
	test.Cmp = prog.Matches
	first := len(s.names)
	test.Value.Pattern = c.pattern(p, s, true)
	if len(s.names) > first {
		test.Bind = first
	}
}

func (c *compiler) varTest(t *lang.VarTest, s *scope) *prog.Cond {
	out := &prog.Cond{Op: prog.Test, Pos: Place(t.Pos)}
	v := parseVar(t.Var)
	at := lang.Item{Text: t.Var, Pos: t.Pos, End: t.Pos}
	at.End.Column += len(t.Var)
	switch {
	case v.kind == 'm':
		out.Fact, out.Header = prog.FactMacro, v.name
	case v.kind == 0:
		out.Fact, out.Cap = prog.FactCapture, s.number(v.name)
		if out.Cap == 0 {
			c.unbound(at, v.name, s)
			out.Cap = 1
		}
	default:
		c.errorf(at.Pos, at.End, "write: $x in CLASS, $x is PATTERN, $x > 5, $&{macro} is PATTERN", "%s cannot be tested", t.Var)
	}
	switch {
	case t.In != nil:
		out.Cmp, out.Value.Text = prog.In, t.In.Value()
	case t.Op != "":
		c.numeric(out, t.Op, t.Value)
	default:
		c.matches(out, t.Is, s)
	}
	return out
}

// Facts are the words of conditions about the message and its client.
var facts = map[string]prog.Fact{
	"client": prog.FactClient, "name": prog.FactClientName, "helo": prog.FactHelo, "sender": prog.FactSender,
	"recipient": prog.FactRecipient, "size": prog.FactSize, "load": prog.FactLoad, "time": prog.FactTime,
	"header": prog.FactHeader, "auth": prog.FactAuth, "tls": prog.FactTLS, "transport": prog.FactTransport,
	"mailer": prog.FactTransport, "host": prog.FactHost, "user": prog.FactUser, "priority": prog.FactPriority,
	"attempts": prog.FactAttempts, "age": prog.FactAge, "recipients": prog.FactRecipients, "focus": prog.FactFocus,
	"failures": prog.FactFailures, "error": prog.FactError,
}

var factForms = map[prog.Fact]string{
	prog.FactClient: "client in CLASS, client local", prog.FactClientName: "name in CLASS, name is PATTERN", prog.FactHelo: "helo is PATTERN",
	prog.FactSender: "sender is PATTERN, sender in CLASS, sender null", prog.FactRecipient: "recipient is PATTERN, recipient in CLASS",
	prog.FactSize: "size > 20M", prog.FactLoad: "load > 12", prog.FactTime: "time between 22:00 and 06:00",
	prog.FactHeader: `header NAME, header NAME is "text"`, prog.FactAuth: "auth, auth is PATTERN, auth in CLASS", prog.FactTLS: "tls, tls is PATTERN",
	prog.FactTransport: "transport NAME", prog.FactHost: "host is PATTERN, host in CLASS", prog.FactUser: "user is PATTERN, user in CLASS",
	prog.FactPriority: "priority > 0", prog.FactAttempts: "attempts > 3", prog.FactAge: "age > 2h", prog.FactRecipients: "recipients > 50", prog.FactFocus: "focus, not focus",
	prog.FactFailures: "failures > 3", prog.FactError: "error, error CLASS, error CODE",
}

func (c *compiler) factTest(t *lang.FactTest, s *scope) *prog.Cond {
	out := &prog.Cond{Op: prog.Test, Fact: facts[t.Fact], Pos: Place(t.Pos)}
	word := lang.Item{Pos: t.Pos, End: t.Pos}
	word.End.Column += len(t.Fact)
	if out.Fact == 0 {
		remedy := "known are: " + strings.Join(FactWords(), ", ")
		if near := lang.Nearest(t.Fact, FactWords()); near != "" {
			remedy = fmt.Sprintf("did you mean %q?", near)
		}
		c.errorf(word.Pos, word.End, remedy, "nothing is known by the name %q", t.Fact)
		return &prog.Cond{Op: prog.Always}
	}
	bad := func() *prog.Cond {
		c.errorf(t.Pos, t.EndPos, "write: "+factForms[out.Fact], "this is no condition about %s", t.Fact)
		return &prog.Cond{Op: prog.Always}
	}
	numeric := out.Fact.Type() != prog.Text
	arg := t.Arg.Value()
	switch out.Fact {
	case prog.FactHeader:
		if arg == "" {
			return bad()
		}
		out.Header = strings.TrimSuffix(arg, ":")
		arg = ""
	case prog.FactTransport:
		if arg == "" {
			break
		}
		out.Cmp, out.Value.Text = prog.Eq, arg
		return out
	case prog.FactError:
		return c.errorTest(t, out, arg)
	case prog.FactClient:
		if arg == "local" { // submitted on this machine: no client has an address then
			out.Cmp = prog.IsSet
			return negate(out)
		}
	case prog.FactSender:
		if arg == "null" {
			return negate(out)
		}
	}
	switch {
	case arg != "", (t.Op != "") != (numeric && out.Fact != prog.FactTime), (t.Window != nil) != (out.Fact == prog.FactTime):
		return bad()
	case t.Op != "":
		out.Cmp = operators[t.Op]
		if !number(out, t.Value.Value()) {
			c.errorf(t.Value.Pos, t.Value.EndPos, "write: "+factForms[out.Fact], "%q cannot be compared with %s", t.Value.Value(), t.Fact)
		}
	case t.Window != nil:
		out.Cmp, out.Value.Window = prog.Between, *c.window(t.Window)
	case t.In != nil:
		out.Cmp, out.Value.Text = prog.In, t.In.Value()
	case t.Is != nil:
		c.matches(out, t.Is, s)
	default:
		out.Cmp = prog.IsSet
	}
	return out
}

// FactWords returns the names of everything that a condition can be about.
func FactWords() []string {
	words := keys(facts)
	sortStrings(words)
	return words
}

func number(c *prog.Cond, text string) (ok bool) {
	var err error
	switch c.Fact.Type() {
	case prog.Integer:
		c.Value.Int, err = strconv.ParseInt(text, 10, 64)
	case prog.Size:
		c.Value.Int, err = Size(text)
	case prog.Number:
		c.Value.Float, err = strconv.ParseFloat(text, 64)
	case prog.Duration:
		c.Value.Duration, err = Duration(text)
	}
	return err == nil
}

// Size reads a number of octets: 500, 20k, 20M, 2G; the letters count by 1024.
func Size(text string) (int64, error) {
	shift := 0
	t := strings.TrimSuffix(strings.ToLower(text), "b")
	if n := len(t); n > 0 {
		if i := strings.IndexByte("kmgt", t[n-1]); i >= 0 {
			shift, t = 10*(i+1), t[:n-1]
		}
	}
	n, err := strconv.ParseInt(t, 10, 64)
	if err != nil || n < 0 || n > (1<<62)>>shift {
		return 0, fmt.Errorf("%q is no size; write 500k, 20M or 2G", text)
	}
	return n << shift, nil
}

// Duration reads 30s, 15m, 4h, 5d, 1w, and sums of them such as 1h30m; 0 alone is allowed.
func Duration(text string) (time.Duration, error) {
	fail := fmt.Errorf("%q is no duration; write 30s, 15m, 4h, 5d or 1h30m", text)
	if text == "0" {
		return 0, nil
	}
	var sum time.Duration
	for rest := text; rest != "" || text == ""; {
		n := 0
		for n < len(rest) && rest[n] >= '0' && rest[n] <= '9' {
			n++
		}
		if n == 0 || n > 9 || n == len(rest) {
			return 0, fail
		}
		v, _ := strconv.Atoi(rest[:n])
		unit := map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour, 'w': 7 * 24 * time.Hour}[rest[n]]
		if unit == 0 {
			return 0, fail
		}
		sum += time.Duration(v) * unit
		rest = rest[n+1:]
	}
	if sum < 0 || sum > 100*365*24*time.Hour {
		return 0, fail
	}
	return sum, nil
}
