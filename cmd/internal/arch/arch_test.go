package arch

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const module = "waybill"

// mayImport says, for the longest matching package path, which trees of this module it may use beside its own
// tree. Test files are held to the same rules, but may also use what testOnly lists.
var mayImport = []struct {
	pkg   string
	trees []string
}{
	{"rules", nil},
	{"rules/addr", nil},
	{"rules/prog", []string{"rules/addr"}},
	{"transport", nil},
	{"transport/envelope", nil},
	{"transport/sysexits", nil},
	{"queue", []string{"rules", "transport", "transport/envelope", "transport/identity", "transport/sysexits"}},
	{"queue/spool", []string{"transport/envelope", "transport/identity", "transport/sysexits"}},
	{"queue/sched", nil},
	{"queue/expand", []string{"transport", "transport/envelope", "transport/sysexits", "transport/passwd", "transport/identity"}},
	{"compat", []string{"rules/prog", "rules/addr", "rules/eval", "rules/trace", "transport/envelope", "transport/sysexits"}},
	{"compat/makemap", []string{"rules/table", "transport/sysexits"}},                                                           // its tests read what it wrote
	{"compat/convert", []string{"rules/prog", "rules/addr", "rules/eval", "rules/compile", "rules/lang", "transport/envelope"}}, // it knows both sides
	{"compat/mc", []string{"rules/prog", "rules/addr", "rules/eval", "rules/compile", "rules/lang", "transport/envelope"}},      // it writes our language
	{"cmd/sendmail", []string{"compat/flags", "compat/submit", "queue/spool", "transport/envelope", "transport/sysexits"}},
	{"cmd/mail.local", []string{"compat/getopt", "transport/mbox", "transport/passwd", "transport/smtp", "transport/sysexits", "transport/envelope", "transport"}},
	{"cmd/waybill", []string{"cmd/internal/app"}},
	{"cmd/waybill-bt", []string{"compat/testmode", "rules/eval", "transport/dns", "transport/sysexits"}},
	{"cmd/waybill-ldap", []string{"rules/table", "transport/sysexits"}},
	{"cmd/internal/arch", nil},
	{"cmd/internal/app", []string{"..."}},
	{"cmd/internal/testsite", []string{"transport/dns"}},
	{"cmd/internal/bench", []string{"cmd/internal/testsite"}},
	{"cmd/internal/try", []string{"cmd/internal/testsite"}},
}

// exact lists the entries of mayImport that name one package, not a tree.
var exact = map[string]bool{"rules": true, "transport": true}

// soleImporter: each dependency is imported by one package, so that it can be replaced.
var soleImporter = map[string]string{
	"github.com/alecthomas/participle": "rules/lang",
	"github.com/miekg/dns":             "transport/dns",
	"github.com/fsnotify/fsnotify":     "cmd/internal/app/watch",
	"github.com/go-ldap":               "cmd/waybill-ldap",
}

var topLevel = map[string]bool{"cmd": true, "rules": true, "transport": true, "queue": true, "compat": true, "etc": true, "testdata": true}

func TestWhoMayImportWhom(t *testing.T) {
	root := moduleRoot(t)
	files := 0
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, file)
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			if (strings.HasPrefix(d.Name(), ".") || rel == "bin" || rel == "run") && rel != "." { // what make build and make peers leave
				return filepath.SkipDir
			}
			if rel != "." && !strings.Contains(rel, "/") && !topLevel[rel] {
				t.Errorf("%s: no such folder belongs at the top level", rel)
			}
			return nil
		}
		if !strings.HasSuffix(rel, ".go") {
			return nil
		}
		files++
		syntax, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		pkg := path.Dir(rel)
		for _, spec := range syntax.Imports {
			target, _ := strconv.Unquote(spec.Path.Value)
			if why := violation(pkg, target, strings.HasSuffix(rel, "_test.go")); why != "" {
				t.Errorf("%s imports %s: %s", rel, target, why)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 5 {
		t.Fatalf("only %d Go files seen below %s: the walk is broken", files, root)
	}
}

// violation tells why pkg may not import target; empty when it may.
func violation(pkg, target string, test bool) string {
	for dep, only := range soleImporter {
		if strings.HasPrefix(target, dep) && !inTree(pkg, only) && !test {
			return "only " + only + " may import " + dep
		}
	}
	if target != module && !strings.HasPrefix(target, module+"/") {
		if pkg == "transport/envelope" && strings.Contains(strings.SplitN(target, "/", 2)[0], ".") && !test {
			return "transport/envelope imports the standard library only"
		}
		return ""
	}
	target = strings.TrimPrefix(target, module+"/")
	if target == "etc" {
		if test || pkg == "cmd/internal/app" {
			return ""
		}
		return "only cmd/internal/app reads the embedded files of etc"
	}
	if target == "cmd/internal/app" && pkg != "cmd/waybill" && !strings.HasPrefix(pkg, "cmd/internal/app/") && !test {
		return "only cmd/waybill starts the wiring"
	}
	if inTree(target, tree(pkg)) && tree(pkg) != "cmd" {
		if strings.HasPrefix(pkg, "rules/") && target == "rules" {
			return "packages below rules do not know the Router"
		}
		return ""
	}
	if test && strings.HasPrefix(pkg, "cmd/") {
		return "" // the tests of the commands set up whole sites
	}
	rule := -1
	for i, r := range mayImport {
		if inTree(pkg, r.pkg) && (rule < 0 || len(r.pkg) > len(mayImport[rule].pkg)) {
			rule = i
		}
	}
	if rule < 0 {
		return "the package is in no tree of the table"
	}
	for _, allowed := range mayImport[rule].trees {
		if allowed == "..." || target == allowed || (!exact[allowed] && inTree(target, allowed)) {
			return ""
		}
	}
	return "not allowed for " + mayImport[rule].pkg + " (may use: " + strings.Join(mayImport[rule].trees, ", ") + ")"
}

func TestTheTableRefusesShortcuts(t *testing.T) {
	for _, c := range []struct {
		pkg, target string
		ok          bool
	}{
		{"rules/eval", "waybill/rules/prog", true},
		{"rules/eval", "waybill/transport", false},
		{"rules/eval", "waybill/rules", false},
		{"transport/smtpclient", "waybill/transport/dns", true},
		{"transport/mbox", "waybill/rules", false},
		{"queue", "waybill/rules", true},
		{"queue", "waybill/rules/lang", false},
		{"queue", "waybill/transport/smtpclient", false},
		{"queue", "waybill/queue/spool", true},
		{"compat/cf", "waybill/queue", false},
		{"compat/cf", "waybill/rules/prog", true},
		{"cmd/sendmail", "waybill/queue", false},
		{"cmd/sendmail", "waybill/queue/spool", true},
		{"cmd/sendmail", "waybill/rules", false},
		{"cmd/sendmail", "github.com/miekg/dns", false},
		{"cmd/internal/app", "waybill/transport/smtpclient", true},
		{"cmd/waybill", "waybill/queue", false},
		{"transport/dns", "github.com/miekg/dns", true},
	} {
		if why := violation(c.pkg, c.target, false); (why == "") != c.ok {
			t.Errorf("%s imports %s: allowed should be %v, got %q", c.pkg, c.target, c.ok, why)
		}
	}
}

// inTree reports whether pkg is root or lies below it.
func inTree(pkg, root string) bool { return pkg == root || strings.HasPrefix(pkg, root+"/") }

// tree is the top-level folder of pkg.
func tree(pkg string) string { return strings.SplitN(pkg, "/", 2)[0] }

func moduleRoot(t *testing.T) string {
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("no go.mod above the test")
		}
		dir = parent
	}
}
