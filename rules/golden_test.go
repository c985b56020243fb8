package rules

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"waybill/etc"
	"waybill/rules/compile"
	"waybill/rules/prog"
)

// TestGolden reads testdata/rules/*.txtar at the top of the repository. "rules" is loaded from a directory that holds
// the other files of the archive as they are ($DIR in the rules names it). Either "errors" is what Load says about it,
// warnings included, or "check" is all that Check says, or each line of "queries" has its answer in "answers". A query is an address, or a stage and an
// address, and then name=value for what is known beside it; "explain" before an address asks for the steps as well.
func TestGolden(t *testing.T) {
	names, err := filepath.Glob("../testdata/rules/*.txtar")
	if err != nil || len(names) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			ar, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			got := golden(t, ar)
			if os.Getenv("UPDATE") != "" {
				for section, text := range got {
					setPart(ar, section, text)
				}
				if err := os.WriteFile(name, txtar.Format(ar), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			for section, text := range got {
				if diff := cmp.Diff(part(ar, section), text); diff != "" {
					t.Errorf("%s (-want +got):\n%s", section, diff)
				}
			}
		})
	}
}

func golden(t *testing.T, ar *txtar.Archive) map[string]string {
	dir := t.TempDir()
	for _, f := range ar.Files {
		switch f.Name {
		case "rules", "queries", "answers", "errors", "findings", "check":
			continue
		}
		path := filepath.Join(dir, f.Name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(strings.ReplaceAll(string(f.Data), "$DIR", dir)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	out := map[string]string{}
	long := regexp.MustCompile(`\^{30,}`)         // below a line with the name of the directory, which is not always as long
	library := regexp.MustCompile(`= it has: .*`) // grows
	hide := func(s string) string {
		s = library.ReplaceAllString(s, "= it has: ...")
		return long.ReplaceAllString(strings.ReplaceAll(s, dir, "$DIR"), "^ ... ^")
	}
	text := strings.ReplaceAll(part(ar, "rules"), "$DIR", dir)
	for _, f := range ar.Files {
		if f.Name == "check" { // everything that "waybill rules check" says
			ds := Check(filepath.Join(dir, "rules"), Options{Text: []byte(text), Hostname: "mail.example.org", Library: etc.Library()})
			out["check"] = strings.TrimLeft(hide(ds.Error())+"\n", "\n")
			return out
		}
	}
	r, err := Load(filepath.Join(dir, "rules"), Options{Text: []byte(text), Hostname: "mail.example.org", Library: etc.Library()})
	switch {
	case err != nil:
		out["errors"] = hide(err.Error()) + "\n"
		return out
	case len(r.Warnings()) > 0:
		out["errors"] = hide(r.Warnings().Error()) + "\n"
	case part(ar, "errors") != "":
		out["errors"] = ""
	}
	for _, f := range ar.Files {
		if f.Name == "findings" {
			out["findings"] = strings.TrimLeft(hide(r.Analyse().Error())+"\n", "\n")
		}
	}
	var answers strings.Builder
	for line := range strings.Lines(part(ar, "queries")) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		fmt.Fprintf(&answers, "%s: %s\n", line, hide(strings.TrimSuffix(answer(t, r, line), "\n")))
	}
	if answers.Len() > 0 {
		out["answers"] = answers.String()
	}
	return out
}

func answer(t *testing.T, r *Router, line string) string {
	f := strings.Fields(line)
	q := Query{Time: testTime(), Sender: "sender@test.example"}
	headers := map[string]string{}
	q.Header = func(n string) string { return headers[strings.ToLower(n)] }
	for i := len(f) - 1; i > 0; i-- {
		name, value, ok := strings.Cut(f[i], "=")
		if !ok {
			break
		}
		f = f[:i]
		step := compile.Step{Given: name, Value: value}
		if h, ok := strings.CutPrefix(name, "header:"); ok {
			step.Given, step.Header = "header", h
		}
		if err := give(&q, headers, step); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
	}
	ctx := context.Background()
	address := func(s string) string {
		if s == "<>" {
			return ""
		}
		return s
	}
	switch {
	case f[0] == "explain":
		q.Recipient = address(f[1])
		return "\n" + r.Explain(ctx, q).String()
	case len(f) == 1:
		q.Recipient = address(f[0])
		d, err := r.Route(ctx, q, nil)
		out := strings.Join(decisionWords(d, err), " ")
		if !d.NotBefore.IsZero() {
			out += " not before " + d.NotBefore.Format("2 15:04")
		}
		if d.Priority != 0 {
			out += fmt.Sprint(" priority ", d.Priority)
		}
		return out
	}
	switch stage := Stage(f[0]); stage {
	case StageHeader:
		v, err := r.AcceptHeader(ctx, f[1], strings.Join(f[2:], " "), q, nil)
		return strings.Join(verdictWords(v, err), " ")
	default:
		switch stage {
		case StageRcpt:
			q.Recipient = address(f[1])
		case StageMail:
			q.Sender = address(f[1])
		case StageHelo:
			q.Client.Helo = f[1]
		case StageConnect:
			if a, err := netip.ParseAddr(f[1]); err == nil {
				q.Client.Addr = a
			} else {
				q.Client.Name = f[1]
			}
		}
		v, err := r.Accept(ctx, stage, q, nil)
		return strings.Join(verdictWords(v, err), " ")
	}
}

func part(ar *txtar.Archive, name string) string {
	for _, f := range ar.Files {
		if f.Name == name {
			return string(f.Data)
		}
	}
	return ""
}

func setPart(ar *txtar.Archive, name, text string) {
	for i := range ar.Files {
		if ar.Files[i].Name == name {
			ar.Files[i].Data = []byte(text)
			return
		}
	}
	ar.Files = append(ar.Files, txtar.File{Name: name, Data: []byte(text)})
}

// TestDefaultRules loads the embedded rules under several host names: their own tests run at load.
func TestDefaultRules(t *testing.T) {
	for _, host := range []string{"mail.example.org", "localhost", "mx"} {
		r, err := Load("default.rules", Options{Text: etc.DefaultRules(), Library: etc.Library(), Hostname: host})
		if err != nil {
			t.Fatalf("host %s:\n%v", host, err)
		}
		if w := r.Warnings(); len(w) > 0 {
			t.Errorf("host %s:\n%v", host, w)
		}
		if len(r.tests) < 6 {
			t.Errorf("host %s: %d test blocks", host, len(r.tests))
		}
	}
}

func TestWindow(t *testing.T) {
	at := func(h, m int) time.Time { return time.Date(2026, 3, 31, h, m, 0, 0, time.Local) }
	r, err := Load("x", Options{Hostname: "h", Text: []byte("transport a smtp\ntransport b smtp\nroute {\n $x+ => a $x queue between 22:00 and 06:00\n}\n")})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ now, want time.Time }{
		{at(12, 0), at(22, 0)}, {at(21, 59), at(22, 0)}, {at(22, 0), at(22, 0)}, {at(23, 59), at(23, 59)}, {at(0, 0), at(0, 0)}, {at(5, 59), at(5, 59)}, {at(6, 0), at(22, 0)},
	} {
		d, err := r.Route(context.Background(), Query{Recipient: "x", Time: c.now}, nil)
		if err != nil || d.When != Queue || !d.NotBefore.Equal(c.want) {
			t.Errorf("at %v: %v %v %v, want %v", c.now, d.When, d.NotBefore, err, c.want)
		}
	}
	w := opens
	if got := w(windowOf(10, 12), at(13, 0)); got.Day() != 1 || got.Hour() != 10 {
		t.Errorf("a window that has passed opens at %v", got)
	}
}

func windowOf(from, to int) prog.Window { return prog.Window{From: from * 60, To: to * 60} }
