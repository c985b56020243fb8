package table

import (
	"strconv"
	"strings"
)

// inLiteral returns what stands between brackets, which begin a name; ok is false when the second one is missing, or
// the first one stands twice.
func inLiteral(name string) (inner string, ok bool) {
	end := strings.IndexByte(name, ']')
	if !strings.HasPrefix(name, "[") || strings.HasPrefix(name, "[[") || end < 0 {
		return "", false
	}
	return name[1:end], true
}

// isDotted reports whether a text is an IPv4 address as inet_aton(3) reads it: one to four numbers, decimal, octal or
// hexadecimal, the last of which fills what the others leave; what follows white space does not count.
func isDotted(s string) bool {
	if at := strings.IndexAny(s, " \t\n\v\f\r"); at >= 0 {
		s = s[:at]
	}
	parts := strings.Split(s, ".")
	if len(parts) > 4 {
		return false
	}
	for i, p := range parts {
		bits := 8
		if i == len(parts)-1 {
			bits = 8 * (5 - len(parts))
		}
		if strings.IndexByte(p, '_') >= 0 || strings.HasPrefix(strings.ToLower(p), "0b") || strings.HasPrefix(strings.ToLower(p), "0o") {
			return false
		}
		if _, err := strconv.ParseUint(p, 0, bits); err != nil {
			return false
		}
	}
	return true
}
