package lang

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Pos is a place in a source: line and column count from 1, the column in characters.
type Pos struct {
	Filename string
	Offset   int
	Line     int
	Column   int
}

// String is "file:line:column", and only the file where there is no line.
func (p Pos) String() string {
	if p.IsZero() {
		return p.Filename
	}
	return fmt.Sprintf("%s:%d:%d", p.Filename, p.Line, p.Column)
}

// IsZero reports whether p is no place at all.
func (p Pos) IsZero() bool { return p.Line == 0 }

// Source is the text of one rule file.
type Source struct {
	Name string
	Text string
	// Library tells that "use" brought it in: what it defines are defaults, which another file may define itself.
	Library bool
	lines   []int // offset at which each line begins
}

// NewSource makes a source of a text. Name is what positions show.
func NewSource(name, text string) *Source {
	s := &Source{Name: name, Text: text, lines: []int{0}}
	for i := 0; i < len(text); i++ {
		if text[i] == '\n' {
			s.lines = append(s.lines, i+1)
		}
	}
	return s
}

// Line returns line n, counted from 1, without its end.
func (s *Source) Line(n int) string {
	if n < 1 || n > len(s.lines) {
		return ""
	}
	end := len(s.Text)
	if n < len(s.lines) {
		end = s.lines[n] - 1
	}
	return strings.TrimSuffix(s.Text[s.lines[n-1]:end], "\r")
}

// Trim returns where a part of the text really ends that reaches from one place to another: without white space at its
// end. A part of several lines keeps its end.
func (s *Source) Trim(from, to Pos) Pos {
	if from.Offset < 0 || to.Offset > len(s.Text) || from.Offset >= to.Offset {
		return to
	}
	text := strings.TrimRight(s.Text[from.Offset:to.Offset], " \t\r\n")
	if i := strings.Index(text, "\n"); i >= 0 {
		to.Offset = from.Offset + len(text)
		return to
	}
	if i := strings.IndexAny(text, "\"'#"); i >= 0 && text[i] == '#' && i > 0 && (text[i-1] == ' ' || text[i-1] == '\t') {
		text = strings.TrimRight(text[:i], " \t")
	}
	from.Offset += len(text)
	from.Column += utf8.RuneCountInString(text)
	return from
}

// Between returns the text from a to b with every run of white space made one blank: a rule as people quote it.
func (s *Source) Between(a, b Pos) string {
	if a.Offset < 0 || b.Offset > len(s.Text) || a.Offset >= b.Offset {
		return ""
	}
	return squeeze(s.Text[a.Offset:b.Offset])
}

// squeeze makes runs of white space one blank and drops comments, but leaves quoted text alone.
func squeeze(text string) string {
	text = strings.TrimSpace(text)
	simple := true
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '#' || c == '"' || c == '\'' || c == '\\':
			return squeezeTokens(text)
		case c == '\n' || c == '\t' || c == '\r' || c == ' ' && text[i-1] == ' ':
			simple = false
		}
	}
	if simple {
		return text
	}
	return strings.Join(strings.Fields(text), " ")
}

func squeezeTokens(text string) string {
	var b strings.Builder
	blank := false
	for _, t := range scan(NewSource("", text), nil) {
		switch t.Type {
		case tokSpace, tokComment, tokEOL, tokEOF:
			blank = true
		default:
			if blank && b.Len() > 0 {
				b.WriteByte(' ')
			}
			blank = false
			b.WriteString(t.Value)
		}
	}
	return b.String()
}

// Severity tells whether a diagnostic stops the file from being used.
type Severity uint8

const (
	Error Severity = iota
	Warning
)

func (s Severity) String() string { return [...]string{"error", "warning"}[s] }

// Diagnostic is one thing that is wrong with a rule file, with all that somebody needs to mend it.
type Diagnostic struct {
	Severity Severity
	Pos, End Pos
	Message  string
	Source   string   // the line of the file at Pos
	Remedy   string   // what to do about it; may be empty
	Related  []string // further places, "file:line: what is there"
	Name     string   // kind of the finding, "shadowed-rule"; empty for plain mistakes
}

// String shows the place, the message, the source line with a caret below, related places and the remedy.
func (d Diagnostic) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s: %s", d.Pos, d.Severity, d.Message)
	if d.Source != "" {
		number := fmt.Sprintf("%5d | ", d.Pos.Line)
		b.WriteString("\n" + number + d.Source + "\n" + strings.Repeat(" ", len(number)-2) + "| ")
		at := 0
		for i, r := range d.Source {
			if at++; at >= d.Pos.Column || i >= len(d.Source) {
				break
			}
			if r != '\t' {
				r = ' '
			}
			b.WriteRune(r)
		}
		n := 1
		if d.End.Line == d.Pos.Line && d.End.Column > d.Pos.Column {
			n = d.End.Column - d.Pos.Column
		} else if d.End.Line > d.Pos.Line {
			n = max(1, utf8.RuneCountInString(strings.TrimRight(d.Source, " \t"))-d.Pos.Column+1)
		}
		b.WriteString(strings.Repeat("^", n))
	}
	for _, r := range d.Related {
		b.WriteString("\n      = " + r)
	}
	if d.Remedy != "" {
		b.WriteString("\n      = " + d.Remedy)
	}
	return strings.Map(printable, b.String())
}

// printable keeps what a rule file holds from steering the terminal: every control character is shown as one other
// character, so that the caret stays where it points.
func printable(r rune) rune {
	if r < ' ' && r != '\t' && r != '\n' || r >= 0x7f && r < 0xa0 {
		return utf8.RuneError
	}
	return r
}

// Diagnostics is everything that is wrong, in the order of the sources. As an error it is all of it.
type Diagnostics []Diagnostic

func (ds Diagnostics) Error() string {
	part := make([]string, len(ds))
	for i, d := range ds {
		part[i] = d.String()
	}
	return strings.Join(part, "\n")
}

// Errors reports whether one of them stops the file from being used.
func (ds Diagnostics) Errors() bool {
	for _, d := range ds {
		if d.Severity == Error {
			return true
		}
	}
	return false
}

// report appends a diagnostic for the part of s between two places.
func (s *Source) report(ds *Diagnostics, from, to Pos, message, remedy string) {
	*ds = append(*ds, Diagnostic{Pos: from, End: to, Message: message, Remedy: remedy, Source: s.Line(from.Line)})
}
