package dsn

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"waybill/transport/envelope"
)

// maxText bounds what a foreign host can put into one line of a notice, in octets.
const maxText = 900

func bulk(precedence string) bool {
	switch strings.ToLower(precedence) {
	case "bulk", "junk", "list":
		return true
	}
	return false
}

// oneLine makes s safe for one line of a text that people read: control characters become blanks, what is not UTF-8
// becomes "?", and it is cut at maxText. So neither an address nor another host's reply can begin a new line, a new
// field or a new part.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0:
			return ' '
		case r == 0x2028 || r == 0x2029 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069:
			return '?' // line ends and changes of direction that only Unicode knows
		case r == utf8.RuneError:
			return '?'
		}
		return r
	}, s)
	if len(s) > maxText {
		cut := maxText
		for cut > 0 && !utf8.RuneStart(s[cut]) {
			cut--
		}
		s = s[:cut] + "..."
	}
	return strings.TrimSpace(s)
}

// asciiLine is oneLine for the fields of a message/delivery-status, which are US-ASCII (RFC 3464 2.1.1).
func asciiLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r > '~' {
			return '?'
		}
		return r
	}, oneLine(s))
}

// typedAddress writes an address as a field of a delivery-status wants it: "RFC822; bob@example.org", or the
// utf-8 type for an address beyond US-ASCII (RFC 6533 3): as it is in a message/global-delivery-status, with escapes
// elsewhere.
func typedAddress(addr string, utf8 bool) string {
	addr = oneLine(addr)
	if ascii(addr) {
		return "RFC822; " + addr
	}
	return "utf-8; " + unitext(addr, utf8)
}

// unitext writes an address as RFC 6533 3 has it: utf-8-addr-unitext, or else utf-8-addr-xtext.
func unitext(addr string, utf8 bool) string {
	var b strings.Builder
	for _, r := range addr {
		if r > '~' && !utf8 || r <= ' ' || r == '\\' || r == '+' || r == '=' {
			fmt.Fprintf(&b, `\x{%02X}`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

func ascii[T string | []byte](s T) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// decodeXtext undoes the encoding of RFC 3461 4: "+" and two hex digits stand for an octet. What is not xtext is
// returned as it is.
func decodeXtext(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '+' {
			b.WriteByte(s[i])
			continue
		}
		if i+2 >= len(s) {
			return s
		}
		hi, lo := hexDigit(s[i+1]), hexDigit(s[i+2])
		if hi < 0 || lo < 0 {
			return s
		}
		b.WriteByte(byte(hi<<4 | lo))
		i += 2
	}
	return b.String()
}

func hexDigit(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	case c >= 'a' && c <= 'f': // RFC 3461 wants capitals; senders do not always
		return int(c-'a') + 10
	}
	return -1
}

// originalRecipient is the value of Original-Recipient: the type and the decoded address of ORCPT (RFC 3464 2.3.1).
// A type that is no atom makes the whole worthless, and it is left out.
func originalRecipient(orcpt string, utf8 bool) string {
	kind, addr, ok := strings.Cut(orcpt, ";")
	kind = strings.TrimSpace(kind)
	if !ok || kind == "" || strings.Trim(strings.ToLower(kind), "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return ""
	}
	if strings.EqualFold(kind, "utf-8") { // its escapes stay as they are
		addr = oneLine(addr)
		if !utf8 {
			var b strings.Builder
			for _, r := range addr {
				if r > '~' {
					fmt.Fprintf(&b, `\x{%02X}`, r)
				} else {
					b.WriteRune(r)
				}
			}
			addr = b.String()
		}
		return kind + "; " + addr
	}
	return asciiLine(kind + "; " + decodeXtext(addr))
}

// qualified adds our host to an address that has none, so that it means the same elsewhere.
func qualified(addr envelope.Address, host string) string {
	s := oneLine(string(addr))
	if _, domain := addr.Split(); domain == "" && s != "" && !strings.Contains(s, "!") {
		return s + "@" + host
	}
	return s
}
