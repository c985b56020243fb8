package manual

import (
	"io/fs"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"testing"

	"waybill/etc"
	"waybill/rules"
	"waybill/rules/check"
	"waybill/rules/compile"
	"waybill/rules/lang"
)

// manWords returns the words behind a macro: ".It Cm a , b Ar x , Cm c" has a, b and c.
func manWords(text, macro string) []string {
	seen := map[string]bool{}
	for _, line := range regexp.MustCompile(`(?m)^\.(?:It )?`+macro+` (.*)$`).FindAllStringSubmatch(text, -1) {
		ours := true
		for _, w := range strings.Fields(line[1]) {
			switch {
			case regexp.MustCompile(`^[A-Z][a-z]$`).MatchString(w): // a macro: what follows is its
				ours = w == macro
			case ours && strings.Trim(w, ",.") != "":
				seen[strings.Trim(w, ",.")] = true
			}
		}
	}
	var out []string
	for w := range seen {
		out = append(out, w)
	}
	sort.Strings(out)
	return out
}

func TestManualOfRules(t *testing.T) {
	text := page(t, "waybill.rules.5")
	same(t, "setting", items(section(t, text, "SETTINGS"), `\.It Ic (\S+)`), check.SettingNames())
	same(t, "fact", items(section(t, text, "FACTS"), `\.It Ic (\S+)`), compile.FactWords())
	same(t, "stage", items(section(t, text, "ACCEPTING"), `\.It Ic (\S+)`), compile.Stages())
	same(t, "class of tables", manWords(section(t, text, "TABLES"), "Cm"), check.TableClasses())

	// The grammar prints itself: Statement = (Host | Spool | ...) .
	m := regexp.MustCompile(`(?m)^Statement = \(?([^.\n]*?)\)? \.`).FindStringSubmatch(lang.NewParser().EBNF())
	if m == nil {
		t.Fatalf("no statement in\n%s", lang.NewParser().EBNF())
	}
	var statements []string
	for s := range strings.SplitSeq(m[1], "|") {
		statements = append(statements, strings.ToLower(strings.TrimSpace(s)))
	}
	same(t, "statement", items(section(t, text, "STATEMENTS"), `\.It Ic (\S+)`), statements)

	var library []string
	err := fs.WalkDir(etc.Library(), ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.HasSuffix(name, ".rules") && !strings.HasPrefix(name, "sendmail/") { // these are for files that convert has made
			library = append(library, strings.TrimSuffix(filepath.Base(name), ".rules"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	same(t, "library", items(section(t, text, "LIBRARY"), `\.It Ic use (\S+)`), library)

	transports := section(t, text, "TRANSPORTS")
	same(t, "kind of transport", items(transports, `\.Ss (\S+)`), check.TransportKinds())
	keys := map[string]bool{}
	for _, kind := range check.TransportKinds() {
		for _, k := range check.TransportKeys(kind) {
			keys[k] = true
		}
	}
	var all []string
	for k := range keys {
		all = append(all, k)
	}
	same(t, "parameter of transports", manWords(transports, "Cm"), all)
}

// The example of the manual must be one.
func TestManualExampleOfRules(t *testing.T) {
	_, example, _ := strings.Cut(page(t, "waybill.rules.5"), "\n.Bd -literal -offset indent\n")
	example, _, _ = strings.Cut(example, "\n.Ed\n")
	if !strings.Contains(example, "route {") {
		t.Fatal("no example")
	}
	if _, err := rules.Load("example.rules", rules.Options{Text: []byte(example), Hostname: "mail.example.org", Library: etc.Library()}); err != nil {
		t.Errorf("%v\n%s", err, example)
	}
}
