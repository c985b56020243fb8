package submit

import (
	"bytes"
	"io"
)

// Plain is w without what could command a terminal: of control characters only line ends and tabs pass, the others become
// "?". What a program says to its caller holds addresses, file names and other hosts' words, which anybody may have chosen.
// A failed write is w's own; the count is that of what was given.
func Plain(w io.Writer) io.Writer { return plain{w} }

type plain struct{ w io.Writer }

func (p plain) Write(b []byte) (int, error) {
	if bytes.IndexFunc(b, commanding) >= 0 {
		n := len(b)
		b = bytes.Map(func(r rune) rune {
			if commanding(r) {
				return '?'
			}
			return r
		}, b)
		if _, err := p.w.Write(b); err != nil {
			return 0, err
		}
		return n, nil
	}
	return p.w.Write(b)
}

// commanding reports whether a terminal may take r for a command: C0 and C1 controls (ISO 6429), DEL, and what changes the
// direction of writing.
func commanding(r rune) bool {
	switch {
	case r == '\n', r == '\t':
		return false
	case r < ' ', r >= 0x7f && r < 0xa0, r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069:
		return true
	}
	return false
}
