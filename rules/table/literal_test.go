package table

import "testing"

func TestLiterals(t *testing.T) {
	for name, want := range map[string]bool{
		"[1.2.3.4]": true, "[0]": true, "[1.2]": true, "[0x7f.1]": true, "[01.2.3.4]": true, "[1.2.3.4 ]": true, "[1.2.3.4]x": true, "[1.2.70000]": false, "[1.2.65535]": true,
		"[256.1.1.1]": false, "[1.2.3.4": false, "[]": false, "[ 1.2.3.4]": false, "[-1.2.3.4]": false, "[1.2.3.4.5]": false, "[1..2]": false, "[09]": false, "[0b1]": false, "1.2.3.4]": false, "[[1.2.3.4]]": false,
	} {
		inner, ok := inLiteral(name)
		if got := ok && isDotted(inner); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
