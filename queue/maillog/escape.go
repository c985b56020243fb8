package maillog

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// maxLine is the longest line in octets; the system's log cuts at about the same length.
const maxLine = 4000

// escape writes everything that a terminal or a reader of lines could mistake as a backslash and three octal digits
// for each octet: control characters, C1 controls, octets that are not UTF-8, and characters that change the
// direction of writing or end a line.
func escape(s string) string {
	if len(s) > maxLine {
		s = s[:maxLine] + "..."
	}
	clean := true
	for i := 0; i < len(s) && clean; i++ {
		clean = s[i] >= ' ' && s[i] < 0x7f
	}
	if clean {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		bad := r < ' ' || r >= 0x7f && r < 0xa0 || r == utf8.RuneError && n == 1 ||
			r == 0x2028 || r == 0x2029 || r == 0x200e || r == 0x200f || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069
		for _, c := range []byte(s[i : i+n]) {
			if bad {
				fmt.Fprintf(&b, `\%03o`, c)
			} else {
				b.WriteByte(c)
			}
		}
		i += n
	}
	return b.String()
}
