package check

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"time"

	"waybill/rules/compile"
	"waybill/rules/lang"
)

// word is a word of a value, with its place.
type word struct {
	text     string
	from, to lang.Pos
}

// words are the words of a value: what stands together without a blank is one.
func words(v *lang.Values) []word {
	var out []word
	for _, i := range v.Items() {
		if last := len(out) - 1; i.Glued && last >= 0 {
			out[last].text += i.Value()
			out[last].to = i.End
			continue
		}
		out = append(out, word{i.Value(), i.Pos, i.End})
	}
	return out
}

// value checks the words behind the name of a setting or a parameter. Words with a constant in them are left alone.
func (n *names) value(what, name, lead string, v value, at *lang.Name, values *lang.Values) {
	given := words(values)
	write := "write: " + lead + v.form
	switch {
	case len(given) == 0 && !v.bare:
		n.errorf(at.Pos, at.EndPos, write, "%s %q needs a value", what, name)
		return
	case v.max == 1 && len(given) > 1:
		n.errorf(given[1].from, given[len(given)-1].to, write, "%s %q takes one value, not %d", what, name, len(given))
		return
	case v.max > 0 && len(given) > v.max:
		n.errorf(given[v.max].from, given[len(given)-1].to, write, "%s %q takes %d values at most, not %d", what, name, v.max, len(given))
		return
	}
	for _, w := range given {
		switch {
		case strings.Contains(w.text, "${") && v.kind == 0 && !strings.HasPrefix(w.text, "${home}"):
		case !v.valid(w.text):
			remedy := write
			if near := lang.Nearest(w.text, v.words); near != "" {
				remedy = "did you mean \"" + near + "\"? " + write
			}
			n.errorf(w.from, w.to, remedy, "%q is no value for %s %q", w.text, what, name)
		case v.kind == 'f' && !strings.ContainsAny(w.text, "$:"):
			n.file(w, what, name)
		}
	}
}

// file reports a file that is not there. It may come later, so it is no error; what may not be looked at is left alone.
func (n *names) file(w word, what, name string) {
	if _, err := os.Stat(w.text); errors.Is(err, fs.ErrNotExist) {
		d := n.errorf(w.from, w.to, "the daemon does not take these rules up before it is there", "there is no file %s, which %s %q names", w.text, what, name)
		d.Severity = lang.Warning
	}
}

// refers checks that what a value names is defined.
func (n *names) refers(v value, values *lang.Values) {
	for _, w := range words(values) {
		if strings.Contains(w.text, "$") {
			continue
		}
		switch v.kind {
		case 't':
			if _, ok := n.tables[w.text]; !ok && !n.lost.May("table", w.text) {
				n.errorf(w.from, w.to, nearest(w.text, n.tables, "write: table "+w.text+" CLASS ARGUMENT..."), "table %q is not defined", w.text)
			}
		case 'c':
			n.class(w.text, w.from, w.to)
		case 'r':
			if _, ok := n.rulesets[w.text]; !ok && !n.lost.May("ruleset", w.text) {
				n.errorf(w.from, w.to, nearest(w.text, n.rulesets, "write: ruleset "+w.text+" { ... }"), "ruleset %q is not defined", w.text)
			}
		}
	}
}

// settings checks settings that make no sense together. They may stand in different files.
func (n *names) settings() {
	has := func(name string) bool { _, ok := n.set[name]; return ok }
	report := func(name string, severity lang.Severity, remedy, text string) {
		s, ok := n.set[name]
		if !ok {
			return
		}
		n.src = s.src
		n.errorf(s.set.Pos, s.set.EndPos, remedy, "%s", text).Severity = severity
	}
	if _, sendmail := n.defined["level"]; !has("tls-cert") && !sendmail {
		for _, name := range []string{"listen-tls", "listen-submissions"} {
			report(name, lang.Error, "write as well: set tls-cert FILE", "TLS from the first octet needs a certificate")
		}
		if s := n.set["auth-without-tls"]; s.set == nil || strings.Join(s.set.Values.Fields(), " ") != "yes" {
			report("listen-submission", lang.Error, "write as well: set tls-cert FILE; or set auth-without-tls yes", "nobody could log in: passwords are taken with TLS only, and there is no certificate")
		}
		report("tls-key", lang.Error, "write as well: set tls-cert FILE", "this is the key of a certificate, and there is none")
		report("tls-client-ca", lang.Error, "write as well: set tls-cert FILE", "clients show certificates with TLS only, and the server has none")
	}
	if warn, give := n.duration("warn-after"), n.duration("give-up"); warn > 0 && give > 0 && warn >= give {
		report("warn-after", lang.Warning, "write a shorter time, or 0 for never", "nobody is ever warned: mail comes back before that, after "+n.set["give-up"].set.Values.Fields()[0])
	}
	if has("passwords") || has("tls-client-ca") {
		return
	}
	report("auth-without-tls", lang.Warning, "write as well: set passwords FILE", "nobody can log in: it is not said who may")
}

// duration is the value of a setting, 0 when it has none.
func (n *names) duration(name string) time.Duration {
	s, ok := n.set[name]
	if !ok {
		return 0
	}
	d, err := compile.Duration(strings.Join(s.set.Values.Fields(), " "))
	if err != nil {
		return 0
	}
	return d
}
