package expand

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"waybill/transport/envelope"
	"waybill/transport/envelope/lexeme"
)

// Item is one entry of the right side of an alias, of an :include: file or of a .forward file. Exactly one of Addr,
// Command, File and Include is set.
type Item struct {
	Addr    envelope.Address
	Final   bool // "\bob": neither aliases nor .forward apply
	Command envelope.Command
	File    envelope.FileName
	Include string // path of an :include: file
	Where   string // "FILE: line N" in a file of lists; empty elsewhere
}

const (
	maxItem  = 2048 // octets of one entry
	maxItems = 100_000
)

// ParseList reads a list as aliases(5) and forward(5) describe it: entries between commas, quoted strings, comments in
// parentheses, "Name <address>", groups "name: a, b;", "\user", "/file", "|command" and `"|command with, commas"`,
// ":include:/path". A list that is not understood is an error as a whole: half a list would be lost mail.
func ParseList(text string) ([]Item, error) { return parseList(text, false) }

// parseList is ParseList. spelled keeps the quotes of "|command", for those who show it.
func parseList(text string, spelled bool) ([]Item, error) {
	var items []Item
	group := false
	for len(text) > 0 {
		raw, sep, rest, err := cut(text, group)
		if err != nil {
			return nil, err
		}
		text = rest
		if sep == ':' { // what stood before it is the group's name
			if group {
				return nil, errors.New("a group inside a group")
			}
			group = true
			continue
		}
		if sep == ';' {
			group = false
		}
		item, ok, err := parseItem(raw, spelled)
		if err != nil {
			return nil, err
		}
		if ok {
			items = append(items, item)
		}
		if len(items) > maxItems {
			return nil, fmt.Errorf("more than %d entries", maxItems)
		}
	}
	if group {
		return nil, errors.New("a group is not closed with \";\"")
	}
	return items, nil
}

// cut takes the first entry off text. sep is what ended it: ',', ':' (a group begins), ';' (a group ends) or 0.
func cut(text string, inGroup bool) (entry string, sep byte, rest string, err error) {
	quoted, comment, angle := false, 0, 0
	special := strings.TrimLeft(text, " \t\r\n")
	command := strings.HasPrefix(special, "|")                                                                                         // up to the comma, whatever stands in it
	colon := !command && !strings.HasPrefix(special, ":include:") && !strings.HasPrefix(special, "/") && !inGroup && hasGroupEnd(text) // could this be a group's name?
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c == '\\' && i+1 < len(text):
			i++
		case comment > 0:
			switch c {
			case '(':
				comment++
			case ')':
				comment--
			}
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '(' && !command:
			comment++
		case c == ')' && !command:
			return "", 0, "", errors.New("unbalanced \")\"")
		case c == '<' && !command:
			angle++
		case c == '>' && !command:
			if angle--; angle < 0 {
				return "", 0, "", errors.New("unbalanced \">\"")
			}
		case angle > 0: // routes have commas and colons: <@a,@b:c@d>
		case c == ',', c == ';' && inGroup && !command:
			return text[:i], c, text[i+1:], nil
		case c == ':' && colon:
			return text[:i], c, text[i+1:], nil
		}
	}
	switch {
	case quoted:
		return "", 0, "", errors.New("unbalanced '\"'")
	case comment > 0:
		return "", 0, "", errors.New("unbalanced \"(\"")
	case angle > 0:
		return "", 0, "", errors.New("unbalanced \"<\"")
	}
	return text, 0, "", nil
}

// hasGroupEnd reports whether a ";" stands in the list outside quotes. Without one a colon is just a character
// (sendmail's ColonOkInAddr).
func hasGroupEnd(text string) bool {
	quoted := false
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			quoted = !quoted
		case ';':
			if !quoted {
				return true
			}
		}
	}
	return false
}

func parseItem(raw string, spelled bool) (item Item, ok bool, err error) {
	s := strings.TrimSpace(raw)
	if len(s) > maxItem {
		return Item{}, false, fmt.Errorf("an entry of %d octets is too long", len(s))
	}
	if inner, whole := unquote(s); whole && inner != "" && strings.ContainsAny(inner[:1], "|/:") {
		if spelled && inner[0] == '|' && strings.TrimSpace(inner[1:]) != "" {
			return Item{Command: envelope.Command(s)}, true, nil
		}
		s = inner
	} else if !strings.HasPrefix(s, "|") {
		s = strings.Join(strings.Fields(lexeme.WithoutComments(s)), " ")
	}
	if s == "" {
		return Item{}, false, nil
	}
	if i := strings.IndexFunc(s, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }); i >= 0 {
		return Item{}, false, fmt.Errorf("control character in entry %q", s)
	}
	switch {
	case s[0] == '|':
		command := strings.TrimSpace(s[1:])
		// The quotes of |"program args" stay: listings and reports show them. Package transport/pipe takes them off.
		if inner, whole := unquote(command); command == "" || whole && strings.TrimSpace(inner) == "" {
			return Item{}, false, errors.New("\"|\" without a program")
		}
		return Item{Command: envelope.Command(command)}, true, nil
	case len(s) >= 9 && strings.EqualFold(s[:9], ":include:"):
		name := strings.TrimSpace(s[9:])
		if !path.IsAbs(name) && !spelled {
			return Item{}, false, fmt.Errorf(":include: needs an absolute path, not %q", name)
		}
		return Item{Include: name}, true, nil
	case s[0] == '/' && !strings.Contains(s, "@"): // with an "@" it is an X.400 address
		return Item{File: envelope.FileName(s)}, true, nil
	}
	if i := strings.LastIndexByte(s, '<'); i >= 0 && strings.HasSuffix(s, ">") && !strings.HasPrefix(s, `\`) {
		if s = strings.TrimSpace(s[i+1 : len(s)-1]); s == "" {
			return Item{}, false, errors.New("\"<>\" is nobody's address")
		}
	}
	if rest, literal := strings.CutPrefix(s, `\`); literal {
		if rest == "" {
			return Item{}, false, errors.New("a backslash without a name")
		}
		return Item{Addr: envelope.Address(rest), Final: true}, true, nil
	}
	return Item{Addr: envelope.Address(s)}, true, nil
}

// unquote returns the content of s when all of it is one quoted string.
func unquote(s string) (inner string, whole bool) {
	if len(s) < 2 || s[0] != '"' {
		return "", false
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return b.String(), i == len(s)-1
		case s[i] == '\\' && i+1 < len(s) && (s[i+1] == '"' || s[i+1] == '\\'):
			i++
			b.WriteByte(s[i])
		default:
			b.WriteByte(s[i])
		}
	}
	return "", false
}
