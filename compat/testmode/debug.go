package testmode

import (
	"fmt"
	"strconv"
	"strings"

	"waybill/rules/prog"
	"waybill/rules/trace"
)

// debugging is what "-d21.LEVEL" shows beside the trace: from level 4 on each rewriting, from 12 on each rule that is
// tried, from 15 on its line and what its wildcards took. Other categories are accepted and show nothing.
type debugging struct {
	level int
	open  []frame // a ruleset within a ruleset has a frame of its own
}

// frame is a ruleset that runs.
type frame struct {
	rs   *prog.Ruleset
	next int  // the rule that is tried next
	over bool // no rule is tried any more
}

// set reads the argument of -d: "21.12", "0-99.1,21.12", or nothing for everything.
func (d *debugging) set(arg string) {
	if arg == "" {
		arg = "0-99.1"
	}
	for _, part := range strings.FieldsFunc(arg, func(c rune) bool { return c == ',' || c == ' ' || c == '\t' }) {
		category, level, ok := strings.Cut(part, ".")
		n := 1
		if ok {
			n, _ = strconv.Atoi(level)
		}
		first, last, isRange := strings.Cut(category, "-")
		lo, err := strconv.Atoi(first)
		if err != nil {
			continue
		}
		hi := lo
		if isRange {
			hi, _ = strconv.Atoi(last)
		}
		if lo <= 21 && 21 <= hi {
			d.level = n
		}
	}
}

// wants are the events that are needed beside those of the trace.
func (d *debugging) wants() trace.Kind {
	switch {
	case d.level >= 12:
		return trace.Match | trace.Rewrite
	case d.level >= 4:
		return trace.Rewrite
	}
	return 0
}

// event returns the lines that stand before the event's own line of the trace.
func (d *debugging) event(e *trace.Event) string {
	if d.level < 4 {
		return ""
	}
	var b strings.Builder
	switch e.Kind {
	case trace.Enter:
		d.open = append(d.open[:max(0, min(len(d.open), e.Depth-1))], frame{rs: e.Ruleset})
	case trace.Match:
		if f := d.frame(e); f != nil && d.level >= 12 {
			d.tried(&b, f, e.Index)
			d.trying(&b, e.Rule)
			b.WriteString("-----rule matches:" + rightSide(e.Rule) + "\n")
			for i, c := range e.Captures {
				if d.level >= 15 {
					fmt.Fprintf(&b, "$%d: \"%s\"\n", i+1, trace.Tokens(c))
				}
			}
		}
	case trace.Rewrite:
		fmt.Fprintf(&b, "rewritten as: %s\n", trace.Tokens(e.Tokens))
		if f := d.frame(e); f != nil {
			f.next = e.Index
			if e.Rule.Mode == prog.Once {
				f.next++
			}
			f.over = e.Rule.Mode == prog.Return || len(e.Tokens) > 0 && e.Tokens[0] == "\x81"
		}
	case trace.Leave:
		if f := d.frame(e); f != nil && d.level >= 12 && !f.over {
			d.tried(&b, f, len(f.rs.Rules))
		}
	}
	return b.String()
}

func (d *debugging) frame(e *trace.Event) *frame {
	if e.Depth < 1 || e.Depth > len(d.open) || d.open[e.Depth-1].rs != e.Ruleset {
		return nil
	}
	return &d.open[e.Depth-1]
}

// tried tells of the rules up to one that did not match.
func (d *debugging) tried(b *strings.Builder, f *frame, until int) {
	for ; f.next < until; f.next++ {
		d.trying(b, f.rs.Rules[f.next])
		b.WriteString("----- rule fails\n")
	}
}

func (d *debugging) trying(b *strings.Builder, r *prog.Rule) {
	b.WriteString("-----trying rule")
	if d.level >= 15 {
		fmt.Fprintf(b, " (line %d)", r.Pos.Line)
	}
	b.WriteByte(':')
	for _, t := range r.LHS {
		b.WriteString(" " + symbolText(t))
	}
	b.WriteByte('\n')
}

func rightSide(r *prog.Rule) string {
	var b strings.Builder
	switch r.Mode {
	case prog.Once:
		b.WriteString(" $:")
	case prog.Return:
		b.WriteString(" $@")
	}
	for _, t := range r.RHS {
		b.WriteString(" " + symbolText(t))
	}
	return b.String()
}

func symbolText(t prog.Tok) string {
	if t.Kind == prog.Literal {
		return show(t.Text)
	}
	return t.String()
}
