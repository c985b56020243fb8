package convert_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"waybill/compat/cf"
	"waybill/compat/convert"
	"waybill/rules/compile"
	"waybill/rules/eval"
	"waybill/rules/lang"
)

// FuzzConvert converts anything that can be read as a sendmail.cf: the result must always be understood, and say the same
// rules unless the conversion tells that something is lost.
func FuzzConvert(f *testing.F) {
	files, _ := filepath.Glob("../cf/testdata/*.txtar")
	for _, file := range files {
		if a, err := txtar.ParseFile(file); err == nil {
			for _, x := range a.Files {
				if x.Name == "cf" {
					f.Add(string(x.Data))
				}
			}
		}
	}
	f.Add("V10\nSx\nR$+ @ $=w\t$: $1 < @ $j . > $| $(m $1 $@ a $: b $)\nR$*\t$#error $@ 5.1.1 $: \"550 no $w\"\n")
	f.Add("V10\nD{x}a\nCwa $=w\nO Timeout.queuereturn=4d\nH?D?Date: $a\nMlocal, P=/bin/x, A=x $u\nR$1\t$3\nS3\nR'\"\\\t$>x $1\n")
	how := cf.Options{Host: cf.Host{Name: "mail.example.org", NodeName: "mail"}, CheckTable: eval.CheckTable, NoFiles: true, Lookup: func(string, string) (int, int, error) { return 1, 1, nil }}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 1<<14 {
			return
		}
		conf, err := cf.Read(strings.NewReader(text), "f.cf", how)
		if err != nil {
			return
		}
		marked, err := cf.Read(strings.NewReader(text), "f.cf", convert.Marked(how))
		if err != nil {
			t.Fatal(err)
		}
		res := convert.File(text, conf, marked)
		tree, wrong := lang.NewParser().Parse(lang.NewSource("f.rules", res.Text))
		if wrong.Errors() {
			t.Fatalf("%v\n%s", wrong, res.Text)
		}
		r, diags := compile.Compile([]*lang.File{tree}, compile.Options{Hostname: how.Host.Name, Define: map[string]string{"opMode": "", "node": "mail"}})
		if diags.Errors() {
			t.Fatalf("%v\n%s", diags, res.Text)
		}
		got := cf.FromProgram(r.Program, "f.cf", how)
		if len(res.Lost) > 0 || conf.Errors > 0 {
			return
		}
		compareConfigs(t, got, conf)
		if t.Failed() {
			t.Logf("%s", res.Text)
		}
	})
}
