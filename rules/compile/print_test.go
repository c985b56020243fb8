package compile

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"waybill/rules/lang"
	"waybill/rules/prog"
)

// again prints a program, reads it again and returns what came of it.
func again(t testing.TB, parser *lang.Parser, p *prog.Program) *prog.Program {
	t.Helper()
	var b strings.Builder
	if err := Print(&b, p); err != nil {
		t.Fatalf("%v\n%s", err, b.String())
	}
	file, diags := parser.Parse(lang.NewSource("printed", b.String()))
	if diags != nil {
		t.Fatalf("%v\n%s", diags, b.String())
	}
	res, diags := Compile([]*lang.File{file}, Options{Hostname: "h"})
	if diags != nil {
		t.Fatalf("%v\n%s", diags, b.String())
	}
	return res.Program
}

func show(r *prog.Rule) string {
	plain := *r
	plain.Cond = nil
	r = &plain
	// $@ and $: mean the same to the evaluator inside of lookups and in resolutions: it goes by the sign.
	s := r.String()
	if r.RHS != nil && r.RHS[0].Kind == prog.Mailer { // it resolves, whatever the mode
		s = strings.Replace(strings.Replace(s, "\t$: $#", "\t$#", 1), "\t$@ $#", "\t$#", 1)
	}
	return s
}

// random makes a program of sendmail's kind: every symbol in every place where a sendmail.cf can have it.
func random(r *rand.Rand) *prog.Program {
	p := prog.New()
	p.Level = 10
	p.EightBit = true
	p.Tables = []*prog.Table{{Name: "hops", Class: "hash", Args: []string{"-o", "-T<TMPF>", "/etc/mail/x y"}}, {Name: "m2", Class: "arith"}, {Name: "odd name", Class: "null"}}
	p.Classes["w"] = &prog.Class{Name: "w", Words: []string{"a.b", "x y", "@z", "where", `"q"`}, Files: []prog.ClassFile{{Path: "/etc/w", Optional: true}, {Path: "/etc/v w"}}}
	p.Classes["{Odd}"] = &prog.Class{Name: "{Odd}"}
	p.Macros["x"] = "$j value's"
	p.Transports = []*prog.Transport{{Name: "smtp", Flags: "mDFMuX", Params: []prog.Param{{Name: "F", Value: "mDFMuX"}, {Name: "A", Value: `TCP $h "x"`}}}}
	literals := []string{"a", "b.c", ".", "@", "<", ">", "(", ")", ",", ";", "{", "}", "where", "ok", "queue", "once", "return", "#", "#x", "'", "it's", `"q r"`, `"q\"r"`, "->", "=>", "-", "=", "x=", "\\@", "$", "x$y", "é", "!",
		"call", "else", "+", "*", "~", "UUCP", "x-", "error", ":", "[", "]", "/", "%", "^", "1", "tab\there", "|", "\xe9t\xe9", "\x01"}
	lit := func() prog.Tok { return prog.Tok{Kind: prog.Literal, Text: literals[r.IntN(len(literals))]} }
	for s := range 2 + r.IntN(3) {
		rs := p.AddRuleset(fmt.Sprintf("set%d", s), -1, prog.Pos{})
		if s == 0 {
			rs.Number = 7
			p.Names["7"] = rs.Index
		}
	}
	for _, rs := range p.Rulesets {
		for range 1 + r.IntN(6) {
			rule := &prog.Rule{Mode: prog.Mode(r.IntN(3))}
			wild := 0
			for range r.IntN(7) {
				switch k := r.IntN(12); k {
				case 0, 1, 2, 3:
					rule.LHS = append(rule.LHS, lit())
				case 4, 5, 6, 7, 8:
					t := prog.Tok{Kind: []prog.Kind{prog.ZeroOrMore, prog.OneOrMore, prog.One, prog.InClass, prog.NotInClass}[k-4]}
					if k >= 7 {
						t.Text = []string{"w", "{Odd}"}[r.IntN(2)]
						t.Text = strings.Trim(t.Text, "{}")
					}
					wild++
					t.N = wild
					rule.LHS = append(rule.LHS, t)
				case 9:
					rule.LHS = append(rule.LHS, prog.Tok{Kind: prog.RunMacro, Text: []string{"f", "client_addr"}[r.IntN(2)]})
				case 10:
					rule.LHS = append(rule.LHS, prog.Tok{Kind: []prog.Kind{prog.Sep, prog.Mailer, prog.Empty}[r.IntN(3)]})
				}
			}
			if len(rule.LHS) == 0 {
				rule.LHS = []prog.Tok{{Kind: prog.Empty}}
			}
			plain := func(n int) (out []prog.Tok) {
				for range n {
					switch k := r.IntN(5); {
					case k < 2 && wild > 0:
						out = append(out, prog.Tok{Kind: prog.Capture, N: 1 + r.IntN(wild)})
					case k == 2:
						out = append(out, prog.Tok{Kind: prog.RunMacro, Text: []string{"f", "client_addr"}[r.IntN(2)]})
					default:
						out = append(out, lit())
					}
				}
				return out
			}
			add := func(toks ...prog.Tok) { rule.RHS = append(rule.RHS, toks...) }
			switch r.IntN(4) {
			case 0:
				add(prog.Tok{Kind: prog.Mailer})
				add(plain(1 + r.IntN(2))...)
				if r.IntN(2) == 0 {
					add(prog.Tok{Kind: prog.Host})
					add(plain(r.IntN(3))...)
				}
				if r.IntN(3) > 0 {
					add(prog.Tok{Kind: prog.User})
					add(plain(r.IntN(5))...)
				}
			case 1:
				add(plain(r.IntN(3))...)
				add(prog.Tok{Kind: prog.Call}, prog.Tok{Kind: prog.Literal, Text: []string{"set0", "7", "nosuch"}[r.IntN(3)]})
				add(plain(r.IntN(3))...)
			case 2:
				add(plain(r.IntN(3))...)
				if r.IntN(3) == 0 {
					add(prog.Tok{Kind: prog.HostBegin})
					add(plain(1)...)
					add(prog.Tok{Kind: prog.MapElse})
					add(plain(1)...)
					add(prog.Tok{Kind: prog.HostEnd})
				} else {
					add(prog.Tok{Kind: prog.MapBegin}, prog.Tok{Kind: prog.Literal, Text: []string{"hops", "m2", "odd name"}[r.IntN(3)]})
					add(plain(1 + r.IntN(2))...)
					for range r.IntN(3) {
						add(prog.Tok{Kind: prog.MapArg})
						add(plain(r.IntN(3))...)
					}
					if r.IntN(2) == 0 {
						add(prog.Tok{Kind: prog.MapElse})
						add(plain(r.IntN(3))...)
					}
					if r.IntN(8) > 0 {
						add(prog.Tok{Kind: prog.MapEnd})
					}
				}
				add(plain(r.IntN(3))...)
			default:
				add(plain(r.IntN(6))...)
				if r.IntN(4) == 0 {
					add(prog.Tok{Kind: []prog.Kind{prog.Sep, prog.Host, prog.User, prog.Mailer}[r.IntN(4)]})
				}
			}
			rs.Rules = append(rs.Rules, rule)
		}
	}
	return p
}

// FuzzPrint: a program that is printed and read again has the same rules.
func FuzzPrint(f *testing.F) {
	for seed := range uint64(50) {
		f.Add(seed)
	}
	parser := lang.NewParser()
	f.Fuzz(func(t *testing.T, seed uint64) {
		p := random(rand.New(rand.NewPCG(seed, 1)))
		q := again(t, parser, p)
		if len(p.Rulesets) != len(q.Rulesets) {
			t.Fatalf("%d rulesets became %d", len(p.Rulesets), len(q.Rulesets))
		}
		for i, rs := range p.Rulesets {
			if q.Rulesets[i].Name != rs.Name || q.Rulesets[i].Number != rs.Number || len(q.Rulesets[i].Rules) != len(rs.Rules) {
				t.Fatalf("ruleset %s became %+v", rs.Name, q.Rulesets[i])
			}
			for j, r := range rs.Rules {
				if a, b := show(r), show(q.Rulesets[i].Rules[j]); a != b || q.Rulesets[i].Rules[j].Cond != nil {
					text, _ := PrintRule(p, r)
					t.Fatalf("%q became\n%q, written as\n%s", a, b, text)
				}
			}
		}
		for i, tab := range p.Tables {
			if fmt.Sprint(tab.Name, tab.Class, tab.Args) != fmt.Sprint(q.Tables[i].Name, q.Tables[i].Class, q.Tables[i].Args) {
				t.Fatalf("table %+v became %+v", tab, q.Tables[i])
			}
		}
		for name, k := range p.Classes {
			if got := q.Classes[name]; got == nil || strings.Join(got.Words, "|") != strings.Join(k.Words, "|") || len(got.Files) != len(k.Files) {
				t.Fatalf("class %+v became %+v", k, got)
			}
		}
		if q.Macros["x"] != p.Macros["x"] || q.Transports[0].Flags != p.Transports[0].Flags || q.Transports[0].Params[1].Value != p.Transports[0].Params[1].Value {
			t.Fatalf("macro %q, transport %+v", q.Macros["x"], q.Transports[0])
		}
	})
}
