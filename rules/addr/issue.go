package addr

// Wrong is the kind of an Issue.
type Wrong uint8

const (
	UnbalancedQuote   Wrong = iota + 1 // a quoted string that does not end; it was closed at the end
	UnbalancedOpen                     // "(" without ")"; the rest was dropped (only where comments are dropped)
	UnbalancedClose                    // ")" without "("; it was dropped (only where comments are dropped)
	UnbalancedLess                     // "<" without ">"; one was added at the end
	UnbalancedGreater                  // ">" without "<"; it was dropped
	EightBitChar                       // an octet from 0x80 to 0x9F; nothing can be done
	TokenTooLong                       // more than MaxToken octets in one token; nothing can be done
	TooLong                            // more than MaxText octets or MaxTokens tokens; nothing can be done
)

// Issue is one thing that was wrong with a text.
type Issue struct {
	Wrong  Wrong
	Offset int // octet at which it was noticed
}

// Fatal reports whether the text has no tokens. Everything else was repaired.
func (i Issue) Fatal() bool { return i.Wrong >= EightBitChar }

// What is the issue in sendmail's words, without the text.
func (i Issue) What() string {
	return [...]string{UnbalancedQuote: `Unbalanced '"'`, UnbalancedOpen: `Unbalanced '('`, UnbalancedClose: `Unbalanced ')'`,
		UnbalancedLess: `Unbalanced '<'`, UnbalancedGreater: `Unbalanced '>'`, EightBitChar: "8-bit character in mailbox address",
		TokenTooLong: "prescan: token too long", TooLong: "Address too long"}[i.Wrong]
}

// Plain is the issue as one says it to somebody who did not write the address parser.
func (i Issue) Plain() string {
	return [...]string{UnbalancedQuote: "a quotation mark in it is never closed", UnbalancedOpen: "a parenthesis in it is never closed", UnbalancedClose: "it holds a closing parenthesis without an opening one",
		UnbalancedLess: "it holds a < without a >", UnbalancedGreater: "it holds a > without a <", EightBitChar: "it holds an octet that belongs to no character",
		TokenTooLong: "a word in it is too long", TooLong: "it is too long"}[i.Wrong]
}

// Message is the line that sendmail prints about an issue of text.
func (i Issue) Message(text string) string {
	if i.Wrong == EightBitChar {
		return i.What() + ` "` + SevenBit(text) + `"`
	}
	return Short(SevenBit(text)) + "... " + i.What()
}

// SevenBit is text as sendmail shows it in messages: the eighth bit is taken off, and octets from 0x80 to 0x9F,
// which would become control characters, are question marks.
func SevenBit(text string) string {
	for i := 0; i < len(text); i++ {
		if text[i] >= 0x80 {
			b := []byte(text)
			for ; i < len(b); i++ {
				switch c := b[i]; {
				case c >= 0xa0:
					b[i] = c & 0x7f
				case c >= 0x80:
					b[i] = '?'
				}
			}
			return string(b)
		}
	}
	return text
}

// Short is text with its middle cut out when it has more than 202 octets, as sendmail shows it in messages.
func Short(text string) string {
	if len(text) <= 202 {
		return text
	}
	return text[:100] + "..." + text[len(text)-100:]
}

// AppendPrint appends a token as sendmail's traces show it: a metasymbol as in a rule, octets from 0x80 up as M-x, a tab
// as \t; other control characters are left out, so that no address can send escapes to a terminal.
func AppendPrint(b []byte, t Token) []byte {
	if t.IsMeta() {
		return append(b, t.String()...)
	}
	plain := 0
	for plain < len(t) && t[plain] >= 0x20 && t[plain] < 0x7f {
		plain++
	}
	b = append(b, t[:plain]...)
	for i := plain; i < len(t); i++ {
		c := t[i]
		if c >= 0x20 && c < 0x7f {
			b = append(b, c)
			continue
		}
		if c == 0xff {
			continue
		}
		if c >= 0x80 {
			b = append(b, "M-"...)
			c &= 0x7f
		}
		switch {
		case c == '\t':
			b = append(b, `\t`...)
		case c == '\n':
			b = append(b, `\n`...)
		case c == '\r':
			b = append(b, `\r`...)
		case c >= 0x20 && c < 0x7f:
			b = append(b, c)
		}
	}
	return b
}
