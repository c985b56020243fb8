package cf

import (
	"fmt"
	"strings"
	"testing"
)

// What the real one says about the same lines: it cuts numbers to 32 bits, and names a ruleset as the line does.
func TestRulesetNumbers(t *testing.T) {
	c, err := Read(strings.NewReader("V10\nMlocal,P=/bin/true,A=x\nSx\nR$*\t$1\nS9999999999\nS4294967297\nS99999999999999999999\nS7\nR$*\ty\nS7=\nS7 a\nS07\n"), "x.cf", Options{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range c.Messages {
		got = append(got, m.String())
	}
	want := []string{"x.cf: line 5: bad ruleset 1410065407 (100 max)", "x.cf: line 7: bad ruleset -1 (100 max): Numerical result out of range",
		"WARNING: Ruleset 7= has multiple definitions", "WARNING: Ruleset 7 a has multiple definitions", "WARNING: Ruleset 07 has multiple definitions"}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if c.Prog.Ruleset("1") == nil {
		t.Error("4294967297 is not ruleset 1")
	}
}

// OperatorChars counts until there is a rule; an S line alone does not matter.
func TestOperatorCharsAfterRules(t *testing.T) {
	for file, want := range map[string]int{
		"V10\nMlocal,P=/bin/true,A=x\nSa\nO OperatorChars=!\nSx\nR$*\ta!b\n":            3,
		"V10\nMlocal,P=/bin/true,A=x\nSa\nR$*\tx\nO OperatorChars=!\nSx\nR$*\ta!b\n":    1,
		"V10\nMlocal,P=/bin/true,A=x\nSa\nR$*\tx\\y\nO OperatorChars=!\nSx\nR$*\ta!b\n": 1,
	} {
		c, err := Read(strings.NewReader(file), "x.cf", Options{})
		if err != nil {
			t.Fatal(err)
		}
		if rule := c.Prog.Ruleset("x").Rules[0]; len(rule.RHS) != want || (len(c.Messages) > 0) != (want == 1) {
			t.Errorf("%q: %d tokens, messages %v", file, len(rule.RHS), c.Messages)
		}
	}
}
