package compile

import (
	"fmt"
	"sort"
	"strings"
	"unicode/utf8"

	"waybill/rules/lang"
)

// Constant before a name makes a literal that PrintRule writes as a constant: "${name}".
const Constant = "\x00"

// literal writes a token so that it is read as this one token.
func (pr *printer) literal(text string) string {
	if name, ok := strings.CutPrefix(text, Constant); ok {
		return "${" + name + "}"
	}
	if len(text) > 1 && text[0] == '"' && text[len(text)-1] == '"' && plainString(text[1:len(text)-1]) {
		return text
	}
	return pr.name(text)
}

// plainString reports whether a quoted string of an address is one of the language, too.
func plainString(s string) bool {
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s):
			i++
		case s[i] == '"' || s[i] == '\\' || s[i] < ' ' || s[i] == 0x7f:
			return false
		}
	}
	return true
}

func (pr *printer) name(text string) string {
	if text == "<" || text == ">" {
		return text
	}
	toks, issues := pr.syntax.Split(text)
	if len(issues) == 0 && len(toks) == 1 && string(toks[0]) == text && lang.PlainWord(text) {
		return text
	}
	return single(text)
}

// single writes a text in single quotes.
func single(text string) string { return "'" + escape(text, '\'') + "'" }

func escape(text string, quote byte) string {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == quote || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\t':
			b.WriteString(`\t`)
		case c < ' ' || c == 0x7f || c >= 0x80 && !utf8.ValidString(text):
			fmt.Fprintf(&b, `\x%02x`, c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// quote writes a value, in quotes where it needs them.
func quote(text string) string {
	if lang.PlainWord(text) && !strings.HasPrefix(text, "@") && !strings.HasPrefix(text, "?") || lang.Keyword(text) {
		return text
	}
	return `"` + escape(text, '"') + `"`
}

// Quote writes a value as a word of the rule language, in quotes where it needs them.
func Quote(text string) string { return quote(text) }

// Words writes values as words of the rule language.
func Words(values []string) string { return words(values) }

func words(values []string) string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = quote(v)
	}
	return strings.Join(out, " ")
}

func className(name string) string {
	if lang.PlainName(name) {
		return name
	}
	return "{" + name + "}"
}

func macro(name string) string {
	if len(name) == 1 && lang.PlainName(name) {
		return "$&" + name
	}
	return "$&{" + name + "}"
}

func sortedNames[V any](m map[string]V) []string {
	names := keys(m)
	sort.Strings(names)
	return names
}
