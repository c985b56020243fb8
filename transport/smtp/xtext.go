package smtp

// EncodeXtext writes s as xtext (RFC 3461 4): printable ASCII but "+" and "=" stands for itself, everything else is
// "+" and two upper-case hexadecimal digits.
func EncodeXtext(s string) string {
	plain := true
	for i := 0; i < len(s) && plain; i++ {
		plain = isXchar(s[i])
	}
	if plain {
		return s
	}
	const hex = "0123456789ABCDEF"
	b := make([]byte, 0, len(s)+8)
	for i := 0; i < len(s); i++ {
		if isXchar(s[i]) {
			b = append(b, s[i])
		} else {
			b = append(b, '+', hex[s[i]>>4], hex[s[i]&15])
		}
	}
	return string(b)
}

// DecodeXtext reads xtext. ok is false where s is none: a character outside it, or "+" without two upper-case
// hexadecimal digits behind it.
func DecodeXtext(s string) (text string, ok bool) {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '+':
			if i+2 >= len(s) {
				return "", false
			}
			hi, lo := unhex(s[i+1]), unhex(s[i+2])
			if hi < 0 || lo < 0 {
				return "", false
			}
			b = append(b, byte(hi<<4|lo))
			i += 2
		case isXchar(s[i]):
			b = append(b, s[i])
		default:
			return "", false
		}
	}
	return string(b), true
}

func isXchar(c byte) bool { return c > ' ' && c < 0x7f && c != '+' && c != '=' }

func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
