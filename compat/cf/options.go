package cf

import (
	"strings"
)

// findOption finds an option by its name, whatever the case, or by the only name that begins so. two are the first
// ones when several do.
func findOption(all []entry, name string) (o entry, found bool, two []string) {
	for i := range all {
		switch c := &all[i]; {
		case len(name) == 0 || len(name) > len(c.name) || (c.name[0]^name[0])&^0x20 != 0:
		case equalFold(c.name, name):
			return *c, true, nil
		case len(name) < len(c.name) && equalFold(c.name[:len(name)], name):
			if o.name == "" {
				o = *c
			}
			two = append(two, c.name)
		}
	}
	return o, len(two) == 1, two
}

func optionLetter(all []entry, letter byte) (o entry, found bool) {
	for _, c := range all {
		if c.letter == letter {
			return c, true
		}
	}
	return o, false
}

// optionLine reads "O Name=value", "O Name.sub=value" or "Oxvalue".
func (r *reader) optionLine(body string) {
	if r.options == nil {
		r.options = allOptions()
	}
	var o entry
	var value, sub string
	if strings.HasPrefix(body, " ") {
		name, v, _ := strings.Cut(body[1:], "=")
		value = v
		name = plain(strings.TrimRight(name, " \t"))
		name, sub, _ = strings.Cut(name, ".")
		if name == "" {
			r.errorf("readcf: null option name")
			r.note("option", Ignored, "it has no name")
			return
		}
		var ok bool
		var several []string
		if o, ok, several = findOption(r.options, name); !ok {
			if len(several) > 1 {
				r.errorf("readcf: ambiguous option name %s (matches %s and %s)", name, several[0], several[1])
			} else {
				r.errorf("readcf: unknown option name %s", name)
			}
			r.keepUnknown(name, sub, plain(value))
			return
		}
		if !equalFold(name, o.name) {
			r.remark("Option %s used as abbreviation for %s", name, o.name)
		}
	} else {
		if body == "" {
			r.errorf("readcf: unknown option name %s", "0x0")
			return
		}
		var ok bool
		o, ok = optionLetter(r.options, body[0])
		switch {
		case ok:
		case body[0] == 'g' || body[0] == 'M':
			r.note("option "+body[:1], Ignored, "obsolete")
			return
		default:
			r.errorf("readcf: unknown option name 0x%x", body[0])
			r.keepUnknown(body[:1], "", plain(body[1:]))
			return
		}
		value = body[1:]
	}
	text := plain(value)
	what := "option " + o.name
	if sub != "" {
		what += "." + sub
	}
	if !r.checkOption(o.name, sub, strings.TrimLeft(text, " \t")) {
		r.note(what, Ignored, "it stands behind the first ruleset, where sendmail ignores it")
		return
	}
	r.cfg.Options = append(r.cfg.Options, Option{o.name, sub, text, r.pos()})
	if r.said {
		r.note(what, Ignored, r.cfg.Messages[len(r.cfg.Messages)-1].Text)
		return
	}
	if r.remarked != "" && o.how != Ignored {
		r.note(what, Approximated, r.remarked)
		return
	}
	if o.name == "Timeout" {
		o = timeoutInfo(sub)
	}
	if off, ok := unless[o.name]; ok && strings.IndexAny(strings.TrimLeft(text, " \t"), off) == 0 {
		o.how, o.harm, o.why = Exact, false, ""
	}
	r.noteEntry(what, o)
}

func (r *reader) keepUnknown(name, sub, value string) {
	r.cfg.Options = append(r.cfg.Options, Option{name, sub, value, r.pos()})
	r.note("option "+name, Ignored, "no such option")
}

// defaults are the macros that are there before the file is read.
func (r *reader) defaults() {
	h := r.opt.Host
	r.setMacro("n", "MAILER-DAEMON")
	r.setMacro("v", Version)
	if h.Name != "" {
		short, domain, _ := strings.Cut(h.Name, ".")
		r.setMacro("w", short)
		r.setMacro("j", h.Name)
		if domain != "" {
			r.setMacro("m", domain)
		}
		r.addWords("w", []string{h.Name, short})
	}
	if h.NodeName != "" {
		r.setMacro("k", h.NodeName)
	}
	r.addWords("w", h.Addresses)
	if r.opt.Mode != "" {
		r.setMacro("opMode", r.opt.Mode)
	}
	r.defaultMailers()
	for _, d := range r.opt.Define {
		r.one(d)
	}
}

// OptionNames lists the names of all options that are known (sendmail -bO).
func OptionNames() []string {
	var names []string
	for _, o := range allOptions() {
		names = append(names, o.name)
	}
	return names
}
