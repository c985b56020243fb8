package smtp

import (
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"

	"waybill/transport/envelope"
)

// Path is what stands between "<" and ">" of MAIL and RCPT.
type Path struct {
	// Addr is the mailbox in canonical form: no source route, no angle brackets, the local part quoted only where it
	// must be (RFC 5321 4.1.2: "user"@x and user@x are the same mailbox), the domain as written.
	Addr envelope.Address
	UTF8 bool // an octet from 0x80 is in it: only legal with SMTPUTF8 (RFC 6531 3.3)
}

// PathError says why a path was refused. Its text is ours and holds nothing that the peer sent.
type PathError string

func (e PathError) Error() string { return string(e) }

const (
	errEmptyPath    = PathError("no address")
	errNoBracket    = PathError("no closing angle bracket")
	errAfterPath    = PathError("text after the path")
	errRoute        = PathError("bad source route")
	errLocalPart    = PathError("bad local part")
	errLocalLength  = PathError("local part too long")
	errNullRcpt     = PathError("the null path cannot be a recipient")
	errDomain       = PathError("bad domain")
	errDomainLength = PathError("domain too long")
	errLiteral      = PathError("bad address literal")
	errControl      = PathError("control character in an address")
	errUTF8         = PathError("malformed UTF-8 in an address")
)

// ParseReversePath reads the path of MAIL FROM: at the front of s, which is the text behind the colon, and returns
// what follows it: nothing, or a blank and parameters. "<>" is the null sender (RFC 5321 4.5.5).
//
// As sendmail does, and beyond RFC 5321 4.1.1.2, blanks before the path and a path without angle brackets are taken.
// A source route is read and dropped (RFC 5321 appendix C). Everything else is strict: a control character, 8-bit
// data that is not UTF-8, a local part that would have to be quoted and is not, a comment, two addresses are refused.
// The work is linear in len(s).
func ParseReversePath(s string) (p Path, rest string, err error) { return parsePath(s, true) }

// ParseForwardPath reads the path of RCPT TO:, by the rules of ParseReversePath. The null path is refused;
// "postmaster" without a domain is a mailbox like any other that has none (RFC 5321 4.1.1.3): who may be written to
// without a domain is not a question of syntax.
func ParseForwardPath(s string) (p Path, rest string, err error) { return parsePath(s, false) }

func parsePath(s string, null bool) (Path, string, error) {
	s = strings.TrimLeft(s, " ")
	if s == "" {
		return Path{}, "", errEmptyPath
	}
	if s[0] != '<' {
		return bracketless(s)
	}
	s = s[1:]
	if strings.HasPrefix(s, ">") {
		if !null {
			return Path{}, "", errNullRcpt
		}
		rest, err := pathEnd(s[1:])
		return Path{}, rest, err
	}
	if strings.HasPrefix(s, "@") {
		var err error
		if s, err = dropRoute(s); err != nil {
			return Path{}, "", err
		}
	}
	p, s, err := mailbox(s)
	if err != nil {
		return Path{}, "", err
	}
	if !strings.HasPrefix(s, ">") {
		return Path{}, "", pathErrorAt(s, errNoBracket)
	}
	rest, err := pathEnd(s[1:])
	return p, rest, err
}

// bracketless reads "RCPT TO:bob" and "MAIL FROM:bob@example.org SIZE=3".
func bracketless(s string) (Path, string, error) {
	p, s, err := mailbox(s)
	if err != nil {
		return Path{}, "", err
	}
	rest, err := pathEnd(s)
	return p, rest, err
}

func pathEnd(s string) (string, error) {
	if s != "" && s[0] != ' ' {
		return "", pathErrorAt(s, errAfterPath)
	}
	return s, nil
}

// pathErrorAt prefers to name a control character where that is what stopped the parser.
func pathErrorAt(s string, err PathError) error {
	if s != "" && (s[0] < ' ' || s[0] == 0x7f) {
		return errControl
	}
	return err
}

// dropRoute skips "@one,@two:" (RFC 5321 4.1.2 A-d-l; 4.1.1.3: SHOULD be stripped).
func dropRoute(s string) (string, error) {
	for range MaxRoute {
		if !strings.HasPrefix(s, "@") {
			return "", errRoute
		}
		n, _, err := domain(s[1:])
		if err != nil || 1+n >= len(s) {
			return "", errRoute
		}
		s = s[1+n:]
		switch s[0] {
		case ':':
			return s[1:], nil
		case ',':
			s = s[1:]
		default:
			return "", errRoute
		}
	}
	return "", errRoute
}

// ParseMailbox reads s as one mailbox and nothing else, without angle brackets: "bob", "bob@example.org".
func ParseMailbox(s string) (Path, error) {
	p, rest, err := mailbox(s)
	if err == nil && rest != "" {
		err = pathErrorAt(rest, errAfterPath)
	}
	if err != nil {
		return Path{}, err
	}
	return p, nil
}

// mailbox reads Local-part [ "@" ( Domain / address-literal ) ] (RFC 5321 4.1.2).
func mailbox(s string) (Path, string, error) {
	local, n, wide, err := localPart(s)
	if err != nil {
		return Path{}, "", err
	}
	rest := s[n:]
	if !strings.HasPrefix(rest, "@") {
		return Path{envelope.Address(local), wide}, rest, nil
	}
	n, w, err := domain(rest[1:])
	if err != nil {
		return Path{}, "", err
	}
	return Path{envelope.Address(local + rest[:1+n]), wide || w}, rest[1+n:], nil
}

// localPart reads a Dot-string or a Quoted-string. It returns the canonical form and the octets read.
func localPart(s string) (local string, n int, wide bool, err error) {
	if strings.HasPrefix(s, `"`) {
		return quotedLocal(s)
	}
	dot := true // a dot must not come next: at the start, and behind a dot
	for n < len(s) {
		c := s[n]
		switch {
		case c == '.':
			if dot {
				return "", 0, false, errLocalPart
			}
			dot = true
			n++
		case isAtext(c):
			dot = false
			n++
		case c >= 0x80:
			size, err := wideRune(s[n:])
			if err != nil {
				return "", 0, false, err
			}
			dot, wide = false, true
			n += size
		default:
			if n == 0 || dot {
				return "", 0, false, pathErrorAt(s[n:], errLocalPart)
			}
			return s[:n], n, wide, nil
		}
		if n > MaxLocalPart {
			return "", 0, false, errLocalLength
		}
	}
	if dot {
		return "", 0, false, errLocalPart
	}
	return s[:n], n, wide, nil
}

func quotedLocal(s string) (local string, n int, wide bool, err error) {
	b := make([]byte, 0, 64) // the meaning, unquoted
	for n = 1; n < len(s); {
		c := s[n]
		switch {
		case c == '"':
			if len(b) == 0 {
				return "", 0, false, errLocalPart // legal in RFC 5321, and nobody's mailbox
			}
			return quoteLocal(string(b)), n + 1, wide, nil
		case c == '\\':
			// RFC 5321 4.1.2 quoted-pairSMTP: any printable ASCII may follow
			if n+1 >= len(s) || s[n+1] < ' ' || s[n+1] >= 0x7f {
				if n+1 < len(s) {
					return "", 0, false, pathErrorAt(s[n+1:], errLocalPart)
				}
				return "", 0, false, errLocalPart
			}
			b = append(b, s[n+1])
			n += 2
		case c >= 0x80:
			size, err := wideRune(s[n:])
			if err != nil {
				return "", 0, false, err
			}
			wide = true
			b = append(b, s[n:n+size]...)
			n += size
		case c < ' ' || c == 0x7f:
			return "", 0, false, errControl
		default:
			b = append(b, c)
			n++
		}
		if len(b) > MaxLocalPart {
			return "", 0, false, errLocalLength
		}
	}
	return "", 0, false, errLocalPart
}

// quoteLocal writes a local part in its canonical form (RFC 5321 4.1.2: quoted only where it must be).
func quoteLocal(s string) string {
	if _, n, _, err := localPart(s); err == nil && n == len(s) && s[0] != '"' {
		return s
	}
	b := make([]byte, 0, len(s)+4)
	b = append(b, '"')
	for i := 0; i < len(s); i++ {
		if s[i] == '"' || s[i] == '\\' {
			b = append(b, '\\')
		}
		b = append(b, s[i])
	}
	return string(append(b, '"'))
}

// domain reads a Domain or an address literal at the front of s and returns how many octets it has. Beyond RFC 5321
// 4.1.2 it takes "_" in a label: not a legal host name, and common.
func domain(s string) (n int, wide bool, err error) {
	if strings.HasPrefix(s, "[") {
		n, err = literal(s)
		return n, false, err
	}
	label := 0 // octets of the current label
	for n < len(s) {
		c := s[n]
		switch {
		case c == '.':
			if label == 0 || s[n-1] == '-' {
				return 0, false, errDomain
			}
			label = 0
			n++
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || isDigit(c) || c == '_' || c == '-' && label > 0:
			label++
			n++
		case c >= 0x80:
			size, err := wideRune(s[n:])
			if err != nil {
				return 0, false, err
			}
			wide = true
			label += size
			n += size
		default:
			if label == 0 || s[n-1] == '-' {
				return 0, false, pathErrorAt(s[n:], errDomain)
			}
			return n, wide, nil
		}
		if n > MaxDomain || label > MaxLabel && !wide {
			return 0, false, errDomainLength
		}
	}
	if label == 0 || s[n-1] == '-' {
		return 0, false, errDomain
	}
	return n, wide, nil
}

// literal reads "[192.0.2.1]" or "[IPv6:2001:db8::1]" (RFC 5321 4.1.3). Other kinds of literal do not exist.
func literal(s string) (int, error) {
	end := strings.IndexByte(s[:min(len(s), 64)], ']')
	if end < 0 {
		return 0, errLiteral
	}
	if _, ok := ParseLiteral(s[:end+1]); !ok {
		return 0, errLiteral
	}
	return end + 1, nil
}

// ParseLiteral reads an address literal with its brackets (RFC 5321 4.1.3).
func ParseLiteral(s string) (netip.Addr, bool) {
	if len(s) < 3 || s[0] != '[' || s[len(s)-1] != ']' {
		return netip.Addr{}, false
	}
	text, v6 := s[1:len(s)-1], false
	if len(text) >= 5 && strings.EqualFold(text[:5], "IPv6:") {
		text, v6 = text[5:], true
	}
	addr, err := netip.ParseAddr(text)
	if err != nil || addr.Zone() != "" || addr.Is6() != v6 {
		return netip.Addr{}, false
	}
	return addr, true
}

// ValidHelo reports whether name may stand behind EHLO or HELO: a domain (underscores are common and taken) or an
// address literal (RFC 5321 4.1.1.1, 4.1.3). ASCII only, unless utf8 is set (RFC 6531 3.7.1).
func ValidHelo(name string, utf8 bool) bool {
	n, wide, err := domain(name)
	return err == nil && n == len(name) && (utf8 || !wide)
}

// wideRune checks the UTF-8 sequence at the front of s (RFC 6531 3.3, RFC 3629): no overlong form, no surrogate, no
// lone continuation, no control character of Unicode.
func wideRune(s string) (int, error) {
	r, size := utf8.DecodeRuneInString(s)
	switch {
	case r == utf8.RuneError && size == 1:
		return 0, errUTF8
	case unicode.IsControl(r), r == '\u2028', r == '\u2029':
		return 0, errControl
	}
	return size, nil
}

// isAtext: RFC 5322 3.2.3, as RFC 5321 4.1.2 uses it.
func isAtext(c byte) bool { return atext[c] }

var atext = func() (t [256]bool) {
	for _, c := range []byte("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-/=?^_`{|}~") {
		t[c] = true
	}
	return t
}()
