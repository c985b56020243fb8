package rules

import (
	"os"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"waybill/etc"
	"waybill/rules/check"
)

// TestEachAnalysis: for each kind of finding there is a file in which it is found, with its place, its line and a
// remedy, and one in which nothing is found at all. What exactly is said is golden (TestGolden).
func TestEachAnalysis(t *testing.T) {
	kinds := []string{"undefined-name", "unbound-capture", check.UnusedName, check.UnusedCapture, check.ShadowedRule, check.EndlessRecursion, check.EndlessRewrite,
		check.LostFailure, check.UnusedTransport, Unrouted, Relay}
	for _, kind := range kinds {
		for _, word := range []string{"good", "bad"} {
			ar, err := txtar.ParseFile("../testdata/rules/analysis-" + kind + "-" + word + ".txtar")
			if err != nil {
				t.Fatal(err)
			}
			text := strings.ReplaceAll(part(ar, "rules"), "$DIR", t.TempDir())
			found := Check("rules", Options{Text: []byte(text), Hostname: "mail.example.org", Library: etc.Library()})
			if word == "good" {
				if len(found) > 0 {
					t.Errorf("%s: %s", kind, found)
				}
				continue
			}
			n := 0
			for _, d := range found {
				if d.Name != kind && (d.Name != "" || kind != "undefined-name" && kind != "unbound-capture") {
					continue
				}
				n++
				if d.Pos.Line < 1 || d.Source == "" || d.Remedy == "" {
					t.Errorf("%s: no place, line or remedy: %+v", kind, d)
				}
			}
			if n == 0 {
				t.Errorf("%s: not found, but %v", kind, found)
			}
		}
	}
}

// TestNothingIsFoundInTheShippedRules: the default rules are as good as the analyses can tell (TestLibrary says so of the
// library).
func TestNothingIsFoundInTheShippedRules(t *testing.T) {
	for _, host := range []string{"mail.example.org", "mx"} {
		if found := Check("default.rules", Options{Text: etc.DefaultRules(), Hostname: host, Library: etc.Library()}); len(found) > 0 {
			t.Errorf("%s", found)
		}
	}
	if _, err := os.Stat("../etc/waybill.rules"); err != nil {
		t.Error(err)
	}
}
