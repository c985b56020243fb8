package rules

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"waybill/etc"
	"waybill/rules/check"
	"waybill/rules/lang"
)

const reference = "lang/README.md"

// TestReferenceExamples loads every example of the language reference, with its tests.
func TestReferenceExamples(t *testing.T) {
	text, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	examples := strings.Split(string(text), "\n```rules\n")[1:]
	if len(examples) < 8 {
		t.Fatalf("%d examples", len(examples))
	}
	lines := 0
	for n, e := range examples {
		e, _, ok := strings.Cut(e, "\n```\n")
		if !ok {
			t.Fatalf("example %d does not end", n+1)
		}
		name := fmt.Sprintf("example-%d", n+1)
		r, err := Load(name, Options{Text: []byte(e + "\n"), Library: etc.Library(), Hostname: "mail.example.org"})
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		lines += len(r.Tests(nil))
		for _, d := range r.Warnings() {
			t.Errorf("%v", d)
		}
	}
	if lines < 30 {
		t.Errorf("only %d lines of tests ran", lines)
	}
}

// TestReferenceIsCurrent holds the generated parts of the reference: the grammar, and the tables of what can be set.
func TestReferenceIsCurrent(t *testing.T) {
	old, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	text := between(t, string(old), "<!-- begin grammar -->\n", "<!-- end grammar -->", "```ebnf\n"+lang.NewParser().EBNF()+"\n```\n")
	_, doubtful, _ := strings.Cut(text, "\n```doubtful\n")
	doubtful, _, ok := strings.Cut(doubtful, "```\n")
	if !ok {
		t.Fatal("no doubtful example")
	}
	found := Check("doubtful.rules", Options{Text: []byte(doubtful), Library: etc.Library(), Hostname: "mail.example.org"})
	text = between(t, text, "<!-- begin doubtful -->\n", "<!-- end doubtful -->", "```\n"+found.Error()+"\n```\n")
	text = between(t, text, "<!-- begin generated: UPDATE=1 go test ./rules -->\n", "<!-- end generated -->", whatCanBeSet())
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(reference, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(string(old), text); diff != "" {
		t.Errorf("run UPDATE=1 go test ./rules (-is +should be):\n%s", diff)
	}
}

func between(t *testing.T, text, begin, end, middle string) string {
	head, rest, ok := strings.Cut(text, begin)
	_, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s is not there", begin)
	}
	return head + begin + middle + end + tail
}

// whatCanBeSet writes the settings and the parameters of the transports.
func whatCanBeSet() string {
	var b strings.Builder
	b.WriteString("```\n")
	for _, name := range check.SettingNames() {
		fmt.Fprintf(&b, "set %s\n", check.SettingForm(name))
	}
	b.WriteString("```\n\n| kind of transport | parameters |\n|---|---|\n")
	for _, kind := range check.TransportKinds() {
		keys := check.TransportKeys(kind)
		for i, key := range keys {
			keys[i] = check.TransportForm(kind, key)
		}
		if len(keys) == 0 {
			fmt.Fprintf(&b, "| `%s` | those of an M line of sendmail.cf |\n", kind)
			continue
		}
		fmt.Fprintf(&b, "| `%s` | `%s` |\n", kind, strings.Join(keys, "` `"))
	}
	return b.String()
}
