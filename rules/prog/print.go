package prog

import (
	"bufio"
	"fmt"
	"io"
	"sort"
	"strings"
)

// String is the rule as an R line: "R$+ @ $+<tab>$: $1". Conditions and attributes of our language, which an R line
// cannot say, follow as a comment behind a second tab.
func (r *Rule) String() string {
	var b strings.Builder
	b.WriteByte('R')
	side(&b, r.LHS)
	b.WriteByte('\t')
	switch r.Mode {
	case Once:
		b.WriteString("$: ")
	case Return:
		b.WriteString("$@ ")
	}
	side(&b, r.RHS)
	var more []string
	if r.Cond != nil {
		more = append(more, "where "+r.Cond.String())
	}
	if a := r.Attr; a != nil {
		if a.When != Unset {
			more = append(more, a.When.String())
		}
		if w := a.Window; w != nil {
			more = append(more, fmt.Sprintf("between %02d:%02d and %02d:%02d", w.From/60, w.From%60, w.To/60, w.To%60))
		}
		if a.Priority != nil {
			more = append(more, fmt.Sprintf("priority %d", *a.Priority))
		}
	}
	if more != nil {
		b.WriteString("\t" + strings.Join(more, " "))
	}
	return b.String()
}

// Disassemble writes the program in the notation of sendmail.cf.
func (p *Program) Disassemble(w io.Writer) error {
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "O OperatorChars=%s\nO BlankSub=%s\n", p.Operators, p.BlankSub)
	for _, name := range sorted(p.Macros) {
		fmt.Fprintf(b, "D%s%s\n", MacroName(name), p.Macros[name])
	}
	for _, name := range sorted(p.Classes) {
		c := p.Classes[name]
		if len(c.Words) > 0 {
			fmt.Fprintf(b, "C%s%s\n", MacroName(name), strings.Join(c.Words, " "))
		}
		for _, f := range c.Files {
			opt := ""
			if f.Optional {
				opt = "-o "
			}
			fmt.Fprintf(b, "F%s%s%s\n", MacroName(name), opt, strings.TrimRight(f.Path+" "+f.Scan, " "))
		}
	}
	for _, t := range p.Tables {
		fmt.Fprintf(b, "K%s %s\n", t.Name, strings.TrimRight(t.Class+" "+strings.Join(t.Args, " "), " "))
	}
	for _, t := range p.Transports {
		fmt.Fprintf(b, "M%s", t.Name)
		for _, param := range t.Params {
			fmt.Fprintf(b, ", %s=%s", param.Name, param.Value)
		}
		fmt.Fprintln(b)
	}
	for _, rs := range p.Rulesets {
		fmt.Fprintf(b, "S%s", rs.Name)
		if rs.Number >= 0 && fmt.Sprint(rs.Number) != rs.Name {
			fmt.Fprintf(b, "=%d", rs.Number)
		}
		fmt.Fprintln(b)
		for _, r := range rs.Rules {
			fmt.Fprintln(b, r)
		}
	}
	return b.Flush()
}

func sorted[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for n := range m {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}
