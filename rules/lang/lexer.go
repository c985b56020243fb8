package lang

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/alecthomas/participle/v2/lexer"
)

// The kinds of token. The names are those of the grammar's tags.
const (
	tokEOF     = lexer.EOF
	tokEOL     = lexer.TokenType(-iota - 2) // end of a logical line: a line end or ";"
	tokSpace                                // blanks, and line ends inside a logical line
	tokComment                              // "#" to the end of the line
	tokKeyword                              // a word that patterns and replacements cannot hold unquoted
	tokWord                                 // example.org  /etc/mail/access  !
	tokCall                                 // hops( : a name with the parenthesis that opens its arguments
	tokVar                                  // $user+  $d=local  ${host}  $&{m}  $|
	tokString                               // "..."
	tokQuoted                               // '...' : exactly this text as one token
	tokArrow                                // -> and =>
	tokSym                                  // < > <= >=
	tokComma                                // ,
	tokLParen                               // (
	tokRParen                               // )
	tokLBrace                               // {
	tokRBrace                               // }
	tokBad                                  // something that no rule file can hold; already reported
)

var symbols = map[string]lexer.TokenType{
	"EOF": tokEOF, "EOL": tokEOL, "Space": tokSpace, "Comment": tokComment, "Keyword": tokKeyword, "Word": tokWord, "Call": tokCall,
	"Var": tokVar, "String": tokString, "Quoted": tokQuoted, "Arrow": tokArrow, "Sym": tokSym, "Comma": tokComma,
	"LParen": tokLParen, "RParen": tokRParen, "LBrace": tokLBrace, "RBrace": tokRBrace, "Bad": tokBad,
}

// Keyword reports whether word has a meaning of its own wherever it stands alone, so that text must be quoted.
func Keyword(word string) bool {
	switch word {
	case "where", "and", "or", "not", "otherwise", "ok", "reject", "discard", "quarantine", "call", "else", "between",
		"now", "background", "queue", "defer", "priority":
		return true
	}
	return false
}

// continues reports whether a line that begins with this word or arrow belongs to the line before.
func continues(text string) bool {
	if strings.HasPrefix(text, "->") || strings.HasPrefix(text, "=>") {
		return true
	}
	end := 0
	for end < len(text) && wordByte(text[end]) && !strings.HasPrefix(text[end:], "->") && !strings.HasPrefix(text[end:], "=>") {
		end++
	}
	switch text[:end] {
	case "where", "and", "or", "else", "between", "ok", "reject", "discard", "quarantine":
		return end == len(text) || !strings.HasPrefix(text[end:], "$") && text[end] != '('
	}
	return false
}

// definition gives participle our scanner.
type definition struct{}

func (definition) Symbols() map[string]lexer.TokenType { return symbols }

func (definition) Lex(name string, r io.Reader) (lexer.Lexer, error) {
	text, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	tokens := scan(NewSource(name, string(text)), nil)
	return &tokenList{tokens[:len(tokens)-1], tokens[len(tokens)-1]}, nil
}

// tokenList is a lexer over tokens that were scanned before, and an end.
type tokenList struct {
	tokens []lexer.Token
	end    lexer.Token
}

func (l *tokenList) Next() (lexer.Token, error) {
	if len(l.tokens) == 0 {
		return l.end, nil
	}
	t := l.tokens[0]
	l.tokens = l.tokens[1:]
	return t, nil
}

// scanner cuts a source into tokens. Every octet of the source is in exactly one token, so the tokens together are
// the source: the formatter relies on it.
type scanner struct {
	src    *Source
	text   string
	at     int
	line   int
	column int
	fresh  bool // nothing but space since the last end of line
	tokens []lexer.Token
	diags  *Diagnostics
}

func scan(src *Source, diags *Diagnostics) []lexer.Token {
	if diags == nil {
		diags = new(Diagnostics)
	}
	s := &scanner{src: src, text: src.Text, line: 1, column: 1, fresh: true, diags: diags}
	s.tokens = make([]lexer.Token, 0, len(src.Text)/3+8)
	for s.at < len(s.text) {
		s.next()
	}
	if n := len(s.tokens); n > 0 && !s.fresh {
		s.emit(tokEOL, 0)
	}
	s.emit(tokEOF, 0)
	return s.tokens
}

// emit makes the next n octets a token.
func (s *scanner) emit(kind lexer.TokenType, n int) {
	value := s.text[s.at : s.at+n]
	s.tokens = append(s.tokens, lexer.Token{Type: kind, Value: value, Pos: lexer.Position{Filename: s.src.Name, Offset: s.at, Line: s.line, Column: s.column}})
	s.at += n
	if kind == tokSpace || kind == tokEOL || kind == tokBad || kind == tokString {
		if lines := strings.Count(value, "\n"); lines > 0 {
			s.line += lines
			s.column = 1 + utf8.RuneCountInString(value[strings.LastIndexByte(value, '\n')+1:])
			return
		}
	}
	s.column += utf8.RuneCountInString(value)
}

func (s *scanner) pos() Pos { return Pos{s.src.Name, s.at, s.line, s.column} }

// bad reports what is wrong with the next n octets and passes over them.
func (s *scanner) bad(n int, message, remedy string) {
	from := s.pos()
	s.emit(tokBad, n)
	s.src.report(s.diags, from, s.pos(), message, remedy)
	s.fresh = false
}

func (s *scanner) next() {
	rest := s.text[s.at:]
	c := rest[0]
	switch {
	case c == ' ' || c == '\t' || c == '\r':
		n := 1
		for n < len(rest) && (rest[n] == ' ' || rest[n] == '\t' || rest[n] == '\r') {
			n++
		}
		s.emit(tokSpace, n)
		return
	case c == '\n':
		s.newline(rest)
		return
	case c == ';':
		s.emit(tokEOL, 1)
		s.fresh = true
		return
	case c == '\\' && lineEnd(rest[1:]) > 0: // the next line belongs to this one
		s.emit(tokSpace, lineEnd(rest[1:]))
		return
	case c == '#' && s.spaceBefore():
		n := strings.IndexByte(rest, '\n')
		if n < 0 {
			n = len(rest)
		}
		s.emit(tokComment, n)
		return
	}
	switch {
	case c == '{':
		s.emit(tokLBrace, 1)
	case c == '}':
		s.emit(tokRBrace, 1)
	case c == '(':
		s.emit(tokLParen, 1)
	case c == ')':
		s.emit(tokRParen, 1)
	case c == ',':
		s.emit(tokComma, 1)
	case strings.HasPrefix(rest, "->") || strings.HasPrefix(rest, "=>"):
		s.emit(tokArrow, 2)
	case c == '<' || c == '>':
		n := 1
		if len(rest) > 1 && rest[1] == '=' && !strings.HasPrefix(rest[1:], "=>") {
			n = 2
		}
		s.emit(tokSym, n)
	case c == '"':
		s.quoted(rest, '"', tokString)
	case c == '\'':
		s.quoted(rest, '\'', tokQuoted)
	case c == '$':
		s.variable(rest)
	case c < ' ' || c == 0x7f:
		s.bad(1, "control character in a rule file", "remove it; inside of quotes write \\x and two hexadecimal digits")
	default:
		s.word(rest)
	}
	s.fresh = false
}

// lineEnd returns one more than the length of the white space that text begins with, when that ends a line; else 0.
func lineEnd(text string) int {
	n := len(text) - len(strings.TrimLeft(text, " \t\r"))
	switch {
	case n == len(text):
		return n + 1
	case text[n] == '\n':
		return n + 2
	}
	return 0
}

// newline ends the logical line, unless the next line with something on it continues this one.
func (s *scanner) newline(rest string) {
	kind := tokEOL
	if s.fresh {
		kind = tokSpace // an empty line
	} else {
		next := strings.TrimLeft(rest, " \t\r\n")
		for strings.HasPrefix(next, "#") {
			_, after, more := strings.Cut(next, "\n")
			if !more {
				after = ""
			}
			next = strings.TrimLeft(after, " \t\r\n")
		}
		if continues(next) {
			kind = tokSpace
		}
	}
	s.emit(kind, 1)
	if kind == tokEOL {
		s.fresh = true
	}
}

// spaceBefore reports whether a word would begin here, or a comment.
func (s *scanner) spaceBefore() bool {
	if len(s.tokens) == 0 {
		return true
	}
	switch s.tokens[len(s.tokens)-1].Type {
	case tokSpace, tokEOL, tokLBrace, tokRBrace, tokArrow:
		return true
	}
	return false
}

// quoted takes a string. A backslash protects the next character.
func (s *scanner) quoted(rest string, quote byte, kind lexer.TokenType) {
	for n := 1; n < len(rest) && rest[n] != '\n'; n++ {
		switch {
		case rest[n] == '\\' && n+1 < len(rest) && rest[n+1] != '\n':
			n++
		case rest[n] == quote:
			s.emit(kind, n+1)
			return
		}
	}
	n := strings.IndexByte(rest, '\n')
	if n < 0 {
		n = len(rest)
	}
	s.bad(len(strings.TrimRight(rest[:n], " \t\r")), "this quote is never closed", "close it on the same line with "+string(quote))
}

// variable takes everything that begins with "$".
func (s *scanner) variable(rest string) {
	n := 1
	if n == len(rest) || rest[n] <= ' ' {
		s.bad(1, "a dollar sign alone", "write '$' for a dollar sign, $name for a capture")
		return
	}
	switch c := rest[1]; {
	case strings.IndexByte("|#@:()[]>", c) >= 0 || c == '-' && !strings.HasPrefix(rest[1:], "->") || c == '+' || c == '*':
		s.emit(tokVar, 2)
		return
	case c == '{' || c == '&':
		if c == '&' {
			n++
		}
		if n < len(rest) && rest[n] == '{' {
			end := strings.IndexAny(rest[n:], "}\n \t")
			if end < 2 || rest[n+end] != '}' {
				s.bad(n+1, "the brace behind $ is not closed", "write ${name} for a constant, $&{name} for a macro of the message")
				return
			}
			s.emit(tokVar, n+end+1)
			return
		}
		if n < len(rest) && nameByte(rest[n]) {
			s.emit(tokVar, n+1)
			return
		}
		s.bad(n, "no name behind $&", "write $&{name} for a macro of the message")
		return
	case nameStart(c):
		for n < len(rest) && nameByte(rest[n]) {
			n++
		}
	case (c == '=' || c == '~') && len(classSuffix(rest[1:])) > 0:
	default:
		remedy := "write '$' for a dollar sign, $name for a capture"
		if c >= '0' && c <= '9' {
			remedy = "captures have names here: $user+ on the left, $user on the right"
		}
		_, size := utf8.DecodeRuneInString(rest[1:])
		s.bad(1+size, fmt.Sprintf("unknown symbol %q", rest[:1+size]), remedy)
		return
	}
	if n < len(rest) && !strings.HasPrefix(rest[n:], "->") && !strings.HasPrefix(rest[n:], "=>") {
		switch rest[n] {
		case '-', '+', '*':
			n++
		case '=', '~':
			n += len(classSuffix(rest[n:]))
		}
	}
	s.emit(tokVar, n)
}

// classSuffix returns the "=class" or "~class" that text begins with, else nothing.
func classSuffix(text string) string {
	if len(text) < 2 {
		return ""
	}
	if text[1] == '{' {
		if end := strings.IndexAny(text, "}\n \t"); end > 2 && text[end] == '}' {
			return text[:end+1]
		}
		return ""
	}
	n := 1
	for n < len(text) && nameByte(text[n]) {
		n++
	}
	if n == 1 {
		return ""
	}
	return text[:n]
}

// word takes a run of characters that are nothing special.
func (s *scanner) word(rest string) {
	n := 0
	for n < len(rest) && wordByte(rest[n]) && !strings.HasPrefix(rest[n:], "->") && !strings.HasPrefix(rest[n:], "=>") {
		if rest[n] == '\\' {
			if n+1 == len(rest) || rest[n+1] <= ' ' { // the formatter may put something behind it
				s.bad(n+1, "this backslash protects nothing", "for a backslash write '\\\\' in quotes; to continue a line, let a blank stand before it and nothing behind it")
				return
			}
			n++
		}
		n++
	}
	if n == 0 {
		s.bad(1, "unexpected character", "")
		return
	}
	if !utf8.ValidString(rest[:n]) {
		s.bad(n, "this is not UTF-8", "save the file as UTF-8")
		return
	}
	if n < len(rest) && rest[n] == '(' && callName(rest[:n]) {
		s.emit(tokCall, n+1)
		return
	}
	if Keyword(rest[:n]) && !s.glued(rest[n:]) {
		s.emit(tokKeyword, n)
		return
	}
	s.emit(tokWord, n)
}

// glued reports whether the word at s.at touches something before or behind that belongs to the same text.
func (s *scanner) glued(after string) bool {
	if len(s.tokens) > 0 && s.tokens[len(s.tokens)-1].Type == tokVar {
		return true
	}
	return after != "" && after[0] == '$'
}

func callName(word string) bool {
	for i := 0; i < len(word); i++ {
		if !nameByte(word[i]) && (word[i] != '-' || i == 0) {
			return false
		}
	}
	return nameStart(word[0])
}

func wordByte(c byte) bool { return c > ' ' && c != 0x7f && strings.IndexByte(`{}(),;"$<>`, c) < 0 }

func nameStart(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' }

func nameByte(c byte) bool { return nameStart(c) || c >= '0' && c <= '9' }

// PlainWord reports whether text is read as one word where it stands alone, so that it needs no quotes.
func PlainWord(text string) bool {
	if text == "" || Keyword(text) || text[0] == '#' || text[0] == '\'' || !utf8.ValidString(text) {
		return false
	}
	for i := 0; i < len(text); i++ {
		if !wordByte(text[i]) || text[i] == '\\' || strings.HasPrefix(text[i:], "->") || strings.HasPrefix(text[i:], "=>") {
			return false
		}
	}
	return text[len(text)-1] != '-' && text[len(text)-1] != '='
}

// PlainName reports whether text can be the name of a class behind = without braces.
func PlainName(text string) bool {
	for i := 0; i < len(text); i++ {
		if !nameByte(text[i]) {
			return false
		}
	}
	return text != ""
}

// CallName reports whether text can be the name of a table before a parenthesis.
func CallName(text string) bool { return text != "" && callName(text) }
