package lang

import (
	"strings"
	"testing"
)

// A rule file can hold anything, and its lines are shown on a terminal.
func TestDiagnosticsDoNotSteerTheTerminal(t *testing.T) {
	d := Diagnostic{Severity: Error, Pos: Pos{Filename: "x\x1b[2J", Line: 1, Column: 3}, Message: "unexpected \"\x1b]0;x\x07\"", Source: "a \x1b]0;x\x07 b\u009b31m"}
	text := d.String()
	if i := strings.IndexFunc(text, func(r rune) bool { return r < ' ' && r != '\n' && r != '\t' || r >= 0x7f && r < 0xa0 }); i >= 0 {
		t.Errorf("control character at %d of %q", i, text)
	}
	if lines := strings.Split(text, "\n"); len(lines) != 3 || strings.IndexByte(lines[2], '^') != strings.Index(lines[1], "a ")+2 {
		t.Errorf("the caret moved:\n%s", text)
	}
}
