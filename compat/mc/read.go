// Package mc reads the .mc file from which m4 makes a sendmail.cf, without m4: what such files consist of is understood
// directly. What flows in is the text of an .mc file (cf/README of sendmail 8.17 describes it) or a sendmail.cf that m4 has
// made; what flows out is a Site, the site's own wishes, which prints itself as a short file of the rule language, and a
// list of what could not be understood, with its lines.
package mc

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Problem is something that the reader does not understand or that the rule language does not have.
type Problem struct {
	File string
	Line int
	Text string
}

func (p Problem) String() string {
	if p.Line == 0 {
		return strings.TrimPrefix(p.File+": "+p.Text, ": ")
	}
	return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Text)
}

// Limits of the reader.
const (
	maxDepth   = 32      // includes, and macros in macros
	maxText    = 1 << 22 // octets of a file
	maxMacros  = 20000   // calls in all
	maxExpand  = 1 << 16 // octets of one argument
	mostTrials = 500     // problems that are kept
)

// reader is the state of one reading.
type reader struct {
	site    *Site
	file    string
	macros  map[string]string // defined by the file
	section string            // LOCAL_CONFIG and the like; empty: what stands outside of all
	quiet   bool              // divert(-1)
	calls   int
	depth   int
	open    func(name string) ([]byte, error)
}

// Read reads an .mc file. name stands in messages, and files that it includes are looked for beside it.
func Read(text, name string) *Site {
	r := &reader{site: newSite(), file: name, macros: map[string]string{}, open: os.ReadFile}
	r.eval(text, 1)
	r.site.finish()
	return r.site
}

func (r *reader) problem(line int, format string, args ...any) {
	if len(r.site.Problems) < mostTrials {
		r.site.Problems = append(r.site.Problems, Problem{r.file, line, fmt.Sprintf(format, args...)})
	}
}

// eval goes through a text: macros that are called, comments, and lines for sections.
func (r *reader) eval(text string, line int) {
	if r.depth++; r.depth > maxDepth || len(text) > maxText {
		r.problem(line, "too deep or too large")
		r.depth--
		return
	}
	defer func() { r.depth-- }()
	start := true // of a line
	for i := 0; i < len(text); {
		c := text[i]
		switch {
		case c == '\n':
			r.emit("\n", line)
			line++
			i++
			start = true
			continue
		case c == '#': // a comment of m4: to the end of the line, nothing in it is expanded
			end := len(text)
			if n := strings.IndexByte(text[i:], '\n'); n >= 0 {
				end = i + n
			}
			if !start || r.section != "" {
				r.emit(text[i:end], line)
			}
			i = end
		case c == '`':
			body, n := quoted(text[i:])
			r.emit(body, line)
			line += strings.Count(text[i:i+n], "\n")
			i += n
		case letter(c):
			n := 1
			for i+n < len(text) && (letter(text[i+n]) || digit(text[i+n])) {
				n++
			}
			word := text[i : i+n]
			i += n
			if word == "dnl" {
				skip := strings.IndexByte(text[i:], '\n')
				if skip < 0 {
					return
				}
				i += skip + 1
				line++
				start = true
				continue
			}
			at := line
			var args []string
			called := i < len(text) && text[i] == '('
			if called && r.known(word) {
				var n int
				args, n = arguments(text[i:])
				if n == 0 {
					r.problem(line, "%s(: the closing parenthesis is missing", word)
					return
				}
				line += strings.Count(text[i:i+n], "\n")
				i += n
			}
			if r.calls++; r.calls > maxMacros {
				r.problem(at, "too many macros")
				return
			}
			r.call(word, args, at)
		default:
			r.emit(string(c), line)
			i++
		}
		start = start && (c == ' ' || c == '\t')
	}
}

// emit writes text to the section at hand.
func (r *reader) emit(s string, line int) {
	if r.quiet {
		return
	}
	r.site.addText(r.section, s, r.file, line)
}

// quoted takes a quoted text, `...', and returns what is in it and its length with the quotes.
func quoted(s string) (body string, n int) {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '`':
			depth++
		case '\'':
			if depth--; depth == 0 {
				return s[1:i], i + 1
			}
		}
	}
	return s[1:], len(s)
}

// arguments takes "(a, b, ...)". White space before an argument is no part of it; quotes stay.
func arguments(s string) (args []string, n int) {
	var b strings.Builder
	depth := 1
	fresh := true
	for i := 1; i < len(s); {
		c := s[i]
		switch {
		case c == '`':
			_, n := quoted(s[i:])
			b.WriteString(s[i : i+n])
			i += n
			fresh = false
			continue
		case fresh && (c == ' ' || c == '\t' || c == '\n'):
			i++
			continue
		case strings.HasPrefix(s[i:], "dnl") && (i+3 == len(s) || !letter(s[i+3]) && !digit(s[i+3])) && !(letter(s[i-1]) || digit(s[i-1])):
			end := strings.IndexByte(s[i:], '\n')
			if end < 0 {
				return nil, 0
			}
			i += end + 1
			continue
		case c == '(':
			depth++
		case c == ')':
			if depth--; depth == 0 {
				return append(args, b.String()), i + 1
			}
		case c == ',' && depth == 1:
			args = append(args, b.String())
			b.Reset()
			fresh = true
			i++
			continue
		}
		b.WriteByte(c)
		fresh = false
		i++
	}
	return nil, 0
}

// value expands an argument: quotes are taken off, and words outside of them that the file has defined are replaced.
func (r *reader) value(arg string) string {
	var b strings.Builder
	for i := 0; i < len(arg) && b.Len() < maxExpand; {
		c := arg[i]
		switch {
		case c == '`':
			body, n := quoted(arg[i:])
			b.WriteString(body)
			i += n
		case letter(c):
			n := 1
			for i+n < len(arg) && (letter(arg[i+n]) || digit(arg[i+n])) {
				n++
			}
			word := arg[i : i+n]
			if v, ok := r.macros[word]; ok && r.depth < maxDepth {
				r.depth++
				word = r.value(v)
				r.depth--
			}
			b.WriteString(word)
			i += n
		default:
			b.WriteByte(c)
			i++
		}
	}
	return b.String()
}

func letter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' }
func digit(c byte) bool  { return c >= '0' && c <= '9' }

// logic are words of m4 that ask for more than a reader of wishes can do.
var logic = map[string]bool{
	"eval": true, "syscmd": true, "esyscmd": true, "sinclude": false, "pushdef": true, "popdef": true, "index": true, "len": true, "substr": true, "translit": true,
	"regexp": true, "patsubst": true, "incr": true, "decr": true, "changequote": true, "changecom": true, "m4wrap": true, "defn": true, "shift": true, "undivert": true,
	"errprint": true, "format": true, "builtin": true, "indir": true, "traceon": true, "debugmode": true,
}

// known reports whether a word with a parenthesis behind it is a call.
func (r *reader) known(word string) bool {
	switch word {
	case "define", "undefine", "ifdef", "ifelse", "include", "sinclude", "divert":
		return true
	}
	_, defined := r.macros[word]
	return defined || logic[word] || wishes[word] != nil || sections[word] || strings.HasPrefix(word, "LDAPROUTE_")
}

// sections are the macros behind which lines of a sendmail.cf stand.
var sections = map[string]bool{
	"LOCAL_CONFIG": true, "LOCAL_RULE_0": true, "LOCAL_RULE_1": true, "LOCAL_RULE_2": true, "LOCAL_RULE_3": true, "LOCAL_RULESETS": true, "LOCAL_NET_CONFIG": true,
	"MAILER_DEFINITIONS": true, "LOCAL_UUCP": true, "LOCAL_DNSBL": true, "LOCAL_SRV_FEATURES": true, "LOCAL_CLT_FEATURES": true, "LOCAL_TRY_TLS": true, "LOCAL_TLS_RCPT": true,
	"LOCAL_TLS_CLIENT": true, "LOCAL_TLS_SERVER": true,
}

// call does what a word asks for; one that nobody knows is text.
func (r *reader) call(word string, args []string, line int) {
	arg := func(n int) string {
		if n < len(args) {
			return r.value(args[n])
		}
		return ""
	}
	switch {
	case word == "define":
		name := arg(0)
		if name != "" {
			r.macros[name] = ""
			if len(args) > 1 {
				r.macros[name] = r.value(args[1])
			}
			r.site.define(name, r.macros[name], r.file, line)
		}
	case word == "undefine":
		delete(r.macros, arg(0))
		r.site.undefine(arg(0))
	case word == "divert":
		r.quiet = strings.HasPrefix(strings.TrimSpace(arg(0)), "-")
		if !r.quiet {
			r.section = ""
		}
	case word == "include" || word == "sinclude":
		r.include(arg(0), word == "sinclude", line)
	case word == "ifdef":
		_, yes := r.macros[arg(0)]
		if yes {
			r.eval(arg(1), line)
		} else {
			r.eval(arg(2), line)
		}
	case word == "ifelse":
		for n := 0; n+2 < len(args); n += 3 {
			if arg(n) == arg(n+1) {
				r.eval(arg(n+2), line)
				return
			}
			if n+3 == len(args)-1 {
				r.eval(arg(n+3), line)
			}
		}
	case logic[word]:
		r.problem(line, "%s is logic of m4: convert the sendmail.cf that m4 makes of this file", word)
	case sections[word]:
		r.section = word
		r.quiet = false
		r.site.begin(word)
	case wishes[word] != nil && (args != nil || word == "MAILER_DEFINITIONS"):
		var list []string
		for n := range args {
			list = append(list, strings.TrimSpace(arg(n)))
		}
		say, remark := strings.CutPrefix(wishes[word](r.site, list), "~")
		switch {
		case remark:
			r.site.Remarks = append(r.site.Remarks, fmt.Sprintf("%s:%d: %s(%s): %s", r.file, line, word, strings.Join(list, ", "), say))
		case say != "":
			r.problem(line, "%s(%s): %s", word, strings.Join(list, ", "), say)
		}
		r.section = ""
	case r.macros[word] != "" && args == nil && r.depth < maxDepth:
		if _, ok := r.macros[word]; ok {
			r.eval(r.macros[word], line)
		}
	case strings.HasPrefix(word, "LDAPROUTE_"):
		r.problem(line, "%s: routing by LDAP is not in the library", word)
	default:
		r.emit(word, line)
	}
}

func (r *reader) include(name string, optional bool, line int) {
	if strings.HasSuffix(name, "m4/cf.m4") || name == "" {
		return
	}
	if !filepath.IsAbs(name) {
		name = filepath.Join(filepath.Dir(r.file), name)
	}
	text, err := r.open(name)
	if err != nil {
		if !optional {
			r.problem(line, "include: %v", err)
		}
		return
	}
	file := r.file
	r.file = name
	r.eval(string(text), 1)
	r.file = file
}
