package rules

import (
	"cmp"
	"os"
	"strings"

	"waybill/rules/check"
	"waybill/rules/compile"
	"waybill/rules/lang"
	"waybill/rules/prog"
)

// Compile reads a rule file with all that it includes and returns its program. Unlike Load it opens no table and runs no
// test: it is for tools, and for those who run the program of a sendmail.cf themselves. The error is Diagnostics.
func Compile(file string, opt Options) (*prog.Program, error) {
	if opt.Hostname == "" {
		opt.Hostname, _ = os.Hostname()
		opt.Hostname = strings.ToLower(cmp.Or(opt.Hostname, "localhost"))
	}
	l := &loader{opt: opt, parser: lang.NewParser(), used: map[string]string{}}
	l.read(file, opt.Text, lang.Pos{}, nil)
	if len(l.files) == 0 && l.diags.Errors() {
		return nil, sorted(l.diags)
	}
	res, diags := compile.Compile(l.files, compile.Options{Hostname: opt.Hostname, Define: opt.Define, Use: l.used, Lost: &l.lost})
	l.diags = append(append(l.diags, check.Names(l.files, &l.lost)...), diags...)
	if l.diags.Errors() {
		return nil, sorted(l.diags)
	}
	return res.Program, nil
}
