package eval

import (
	"bytes"
	"context"
	"net/netip"
	"strings"
	"testing"

	"waybill/rules/addr"
	"waybill/rules/prog"
	"waybill/rules/table"
	"waybill/rules/trace"
)

// assemble makes a program of S, R, C, D and K lines: as much of sendmail.cf as these tests need. "#" lines and empty
// ones are left out.
func assemble(t testing.TB, text string) *prog.Program {
	t.Helper()
	p := prog.New()
	syntax := addr.New(p.Operators)
	var rs *prog.Ruleset
	for n, line := range strings.Split(text, "\n") {
		if line == "" || line[0] == '#' {
			continue
		}
		pos := prog.Pos{File: "test.cf", Line: n + 1}
		rest := line[1:]
		switch line[0] {
		case 'S':
			rs = p.AddRuleset(rest, -1, pos)
		case 'D':
			p.Macros[rest[:1]] = rest[1:]
		case 'C':
			c := p.Classes[rest[:1]]
			if c == nil {
				c = &prog.Class{Name: rest[:1]}
				p.Classes[rest[:1]] = c
			}
			c.Words = append(c.Words, strings.Fields(rest[1:])...)
		case 'K':
			f := strings.Fields(rest)
			p.Tables = append(p.Tables, &prog.Table{Name: f[0], Class: f[1], Args: f[2:], Pos: pos})
		case 'R':
			f := strings.Split(rest, "\t")
			if len(f) < 2 {
				t.Fatalf("line %d: no tab: %q", n+1, line)
			}
			r := &prog.Rule{Pos: pos, Source: line, LHS: symbols(syntax, f[0], true)}
			rhs := symbols(syntax, f[1], false)
			if len(rhs) > 0 && rhs[0].Kind == prog.User {
				r.Mode, rhs = prog.Once, rhs[1:]
			} else if len(rhs) > 0 && rhs[0].Kind == prog.Host {
				r.Mode, rhs = prog.Return, rhs[1:]
			}
			r.RHS = rhs
			rs.Rules = append(rs.Rules, r)
		default:
			t.Fatalf("line %d: %q", n+1, line)
		}
	}
	return p
}

var leftKinds = map[byte]prog.Kind{'*': prog.ZeroOrMore, '+': prog.OneOrMore, '-': prog.One, '@': prog.Empty, '|': prog.Sep, '#': prog.Mailer}
var rightKinds = map[byte]prog.Kind{'@': prog.Host, ':': prog.User, '|': prog.Sep, '#': prog.Mailer, '>': prog.Call, '(': prog.MapBegin,
	')': prog.MapEnd, '[': prog.HostBegin, ']': prog.HostEnd}

func symbols(s *addr.Syntax, text string, left bool) []prog.Tok {
	kinds := rightKinds
	if left {
		kinds = leftKinds
	}
	var metas []prog.Tok
	var plain strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] != '$' {
			plain.WriteByte(text[i])
			continue
		}
		i++
		m := prog.Tok{Kind: kinds[text[i]]}
		switch c := text[i]; c {
		case '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
			m = prog.Tok{Kind: prog.Capture, N: int(c - '0')}
		case '&', '=', '~':
			i++
			m = prog.Tok{Kind: map[byte]prog.Kind{'&': prog.RunMacro, '=': prog.InClass, '~': prog.NotInClass}[c], Text: text[i : i+1]}
		default:
			if _, ok := kinds[c]; !ok {
				panic("symbol $" + string(c))
			}
		}
		metas = append(metas, m)
		plain.WriteByte(addr.Symbol)
	}
	var toks []prog.Tok
	for _, w := range s.SplitRule(plain.String(), false) {
		if w == "\x00" {
			toks, metas = append(toks, metas[0]), metas[1:]
		} else {
			toks = append(toks, prog.Tok{Kind: prog.Literal, Text: string(w)})
		}
	}
	return toks
}

func engine(t testing.TB, text string, tables map[string]table.Table) *Engine {
	t.Helper()
	e, err := New(assemble(t, text), Options{Tables: tables})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// input cuts an address; a lone $| in it becomes the separator.
func input(e *Engine, text string) []addr.Token {
	toks, _ := e.Syntax().Split(text)
	for i, tok := range toks {
		switch {
		case tok == "$|":
			toks[i] = addr.Sep
		case strings.HasPrefix(string(tok), "$#"):
			return append([]addr.Token{addr.Mailer, tok[2:]}, toks[i+1:]...)
		}
	}
	return toks
}

// run returns the transcript of one evaluation as sendmail -bt prints it.
func run(t testing.TB, e *Engine, ruleset, text string) (transcript string, r Result, err error) {
	t.Helper()
	var b bytes.Buffer
	st := &State{Macros: NewMacros(e.Program()), Tracer: &trace.Text{W: &b}}
	r, err = e.RunNamed(context.Background(), ruleset, input(e, text), st)
	return b.String(), r, err
}

func mustAddr(s string) netip.Addr { return netip.MustParseAddr(s) }
