// Package prog is the compiled form of rules: rulesets of rules, each a pattern (left side) and a replacement (right
// side) as flat lists of symbols, with the classes, macros, tables and transports that they name. Our own language
// and sendmail.cf are both compiled to it; package eval runs it. A Program is data: it opens no file, and nothing
// changes it once it is handed to eval. It prints itself in sendmail's R-line notation.
package prog

import (
	"strconv"
	"strings"

	"waybill/rules/addr"
)

// Pos is a place in a file: line and column count from 1, in octets; 0 where unknown.
type Pos struct {
	File      string
	Line, Col int
}

func (p Pos) String() string {
	s := p.File
	if p.Line > 0 {
		s += ":" + strconv.Itoa(p.Line)
		if p.Col > 0 {
			s += ":" + strconv.Itoa(p.Col)
		}
	}
	return s
}

// Kind is what a symbol means. Some symbols look the same on both sides in sendmail ($@, $:, $|); here each meaning
// has its own Kind.
type Kind uint8

const (
	// Both sides.
	Literal  Kind = iota // Text as one token; compared without regard to case (ASCII)
	RunMacro             // $&x: the value of macro Text at run time, cut into tokens; nothing when undefined
	Sep                  // $|: the separator between the arguments of a ruleset
	Mailer               // $#: first on the right side, it resolves: evaluation ends in all callers. On the left it matches itself

	// Left side: patterns. Shortest match first, the last open one is extended first.
	ZeroOrMore // $*: any number of tokens
	OneOrMore  // $+: at least one token
	One        // $-: exactly one token
	Empty      // $@: no token; not numbered
	InClass    // $=x: tokens that together are a member of class Text
	NotInClass // $~x: one token that is not a member of class Text on its own

	// Right side: replacements.
	Capture   // $n: what the pattern's N-th wildcard matched (or a condition bound as N); N counts from 1
	Call      // $>: the next symbol (after substitution) names a ruleset, which gets everything behind it
	MapBegin  // $(: the next symbol names a table; then the key
	MapArg    // $@ inside $( ) : starts an argument
	MapElse   // $: inside $( ) and $[ ]: starts the default
	MapEnd    // $)
	HostBegin // $[: a lookup in the table "host"
	HostEnd   // $]
	Host      // $@: starts the host of a resolution
	User      // $:: starts the user of a resolution

	kinds // number of kinds
)

// Tok is one symbol of a side.
type Tok struct {
	Kind Kind
	N    int    // Capture: the number
	Text string // Literal: the token; InClass, NotInClass: the class; RunMacro: the macro, without braces
	Name string // the name in our language of a wildcard or capture; empty when it came from sendmail.cf
}

// Wildcard reports whether the symbol takes a number on the left side: $1 is the first one.
func (k Kind) Wildcard() bool {
	switch k {
	case ZeroOrMore, OneOrMore, One, InClass, NotInClass:
		return true
	}
	return false
}

var kindText = [kinds]string{
	Sep: "$|", Mailer: "$#", ZeroOrMore: "$*", OneOrMore: "$+", One: "$-", Empty: "$@", Call: "$>", MapBegin: "$(", MapArg: "$@",
	MapElse: "$:", MapEnd: "$)", HostBegin: "$[", HostEnd: "$]", Host: "$@", User: "$:",
}

// String is the symbol in sendmail's notation.
func (t Tok) String() string {
	switch t.Kind {
	case Literal:
		return addr.Token(t.Text).String()
	case RunMacro:
		return "$&" + MacroName(t.Text)
	case InClass:
		return "$=" + MacroName(t.Text)
	case NotInClass:
		return "$~" + MacroName(t.Text)
	case Capture:
		return "$" + strconv.Itoa(t.N)
	}
	return kindText[t.Kind]
}

// MacroName writes the name of a macro or class as sendmail does: in braces when longer than one character.
func MacroName(name string) string {
	if len(name) <= 1 {
		return name
	}
	return "{" + name + "}"
}

// side joins symbols with blanks.
func side(b *strings.Builder, toks []Tok) {
	for i, t := range toks {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(t.String())
	}
}
