package pipe

import (
	"errors"
	"fmt"
	"strings"
)

// template is an argument, compiled: values are put in as data and never looked at again.
type template []part

// part is literal text, or the name of a value.
type part struct{ text, value string }

var macros = map[string]string{
	"u": "user", "h": "host", "f": "sender", "g": "sender", "i": "id", "z": "home", "d": "detail",
	"user": "user", "host": "host", "sender": "sender", "id": "id", "home": "home", "detail": "detail",
	"client_addr": "client_addr", "client_name": "client_name",
}

// Macro reports whether arguments can have this macro.
func Macro(name string) bool { return macros[name] != "" }

func compile(text string) (template, error) {
	if control(text) {
		return nil, errors.New("control character")
	}
	var t template
	literal := func(s string) {
		if s == "" {
			return
		}
		if n := len(t); n > 0 && t[n-1].value == "" {
			t[n-1].text += s
			return
		}
		t = append(t, part{text: s})
	}
	for {
		before, rest, found := strings.Cut(text, "$")
		literal(before)
		if !found {
			return t, nil
		}
		if after, ok := strings.CutPrefix(rest, "$"); ok {
			literal("$")
			text = after
			continue
		}
		name := ""
		if inner, braced := strings.CutPrefix(rest, "{"); braced {
			end := strings.IndexByte(inner, '}')
			if end < 0 {
				return nil, errors.New("\"${\" is not closed")
			}
			name, text = inner[:end], inner[end+1:]
		} else {
			end := 0
			for end < len(rest) && (rest[end] >= 'a' && rest[end] <= 'z') {
				end++
			}
			if macros[rest[:end]] == "" && end > 1 { // $u@example, $uxyz: one letter it is
				end = 1
			}
			name, text = rest[:end], rest[end:]
		}
		value := macros[name]
		if value == "" {
			return nil, fmt.Errorf("unknown macro \"$%s\"", name)
		}
		t = append(t, part{value: value})
	}
}

func (t template) uses(value string) bool {
	for _, p := range t {
		if p.value == value {
			return true
		}
	}
	return false
}

// beginsLiterally reports whether the argument's beginning stands in the configuration.
func (t template) beginsLiterally() bool { return len(t) > 0 && t[0].value == "" }

// literal returns the text of a template without macros.
func (t template) literal() string {
	if len(t) == 1 {
		return t[0].text
	}
	return ""
}

func (t template) expand(values map[string]string) (string, error) {
	var b strings.Builder
	for _, p := range t {
		if p.value == "" {
			b.WriteString(p.text)
			continue
		}
		v := values[p.value]
		if control(v) {
			return "", fmt.Errorf("control character in $%s", p.value)
		}
		b.WriteString(v)
	}
	return b.String(), nil
}

// meaningless refuses values that could mean something to an interpreter of the argument, or an option to a program in
// it. $u is not asked here: only Commands, which are meant for an interpreter, come so far.
func (t template) meaningless(values map[string]string) error {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_+@:/"
	for _, p := range t {
		v := values[p.value]
		if p.value != "" && p.value != "user" && (strings.Trim(v, plain) != "" || strings.HasPrefix(v, "-")) {
			return fmt.Errorf("$%s would be interpreted", p.value)
		}
	}
	return nil
}
