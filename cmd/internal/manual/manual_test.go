package manual

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strings"
	"testing"

	"waybill/compat/flags"
	"waybill/compat/mailstats"
	"waybill/compat/makemap"
	"waybill/compat/praliases"
	"waybill/compat/vacation"
)

const manDir = "../../../etc/man"

// page returns the lines of a manual page, and of it the items between two section headings.
func page(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(manDir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func section(t *testing.T, text, heading string) string {
	t.Helper()
	_, rest, found := strings.Cut(text, "\n.Sh "+heading+"\n")
	if !found {
		t.Fatalf("no section %s", heading)
	}
	body, _, _ := strings.Cut(rest, "\n.Sh ")
	return body
}

// items returns what the first group of re finds at the beginnings of lines, sorted and without doubles.
func items(text, re string) []string {
	seen := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^"+re).FindAllStringSubmatch(text, -1) {
		seen[m[1]] = true
	}
	var out []string
	for s := range seen {
		out = append(out, s)
	}
	sort.Strings(out)
	return out
}

func same(t *testing.T, what string, manual, code []string) {
	t.Helper()
	sort.Strings(code)
	in := func(list []string, s string) bool {
		i := sort.SearchStrings(list, s)
		return i < len(list) && list[i] == s
	}
	for _, s := range code {
		if !in(manual, s) {
			t.Errorf("%s %q is not in the manual", what, s)
		}
	}
	for _, s := range manual {
		if !in(code, s) {
			t.Errorf("%s %q is in the manual only", what, s)
		}
	}
}

func TestManualHasEveryFlag(t *testing.T) {
	text := page(t, "sendmail.8")
	var letters, takes, modes, names, unsafe []string
	for _, f := range flags.Table() {
		letters = append(letters, string(rune(f.Letter)))
		if f.Value != flags.ValueNone {
			takes = append(takes, string(rune(f.Letter)))
		}
		if f.Unsafe {
			unsafe = append(unsafe, string(rune(f.Letter)))
		}
	}
	for _, m := range flags.Modes() {
		modes = append(modes, string(rune(m.Letter)))
	}
	for _, n := range flags.Names() {
		names = append(names, n.Name+" "+strings.TrimPrefix(n.Same, "-"))
	}
	description := section(t, text, "DESCRIPTION")
	same(t, "flag", items(description, `\.It Fl (\w)\b`), letters)
	same(t, "flag with a value", items(description, `\.It Fl (\w) .*Ar`), takes)
	same(t, "flag that gives up privilege", items(description, `\.It Fl (\w)\b[^\n]*\n(?:[^.\n][^\n]*\n|\.(?:Ar|Pa|Li)[^\n]*\n)*?Set-id privilege is given up`), unsafe)
	same(t, "mode", items(section(t, text, "MODES"), `\.It Fl b(\w)$`), modes)
	same(t, "name", items(strings.ReplaceAll(section(t, text, "MODES"), " Ta Fl ", " "), `\.It Nm (\w+ \w+)$`), names)
}

func TestManualHasEveryExitStatus(t *testing.T) {
	manual := items(section(t, page(t, "sendmail.8"), "EXIT STATUS"), `\.It (\d+)$`)
	// The statuses of our own: those that fail, say and deliver name, and what exitOf makes of a refusal.
	same(t, "status", manual, []string{"0", "64", "65", "67", "68", "69", "70", "72", "73", "74", "75", "78"})
}

// Every page has its name in it, and points to pages that exist: ours, or those of the system that are known here.
func TestManualPages(t *testing.T) {
	system := map[string]bool{"cron 8": true, "mail 1": true, "uux 1": true, "uucico 8": true, "systemd.unit 5": true, "signal 7": true, "syslog 3": true, "newsyslog 8": true, "m4 1": true, "procmail 1": true, "crontab 5": true, "passwd 5": true, "hosts 5": true, "resolv.conf 5": true}
	files, err := filepath.Glob(manDir + "/*.[1-9]")
	if err != nil || len(files) < 5 {
		t.Fatalf("%d pages, %v", len(files), err)
	}
	have := map[string]bool{}
	for _, f := range files {
		base := filepath.Base(f)
		have[base[:len(base)-2]+" "+base[len(base)-1:]] = true
	}
	for _, f := range files {
		base := filepath.Base(f)
		name, sec := base[:len(base)-2], base[len(base)-1:]
		text := page(t, base)
		if target, alias := strings.CutPrefix(text, ".so man"+sec+"/"); alias { // the page of another name has it
			if other := page(t, strings.TrimSpace(target)); !regexp.MustCompile(`(?m)^\.Nm "?` + regexp.QuoteMeta(name)).MatchString(section(t, other, "NAME")) {
				t.Errorf("%s: the page that it leads to, %s, does not have the name", base, strings.TrimSpace(target))
			}
			continue
		}
		if !strings.Contains(text, "\n.Dt "+strings.ToUpper(name)+" "+sec+"\n") {
			t.Errorf("%s: no .Dt line of its own", base)
		}
		if !regexp.MustCompile(`(?m)^\.Nm "?` + regexp.QuoteMeta(name)).MatchString(section(t, text, "NAME")) {
			t.Errorf("%s: NAME does not have it", base)
		}
		section(t, text, "SYNOPSIS")
		section(t, text, "DESCRIPTION")
		for _, x := range regexp.MustCompile(`(?m)^\.Xr (\S+ \d)`).FindAllStringSubmatch(text, -1) {
			if !have[x[1]] && !system[x[1]] && !strings.HasSuffix(x[1], " 2") && !strings.HasSuffix(x[1], " 3") {
				t.Errorf("%s refers to %s, which is not here", base, x[1])
			}
		}
	}
}

// Every name that the installation puts into a bin directory has a page, under that name.
func TestManualOfEveryName(t *testing.T) {
	script, err := os.ReadFile("../../../etc/packaging/install.sh")
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"sendmail", "waybill", "mail.local", "smrsh"}
	for _, m := range regexp.MustCompile(`(?m)^(?:front|engine)_s?bin="([^"]+)"$`).FindAllStringSubmatch(string(script), -1) {
		names = append(names, strings.Fields(m[1])...)
	}
	if len(names) < 15 {
		t.Fatalf("only %v", names)
	}
	for _, name := range names {
		if found, err := filepath.Glob(filepath.Join(manDir, name+".[18]")); err != nil || len(found) == 0 {
			t.Errorf("%s has no page", name)
		}
	}
}

// TestManualHasEveryCommand reads the source of the wiring: which commands "waybill help" lists, and which verbs the
// usage texts of "queue" and "rules" list.
func TestManualHasEveryCommand(t *testing.T) {
	var source strings.Builder
	files, err := filepath.Glob("../app/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		source.Write(text)
	}
	code := source.String()
	text := page(t, "waybill.8")
	same(t, "command", items(section(t, text, "DESCRIPTION"), `\.It Ic (\w+)`), items(code, `\t\t\{"(\w+)", "[^"]*", "[^"]+", \w+\},$`))
	for _, noun := range []string{"queue", "rules"} {
		_, usage, found := strings.Cut(code, "const "+noun+"Usage = `")
		if !found {
			t.Fatalf("no usage text of %s", noun)
		}
		usage, _, _ = strings.Cut(usage, "`")
		same(t, noun+" verb", items(section(t, text, strings.ToUpper(noun)), `\.It Ic (\w+)`), items(usage, `  (\w+)\b`))
	}
}

// The companion programs list their flags in getopt's form.
func TestManualOfCompanions(t *testing.T) {
	for name, getopt := range map[string]string{"vacation.1": vacation.Flags, "praliases.8": praliases.Flags, "makemap.8": makemap.MakemapFlags, "editmap.8": makemap.EditmapFlags} {
		text := section(t, page(t, name), "DESCRIPTION")
		var letters, takes []string
		for i := 0; i < len(getopt); i++ {
			if getopt[i] == ':' {
				continue
			}
			letters = append(letters, getopt[i:i+1])
			if strings.HasPrefix(getopt[i+1:], ":") {
				takes = append(takes, getopt[i:i+1])
			}
		}
		// ".It Fl i , I" is two flags.
		text = regexp.MustCompile(`(?m)^\.It Fl (\w) , (\w)`).ReplaceAllString(text, ".It Fl $1\n.It Fl $2")
		same(t, name+": flag", items(text, `\.It Fl (\w)\b`), letters)
		same(t, name+": flag with a value", items(text, `\.It Fl (\w) .*Ar`), takes)
	}
}

func TestManualHasEveryFlagOfMailstats(t *testing.T) {
	var code []string
	for c := byte('!'); c <= '~'; c++ {
		if _, err := mailstats.Parse([]string{"-" + string(c), "x"}); err == nil || !strings.Contains(err.Error(), "invalid option") {
			code = append(code, string(c))
		}
	}
	same(t, "flag", items(section(t, page(t, "mailstats.8"), "DESCRIPTION"), `\.It Fl (\w)\b`), slices.DeleteFunc(code, func(s string) bool { return s == "-" }))
}
