package cf

import (
	"fmt"
	"strings"
)

// Report is what an administrator wants to know before switching: what became of each line, and whether the whole will
// do. It is made for people (Text) and for programs (encoding/json).
type Report struct {
	File     string   `json:"file"`
	Level    int      `json:"level"`
	Items    []Item   `json:"items"`    // in the order of the file
	Messages []string `json:"messages"` // what sendmail itself says about the file
	Summary  Summary  `json:"summary"`
	Verdict  Verdict  `json:"verdict"`
}

// Item is one thing of the file: a line, an option, a map, a flag of a mailer.
type Item struct {
	Line   int    `json:"line"`
	What   string `json:"what"`
	How    string `json:"how"` // exact, approximated, ignored
	Why    string `json:"why,omitempty"`
	Matter bool   `json:"matters,omitempty"` // somebody may rely on it
}

// Summary counts the items.
type Summary struct {
	Exact        int `json:"exact"`
	Approximated int `json:"approximated"`
	Ignored      int `json:"ignored"`
	Matter       int `json:"matters"`
	Errors       int `json:"errors"` // sendmail's own
}

// Verdict is what to do.
type Verdict struct {
	Ready  bool   `json:"ready"`
	Advice string `json:"advice"`
}

// NewReport makes the report of a configuration.
func NewReport(c *Config) *Report {
	r := &Report{File: c.File, Level: c.Level, Items: []Item{}, Messages: []string{}}
	for _, n := range c.Report() {
		it := Item{Line: n.Pos.Line, What: n.What, How: n.How.String(), Why: n.Why, Matter: n.How != Exact && n.Harm}
		r.Items = append(r.Items, it)
		switch n.How {
		case Exact:
			r.Summary.Exact++
		case Approximated:
			r.Summary.Approximated++
		default:
			r.Summary.Ignored++
		}
		if it.Matter {
			r.Summary.Matter++
		}
	}
	for _, m := range c.Messages {
		r.Messages = append(r.Messages, m.String())
	}
	r.Summary.Errors = c.Errors
	switch {
	case c.Fatal != 0:
		r.Verdict.Advice = "sendmail gives up on this file, and so does Waybill: mend the last line named under \"sendmail says\"."
	case c.Mailer("local") == nil:
		r.Verdict.Advice = "There is no local mailer: this file cannot deliver mail, with sendmail or with Waybill."
	case r.Summary.Matter > 0:
		r.Verdict.Ready = c.Errors == 0
		r.Verdict.Advice = fmt.Sprintf("It runs, and rules decide as with sendmail. But %s that somebody may rely on: look at those marked \"!\", and write each in native rules or do without it, before switching.",
			count(r.Summary.Matter, "thing is not as it was", "things are not as they were"))
	case r.Summary.Approximated > 0:
		r.Verdict.Ready = c.Errors == 0
		r.Verdict.Advice = "It can be switched: what is approximated or ignored does not change where mail goes."
	default:
		r.Verdict.Ready = c.Errors == 0
		r.Verdict.Advice = "It can be switched: everything means what it meant."
	}
	if c.Errors > 0 && c.Fatal == 0 {
		r.Verdict.Advice = fmt.Sprintf("sendmail finds %s in it (sendmail -bC exits 70): mend them first. ", count(c.Errors, "error", "errors")) + r.Verdict.Advice
	}
	return r
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// Text is the report for people. Lines in a row of which the same is to be said share a line of it; brief leaves out
// what is exact.
func (r *Report) Text(brief bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: V level %d\n\n", r.File, r.Level)
	for i := 0; i < len(r.Items); {
		it := r.Items[i]
		j := i + 1
		for j < len(r.Items) && r.Items[j].What == it.What && r.Items[j].How == it.How && r.Items[j].Why == it.Why {
			j++
		}
		lines := fmt.Sprint(it.Line)
		what := it.What
		if last := r.Items[j-1].Line; j-i > 1 && last != it.Line {
			lines, what = fmt.Sprintf("%d-%d", it.Line, last), fmt.Sprintf("%s (%d times)", it.What, j-i)
		}
		i = j
		if brief && it.How == Exact.String() {
			continue
		}
		mark := " "
		if it.Matter {
			mark = "!"
		}
		fmt.Fprintf(&b, "%s %-10s %-40s %s", mark, lines, what, it.How)
		if it.Why != "" {
			b.WriteString(": " + it.Why)
		}
		b.WriteByte('\n')
	}
	if len(r.Messages) > 0 {
		b.WriteString("\nsendmail says:\n")
		for _, m := range r.Messages {
			b.WriteString("  " + strings.ReplaceAll(m, "\n", "\n  ") + "\n")
		}
	}
	s := r.Summary
	fmt.Fprintf(&b, "\n%d exact, %d approximated, %d ignored", s.Exact, s.Approximated, s.Ignored)
	if s.Matter > 0 {
		fmt.Fprintf(&b, "; %d marked \"!\"", s.Matter)
	}
	fmt.Fprintf(&b, "\nVerdict: %s\n", r.Verdict.Advice)
	return b.String()
}
