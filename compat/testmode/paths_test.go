package testmode

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"waybill/compat/cf"
	"waybill/rules/addr"
	"waybill/rules/eval"
	"waybill/rules/trace"
)

// TestPathsOverConfigurations: in stock configurations every ruleset makes the same of every address, whether what is
// known of its shape is used or not, and shows the same lines.
func TestPathsOverConfigurations(t *testing.T) {
	binaries, macros := peer(t)
	dir := workDir(t)
	for _, name := range []string{"hub", "isp", "campus"} {
		t.Run(name, func(t *testing.T) {
			path := m4(t, binaries, macros, dir, name)
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			asked := benchLines(25, 3)
			for _, c := range randomCommands(string(text), rand.New(rand.NewPCG(7, 0)), 40) {
				if !strings.HasPrefix(c, "/") {
					asked = append(asked, c)
				}
			}
			var lines []string
			for _, c := range asked {
				lines = append(lines, c, c) // the second one with a trace
			}
			samePaths(t, path, append(lines, lines...))
		})
	}
}

// samePaths runs addresses through all rulesets of a file twice, with and without what is remembered.
func samePaths(t *testing.T, path string, lines []string) {
	t.Helper()
	c, err := cf.ReadFile(path, cf.Options{Host: host, Mode: "t", CheckTable: eval.CheckTable, Trust: true})
	if err != nil {
		t.Fatal(err)
	}
	engine := func(forget bool) *eval.Engine {
		tables, _ := eval.OpenTables(c.Prog, eval.TableEnv{Resolver: nothing{}})
		e, err := eval.New(c.Prog, eval.Options{Tables: tables, Forget: forget})
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	remembers, forgets := engine(false), engine(true)
	for _, rs := range c.Prog.Rulesets {
		var a, b *eval.State
		for i, l := range lines {
			if i%80 == 0 { // another message
				a = &eval.State{Macros: eval.NewMacros(c.Prog), Out: make([]addr.Token, 0, addr.MaxTokens)}
				b = &eval.State{Macros: eval.NewMacros(c.Prog)}
				for _, m := range []*eval.Macros{a.Macros, b.Macros} {
					m.Set("client_addr", fmt.Sprint("192.0.2.", i/80%9))
					m.Set("addr_type", "e r")
				}
			}
			_, address, _ := strings.Cut(l, " ")
			toks, _ := remembers.Syntax().Split(address)
			for k := range toks {
				if toks[k] == "|" {
					toks[k] = addr.Sep
				}
			}
			var linesA, linesB strings.Builder
			if a.Tracer, b.Tracer = nil, nil; i%2 == 1 {
				a.Tracer, b.Tracer = &trace.Text{W: &linesA}, &trace.Text{W: &linesB}
			}
			ra, errA := remembers.Run(context.Background(), rs.Index, toks, a)
			rb, errB := forgets.Run(context.Background(), rs.Index, toks, b)
			if !slices.Equal(ra.Tokens, rb.Tokens) || ra.Status != rb.Status || ra.Rule != rb.Rule || fmt.Sprint(errA) != fmt.Sprint(errB) {
				t.Fatalf("%s %q: with paths %q %d %v, without %q %d %v", rs.Name, address, ra.Tokens, ra.Status, errA, rb.Tokens, rb.Status, errB)
			}
			if linesA.String() != linesB.String() {
				t.Fatalf("%s %q: with paths\n%swithout\n%s", rs.Name, address, linesA.String(), linesB.String())
			}
			for _, name := range b.Macros.Names() {
				va, _ := a.Macros.Get(name)
				if vb, _ := b.Macros.Get(name); va != vb {
					t.Fatalf("%s %q: macro %s is %q, without paths %q", rs.Name, address, name, va, vb)
				}
			}
		}
	}
}
