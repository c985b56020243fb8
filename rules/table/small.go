package table

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
)

// arith computes: the key is the operator, the arguments are the operands (SEMANTICS fact 41). Numbers are 64 bits wide
// and wrap around; a result has at most 15 characters, as the real one's.
type arith struct{}

func (arith) Lookup(_ context.Context, op string, args []string) (Result, bool, error) {
	if op == "" || len(args) < 1 {
		return Result{}, false, &Trouble{Status: 78, Err: errors.New("arith: operands are missing")}
	}
	a := number(args[0])
	if len(args) < 2 {
		return Result{}, false, &Trouble{Status: 78, Err: errors.New("arith: an operand is missing")}
	}
	b := number(args[1])
	var v int64
	switch op[0] {
	case '+':
		v = a + b
	case '-':
		v = a - b
	case '*':
		v = a * b
	case '/', '%':
		switch {
		case b == 0:
			return Result{}, false, nil
		case op[0] == '/':
			v = a / b
		default:
			v = a % b
		}
	case '&':
		v = a & b
	case '|':
		v = a | b
	case 'l':
		return truth(a < b), true, nil
	case '=':
		return truth(a == b), true, nil
	case 'r':
		if b < a {
			return Result{}, false, nil
		}
		v = a + rand.Int64N(b-a+1)
	default:
		return Result{}, false, nil
	}
	s := strconv.FormatInt(v, 10)
	return Result{Value: s[:min(len(s), 15)]}, true, nil
}

func truth(b bool) Result {
	if b {
		return Result{Value: "TRUE"}
	}
	return Result{Value: "FALSE"}
}

// number reads an integer as C's strtol with base 0 does: as far as it goes, 0x and 0 prefixes count, and what is no
// number is 0.
func number(s string) int64 {
	s = strings.TrimLeft(s, " \t\n\v\f\r")
	sign := ""
	if s != "" && (s[0] == '-' || s[0] == '+') {
		if s[0] == '-' {
			sign = "-"
		}
		s = s[1:]
	}
	base := 10
	if len(s) > 2 && s[0] == '0' && (s[1] == 'x' || s[1] == 'X') {
		base, s = 16, s[2:]
	} else if len(s) > 1 && s[0] == '0' {
		base, s = 8, s[1:]
	}
	n := 0
	for n < len(s) {
		if _, err := strconv.ParseUint(s[n:n+1], base, 8); err != nil {
			break
		}
		n++
	}
	v, _ := strconv.ParseInt(sign+s[:n], base, 64) // out of range gives the nearest, as strtol does
	return v
}

// dequote takes the quotes off a key; it finds nothing when there were none, or when what is left could not stand
// without them (SEMANTICS fact 43).
type dequote struct{ *flags }

func (d *dequote) Lookup(_ context.Context, key string, _ []string) (Result, bool, error) {
	blank := " "
	if d.subs != "" {
		blank = d.subs[:1]
	}
	var b strings.Builder
	quotes, angles, parens, quoted := 0, 0, 0, false
	for i := 0; i < len(key); i++ {
		c := key[i]
		switch {
		case c == '"':
			quotes++
			quoted = !quoted
			continue
		case c == '\\' && i+1 < len(key):
			b.WriteByte(c)
			i++
			c = key[i]
		case c == '\t':
			return Result{}, false, nil
		case c == ' ':
			if d.subs == "" {
				return Result{}, false, nil
			}
			b.WriteString(blank)
			continue
		case c == '(':
			parens++
		case c == ')':
			if parens--; parens < 0 {
				return Result{}, false, nil
			}
		case c == '<':
			angles++
		case c == '>':
			if angles--; angles < 0 {
				return Result{}, false, nil
			}
		}
		b.WriteByte(c)
	}
	if quotes == 0 || quoted || parens != 0 || angles != 0 {
		return Result{}, false, nil
	}
	return Result{Value: b.String() + d.suffix}, true, nil
}

// KeepsQuotes tells that the quotation marks are what this is about.
func (d *dequote) KeepsQuotes() bool { return true }

// Miss is the status of a lookup that found nothing: for sendmail, that is no error here.
func (d *dequote) Miss(string) int { return 0 }

// Miss is the status of a lookup that found nothing: for sendmail, that is no error here.
func (r *regex) Miss(string) int { return 0 }

// sequence asks tables in turn and takes the first answer. A member that says "not now" is passed by; but when nothing
// else answers, the answer is "not now" and never "no" (SEMANTICS fact 43).
type sequence struct {
	*flags
	members []Table
	missing error    // what makes every "no" doubtful
	suffix  string   // sendmail puts none behind the answers of members
	says    []string // what sendmail complains of at the first question
	told    atomic.Bool
}

func newSequence(f *flags, env Env) (Table, error) {
	s := &sequence{flags: f}
	members := f.rest
	if env.Native {
		s.suffix = f.suffix
	} else {
		members = f.def.Args
	}
	for _, name := range members {
		if env.Table == nil {
			break
		}
		t := env.Table(name)
		if t == nil && !env.Native { // sendmail complains, and goes on without it
			continue
		}
		if t == nil {
			return nil, errors.New(f.def.Pos.String() + ": table " + f.def.Name + ": no table " + name)
		}
		s.members = append(s.members, t)
	}
	return s, nil
}

func (s *sequence) Lookup(ctx context.Context, key string, args []string) (Result, bool, error) {
	trouble := s.missing
	for _, t := range s.members {
		r, ok, err := t.Lookup(ctx, key, args)
		switch {
		case ok && err == nil:
			r.Value += s.suffix
			return r, true, nil
		case err != nil && trouble == nil:
			trouble = err
		}
	}
	if trouble != nil {
		return s.failed(key, trouble)
	}
	if s.says != nil && !s.told.Swap(true) {
		return Result{}, false, &Complaint{Say: strings.Join(s.says, "\n"), Err: &Trouble{Status: 68, Err: errors.New(s.says[0])}}
	}
	return Result{}, false, nil
}

// regex matches the key against a regular expression (RE2, so that no key takes long; SEMANTICS fact 42).
type regex struct {
	*flags
	re     *regexp.Regexp
	subs   []int
	native bool
}

func newRegex(f *flags, env Env) (Table, error) {
	text := strings.Join(f.rest, " ")
	if text == "" && env.Native {
		return nil, errors.New(f.def.Pos.String() + ": table " + f.def.Name + ": no regular expression")
	}
	re, err := compilePosix(text, f.set['b'], !f.keepCase)
	if err != nil {
		return nil, fmt.Errorf("%s: table %s: %w", f.def.Pos, f.def.Name, err)
	}
	r := &regex{flags: f, re: re, native: env.Native}
	if f.set['s'] {
		list := strings.Split(f.subs, ",")
		if f.subs == "" { // all of them
			list = list[:0]
			for n := range re.NumSubexp() + 1 {
				list = append(list, strconv.Itoa(n))
			}
		}
		for _, n := range list {
			v, err := strconv.Atoi(n)
			if err != nil || v < 0 || v > re.NumSubexp() {
				return nil, errors.New(f.def.Pos.String() + ": table " + f.def.Name + ": no substring " + n)
			}
			r.subs = append(r.subs, v)
		}
	}
	return r, nil
}

func (r *regex) Lookup(_ context.Context, key string, args []string) (Result, bool, error) {
	m := r.re.FindStringSubmatch(key)
	if (m != nil) == r.set['n'] {
		return Result{}, false, nil
	}
	subs := r.subs
	if m != nil && subs != nil && len(args) > 0 { // the first argument says which
		subs = nil
		for _, f := range strings.Split(args[0], ",") {
			n := leadingInt(f)
			if n < 0 || n >= len(m) {
				say := fmt.Sprintf("field (%d) out of range, only %d substrings in pattern", n, len(m))
				return Result{}, false, &Complaint{Say: say, Err: &Trouble{Status: 68, Err: errors.New(say)}, Again: true}
			}
			subs = append(subs, n)
		}
	}
	switch {
	case r.match:
		return Result{Value: key + r.suffix}, true, nil
	case m == nil || subs == nil:
		return Result{Value: r.suffix}, true, nil
	}
	join := "$|"
	if r.set['d'] && !r.native {
		join = "" // what a -d without a character says
	}
	if r.join != "" {
		join = r.join[:1]
	}
	var parts []string
	for _, n := range subs {
		parts = append(parts, m[n])
	}
	value := strings.Join(parts, join)
	if !r.native { // of our own language, a value is never taken for anything but text
		if !sound(value) {
			return Result{}, false, nil
		}
		value = Expand(value, key, args)
	}
	return Result{Value: value + r.suffix}, true, nil
}

// sound reports whether a text could be an address as it is: with its quotes, brackets and parentheses closed, and without
// blanks. Parts of a key that are not are nothing that sendmail has found.
func sound(text string) bool {
	angles, parens, quoted := 0, 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\':
			if i++; i == len(text) {
				return false
			}
		case c == '"' && parens == 0:
			quoted = !quoted
		case quoted:
		case c == ' ':
			return false
		case c == '(':
			parens++
		case c == ')':
			parens--
		case parens > 0:
		case c == '<':
			angles++
		case c == '>':
			angles--
		}
		if parens < 0 || angles < 0 {
			return false
		}
	}
	return !quoted && angles == 0 && parens == 0
}

// leadingInt is the number that a text begins with, as atoi(3) reads it.
func leadingInt(s string) int {
	s = strings.TrimLeft(s, " \t")
	n := 0
	for n < len(s) && (s[n] >= '0' && s[n] <= '9' || n == 0 && (s[n] == '-' || s[n] == '+')) {
		n++
	}
	v, _ := strconv.Atoi(s[:n])
	return v
}
