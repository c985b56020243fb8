package app

import (
	"os"
	"slices"
	"sort"
	"strings"
	"testing"

	"waybill/rules"
)

// TestRulesManual: waybill-rules(1) has every verb and every kind of finding, and no others.
func TestRulesManual(t *testing.T) {
	text, err := os.ReadFile("../../../etc/man/waybill-rules.1")
	if err != nil {
		t.Fatal(err)
	}
	_, description, _ := strings.Cut(string(text), ".Sh DESCRIPTION\n")
	description, findings, _ := strings.Cut(description, ".Sh FINDINGS\n")
	findings, _, _ = strings.Cut(findings, ".Sh EXPLANATIONS\n")
	listed := func(text, macro string) []string {
		var out []string
		for line := range strings.Lines(text) {
			if rest, ok := strings.CutPrefix(line, ".It "+macro+" "); ok {
				out = append(out, strings.FieldsFunc(rest, func(r rune) bool { return r == ' ' || r == ',' || r == '\n' })...)
			}
		}
		sort.Strings(out)
		return out
	}
	verbs := verbsOf(rulesUsage)
	sort.Strings(verbs)
	if got := listed(description, "Cm"); !slices.Equal(got, slices.Compact(verbs)) {
		t.Errorf("the manual has the verbs %v, the program has %v", got, verbs)
	}
	kinds := rules.Findings()
	sort.Strings(kinds)
	if got := listed(findings, "Li"); !slices.Equal(got, kinds) {
		t.Errorf("the manual has the findings %v, the program has %v", got, kinds)
	}
}
