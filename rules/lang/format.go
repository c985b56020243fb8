package lang

import (
	"strings"
	"unicode/utf8"

	"github.com/alecthomas/participle/v2/lexer"
)

// Format lays a rule file out in the one form: statements in the first column, lines of a block indented by four
// blanks, actions in columns, one empty line at most, comments kept where they are. Only white space changes, so the
// result means the same, and formatting it again changes nothing. A text that cannot even be cut into words stays as it
// is; one with other mistakes is laid out as far as it goes.
func Format(src *Source) string {
	f := &formatter{}
	var line []lexer.Token
	continued := false
	tokens := scan(src, nil)
	if hasBad(tokens) {
		return src.Text
	}
	for _, t := range tokens {
		newline := (t.Type == tokEOL || t.Type == tokSpace) && strings.HasSuffix(t.Value, "\n")
		if t.Type == tokEOF || newline {
			if t.Type == tokSpace && strings.HasPrefix(t.Value, `\`) {
				line = append(line, t)
			}
			f.line(line, continued)
			if last := lastOf(line); last != tokSpace {
				continued = t.Type == tokSpace && last != tokEOL
			}
			line = nil
			continue
		}
		line = append(line, t)
	}
	f.flush()
	return f.out.String()
}

// lastOf is the type of the last token of a line that is neither space nor comment; tokSpace when there is none.
func lastOf(line []lexer.Token) lexer.TokenType {
	for i := len(line) - 1; i >= 0; i-- {
		if t := line[i].Type; t != tokSpace && t != tokComment {
			return t
		}
	}
	return tokSpace
}

// formatter collects rows that belong together, then writes them with their columns aligned.
type formatter struct {
	out   strings.Builder
	depth int
	block string // first word of the statement whose block is open
	empty bool   // an empty line came in
	rows  []row
	group string // what the collected rows have in common
}

// row is one line of output.
type row struct {
	indent  int
	cells   []string // aligned with those of the other rows, but for the last one
	comment string
	blank   bool // an empty line goes before it
}

func (f *formatter) line(tokens []lexer.Token, continued bool) {
	var comment string
	if n := len(tokens); n > 0 && tokens[n-1].Type == tokComment {
		comment = strings.TrimRight(tokens[n-1].Value, " \t\r")
		tokens = tokens[:n-1]
	}
	words := words(tokens)
	if len(words) == 0 {
		if comment == "" {
			f.empty = true
			return
		}
		f.add(row{indent: f.depth, cells: nil, comment: comment}, f.group)
		return
	}
	indent, group := f.depth, f.block
	if words[0] == "}" {
		indent = max(0, indent-1)
		group = "}"
		f.empty = false
	}
	if continued {
		indent++
	}
	opens := strings.Count(joinBraces(tokens), "{") - strings.Count(joinBraces(tokens), "}")
	if f.depth == 0 {
		f.block = words[0]
		group = "top " + words[0]
		if opens > 0 {
			group = "{"
		}
	}
	f.depth = max(0, f.depth+opens)
	f.add(row{indent: indent, cells: cells(words, f.block, group), comment: comment}, group)
	if opens > 0 {
		f.empty = false
		f.flush()
		f.group = f.block
	}
}

// joinBraces returns the braces of the line that are braces, not text.
func joinBraces(tokens []lexer.Token) string {
	var b strings.Builder
	for _, t := range tokens {
		if t.Type == tokLBrace || t.Type == tokRBrace {
			b.WriteString(t.Value)
		}
	}
	return b.String()
}

// words joins tokens that touch each other; each word is then separated by white space from the next. A ";" goes to
// the word before it; braces stand alone.
func words(tokens []lexer.Token) []string {
	var out []string
	glued, ended := false, false // ended: the last word has its ";"
	for _, t := range tokens {
		switch {
		case t.Type == tokSpace:
			if strings.HasPrefix(t.Value, `\`) {
				out = append(out, `\`)
			}
			glued = false
		case t.Type == tokComment: // only before a line end: cannot be here
		case t.Type == tokEOL: // a ";", or nothing at the end of the file
			switch {
			case t.Value == "" || ended:
			case len(out) == 0:
				out, ended = append(out, ";"), true
			case out[len(out)-1] != "{":
				out[len(out)-1] += ";"
				ended = true
			}
			glued = false
			continue
		case t.Type == tokArrow || t.Type == tokLBrace || t.Type == tokRBrace:
			out = append(out, t.Value)
			glued = false
		case glued:
			out[len(out)-1] += t.Value
		default:
			out = append(out, t.Value)
			glued = true
		}
		if t.Type != tokSpace && t.Type != tokComment {
			ended = false
		}
	}
	return out
}

// cells divides the words of a line into the columns of its block.
func cells(words []string, block, group string) []string {
	one := func(words []string) string { return strings.Join(words, " ") }
	switch {
	case strings.HasPrefix(group, "top table") && len(words) > 3:
		return []string{words[0] + " " + words[1], words[2], one(words[3:])}
	case strings.HasPrefix(group, "top ") || group == "{" || group == "}":
		return []string{one(words)}
	}
	at := -1
	for i, w := range words {
		stop := w == "->" || w == "=>"
		switch block {
		case "accept":
			stop = stop || i > 0 && (w == "ok" || w == "reject" || w == "discard" || w == "quarantine")
		case "send":
			stop = stop || i > 0 && (w == "now" || w == "background" || w == "queue" || w == "defer" || w == "priority")
		}
		if stop {
			at = i
			break
		}
	}
	if at < 0 {
		return []string{one(words)}
	}
	out := []string{one(words[:at])}
	if words[at] != "=>" || len(words) < at+3 || block != "route" && block != "test" || words[at+1] == "reject" || words[at+1] == "quarantine" {
		return append(out, one(words[at:]))
	}
	out = append(out, one(words[at:at+2]))
	for at += 2; at < len(words); at++ {
		if at+1 < len(words) && (words[at] == "queue" || words[at+1] == "between") || len(out) == 4 {
			break
		}
		out = append(out, words[at])
	}
	if at < len(words) {
		out = append(out, one(words[at:]))
	}
	return out
}

func (f *formatter) add(r row, group string) {
	if group != f.group || f.empty {
		f.flush()
		f.group = group
	}
	r.blank = f.empty && f.out.Len() > 0
	f.empty = false
	f.rows = append(f.rows, r)
}

const (
	widest   = 44 // a cell that is wider does not widen its column
	farthest = 72 // a line that is longer does not push the comments of its neighbours out
)

// flush writes the collected rows.
func (f *formatter) flush() {
	var width []int
	for _, r := range f.rows {
		for i, c := range r.cells {
			if i == len(width) {
				width = append(width, 0)
			}
			w := utf8.RuneCountInString(c)
			if i == 0 {
				w += 4 * r.indent
			}
			if w <= widest && i < len(r.cells)-1 {
				width[i] = max(width[i], w)
			}
		}
	}
	text := make([]string, len(f.rows))
	longest := 0
	for n, r := range f.rows {
		var b strings.Builder
		for i, c := range r.cells {
			if i == 0 {
				b.WriteString(strings.Repeat("    ", r.indent))
			}
			b.WriteString(c)
			if i < len(r.cells)-1 {
				w := utf8.RuneCountInString(c)
				if i == 0 {
					w += 4 * r.indent
				}
				b.WriteString(strings.Repeat(" ", max(width[i]-w, 0)+1+min(i, 1)))
			}
		}
		text[n] = strings.TrimRight(b.String(), " ")
		if l := utf8.RuneCountInString(text[n]); r.comment != "" && len(r.cells) > 0 && l <= farthest {
			longest = max(longest, l)
		}
	}
	for n, r := range f.rows {
		if r.blank {
			f.out.WriteByte('\n')
		}
		switch {
		case r.comment == "":
			f.out.WriteString(text[n])
		case len(r.cells) == 0:
			f.out.WriteString(strings.Repeat("    ", r.indent) + r.comment)
		default:
			f.out.WriteString(text[n] + strings.Repeat(" ", max(longest-utf8.RuneCountInString(text[n]), 0)+2) + r.comment)
		}
		f.out.WriteByte('\n')
	}
	f.rows = nil
}
