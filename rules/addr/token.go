// Package addr holds sendmail's tokens: Split cuts an address (or a rule, or a table's value) into tokens, Join puts
// tokens together again. What flows in is text from the network or a configuration; what flows out is []Token and a
// list of Issues (what was wrong with the text, and what was repaired). No input makes it fail or grow: length and
// number of tokens are limited. The format is RFC 5322 addresses as sendmail 8.17 cuts them, which is not quite
// RFC 5322.
package addr

// Token is one token of an address or of the workspace that rules rewrite: a word, one operator character, or a
// quoted string with its quotes. The metasymbols of the rule language ($#, $@, $: and so on) are tokens of one octet
// in the range 0x80-0x9F. Split refuses these octets, so no text from outside can ever become a metasymbol.
type Token string

// The metasymbols. What each does is told in package prog, at the Kind of the same name.
const (
	Mailer     Token = "\x81" // $#
	Host       Token = "\x82" // $@
	User       Token = "\x83" // $:
	Sep        Token = "\x84" // $|
	Call       Token = "\x85" // $>
	MapBegin   Token = "\x86" // $(
	MapEnd     Token = "\x87" // $)
	HostBegin  Token = "\x88" // $[
	HostEnd    Token = "\x89" // $]
	If         Token = "\x8a" // $?
	Else       Token = "\x8b" // $| inside of $? ... $.
	EndIf      Token = "\x8c" // $.
	ZeroOrMore Token = "\x8d" // $*
	OneOrMore  Token = "\x8e" // $+
	One        Token = "\x8f" // $-
	InClass    Token = "\x90" // $=
	NotInClass Token = "\x91" // $~
	RunMacro   Token = "\x92" // $&
	Capture    Token = "\x93" // $1 to $9
)

var metaText = [...]string{"$#", "$@", "$:", "$|", "$>", "$(", "$)", "$[", "$]", "$?", "$|", "$.", "$*", "$+", "$-", "$=", "$~", "$&", "$"}

// IsMeta reports whether t is a metasymbol.
func (t Token) IsMeta() bool { return len(t) == 1 && isMeta(t[0]) }

func isMeta(c byte) bool { return c >= 0x81 && c <= 0x93 }

// String is the token as a person reads it: a metasymbol as in a rule ("$#"), all else as it is.
func (t Token) String() string {
	if t.IsMeta() {
		return metaText[t[0]-0x81]
	}
	return string(t)
}
