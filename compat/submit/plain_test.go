package submit

import (
	"strings"
	"testing"
)

func TestPlain(t *testing.T) {
	for in, want := range map[string]string{
		"a\tb\n": "a\tb\n", "Jörg <é@x>\n": "Jörg <é@x>\n", "a\x1b]0;evil\x07b\r\n": "a?]0;evil?b?\n", "\u009b31m": "?31m", "\x7f\x00": "??", "a\u202eb": "a?b",
	} {
		var out strings.Builder
		if _, err := Plain(&out).Write([]byte(in)); err != nil || out.String() != want {
			t.Errorf("%q became %q, not %q (%v)", in, out.String(), want, err)
		}
	}
	var out strings.Builder
	if n, _ := Plain(&out).Write([]byte("\x1b\u202e")); n != len("\x1b\u202e") {
		t.Errorf("%d octets written", n)
	}
}
