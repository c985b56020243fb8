package lang

import (
	"strings"

	"github.com/alecthomas/participle/v2/lexer"
)

// Lost is what statements that could not be understood may have defined. Who finds that a name is missing asks it
// first: one mistake shall not be reported as many.
type Lost struct {
	All   bool            // anything: a file was not read, or a statement that reads one is broken
	kinds map[string]bool // "class": one whose name cannot be told
	names map[string]bool // words of their heads
}

// May reports whether a name of a kind (class, table, transport, ruleset, define) may have been defined.
func (l *Lost) May(kind, name string) bool {
	return l != nil && (l.All || l.kinds[kind] || l.names[strings.ToLower(name)])
}

// Add takes over what another one has lost.
func (l *Lost) Add(other Lost) {
	l.All = l.All || other.All
	for k := range other.kinds {
		l.note(k, "")
	}
	for n := range other.names {
		l.note("", n)
	}
}

func (l *Lost) note(kind, name string) {
	if l.names == nil {
		l.names, l.kinds = map[string]bool{}, map[string]bool{}
	}
	if name != "" {
		l.names[strings.ToLower(name)] = true
	} else {
		l.kinds[kind] = true
	}
}

// add notes what a broken statement may have defined: the words of its head.
func (l *Lost) add(c chunk) {
	head := c.tokens
	if c.body > 0 {
		head = head[:c.body]
	}
	if len(head) == 0 || hasArrow(head) { // a rule outside of a block
		return
	}
	kind := head[0].Value
	if !isStatement(kind) {
		if near := Nearest(kind, strings.Fields(strings.NewReplacer(",", "", " or ", " ").Replace(statementWords))); near != "" {
			kind = near
		}
	}
	switch kind {
	case "include", "use":
		l.All = true
		return
	}
	named := false
	for _, t := range head[1:] {
		switch t.Type {
		case tokWord, tokKeyword, tokString, tokQuoted:
			l.note("", valueOf(t))
			named = true
		}
	}
	if !named || len(head) > 1 && head[1].Type == tokBad {
		l.note(kind, "")
	}
}

func valueOf(t lexer.Token) string { return (Item{Text: t.Value}).Value() }
