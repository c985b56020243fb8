package convert

import (
	"strconv"
	"strings"

	"waybill/compat/cf"
	"waybill/rules/compile"
	"waybill/rules/prog"
)

// option writes an O line as a setting; those that the front end must find are statements of their own.
func (w *writer) option(l line) {
	o, ok := w.options[l.number]
	if !ok {
		w.lose(l, "no option that means anything")
		return
	}
	again := w.lastOpt[o.Name] != l.number
	switch {
	case o.Name == "QueueDirectory" && !again && strings.HasPrefix(o.Value, "/") && !strings.ContainsAny(o.Value, " $"):
		w.linef("spool %s", compile.Quote(o.Value))
	case (o.Name == "OperatorChars" || o.Name == "BlankSub") && again:
		w.linef("# set again below: %s", printable(oneLine(l.text)))
	case o.Name == "OperatorChars":
		w.linef("set operators %s", compile.Quote(w.conf.Prog.Operators))
	case o.Name == "BlankSub":
		w.linef("set blank-sub %s", compile.Quote(w.conf.Prog.BlankSub))
	default:
		name := o.Name
		if o.Sub != "" {
			name += "." + o.Sub
		}
		if !compile.SendmailOption(name) {
			w.lose(l, "no such option")
			return
		}
		w.linef("set %s %s", compile.Quote(name), compile.Quote(o.Value))
	}
}

func (w *writer) class(l line) {
	c, ok := w.classes[l.number]
	switch {
	case !ok:
		w.lose(l, "no class that can be read here")
	case c.File != nil:
		w.linef("class %s { %s }", compile.Quote(c.Class), classFile(*c.File))
	case l.text[0] == 'T':
		if all := w.trusted(); all != nil { // one statement says it for all T lines
			w.linef("set trust %s", values(all))
		}
	default:
		w.linef("class %s {", compile.Quote(c.Class))
		text := ""
		for _, word := range c.Words {
			if q := value(word); len(text)+len(q) > 100 {
				w.linef("%s", text)
				text = q
			} else {
				text = strings.TrimSpace(text + " " + q)
			}
		}
		if text != "" {
			w.linef("%s", text)
		}
		for _, from := range c.From {
			if k := w.conf.Prog.Classes[from]; k != nil {
				for _, f := range k.Files {
					w.linef("%s", classFile(f))
				}
			}
		}
		w.linef("}")
	}
}

// classFile writes the name of a file with words as a member of a class.
func classFile(f prog.ClassFile) string {
	mark := "@"
	if f.Optional {
		mark = "@?"
	}
	path := f.Path
	if f.Scan != "" && f.Scan != "%s" {
		path += " " + f.Scan
	}
	return mark + value(path)
}

// trusted are the words of all T lines, the first time.
func (w *writer) trusted() []string {
	if w.defined["T"] {
		return nil
	}
	w.defined["T"] = true
	var all []string
	for _, l := range w.lines {
		if strings.HasPrefix(l.text, "T") {
			all = append(all, w.classes[l.number].Words...)
		}
	}
	return all
}

// header writes an H line.
func (w *writer) header(l line) {
	h, ok := w.headers[l.number]
	if !ok {
		w.lose(l, "no header")
		return
	}
	text := "set header " + compile.Quote(h.Name) + " " + compile.Quote(h.Value)
	if h.Flags != "" {
		text += " flag " + compile.Quote(h.Flags)
	}
	if h.Macro != "" {
		text += " macro " + compile.Quote(h.Macro)
	}
	if h.Ruleset != "" {
		word := " check "
		if h.Keep {
			word = " check+ "
		}
		text += word + compile.Quote(h.Ruleset)
		w.numbered[h.Ruleset] = true
	}
	w.linef("%s", text)
}

// mailer writes an M line: a block with its equates in their order.
func (w *writer) mailer(l line) {
	m, ok := w.mailers[l.number]
	if !ok {
		name, _, _ := strings.Cut(l.text[1:], ",")
		if w.conf.Mailer(strings.TrimSpace(name)) != nil {
			w.linef("# declared again below: %s", printable(oneLine(l.text)))
			return
		}
		w.lose(l, "no mailer that can be used")
		return
	}
	w.linef("transport %s mailer {", compile.Quote(m.Name))
	for _, e := range m.Equates {
		if e.Name == "S" || e.Name == "R" {
			for name := range strings.SplitSeq(e.Value, "/") {
				w.numbered[name] = true
			}
		}
		w.linef("%s %s", compile.Quote(e.Name), compile.Quote(e.Value))
	}
	w.linef("}")
}

// other writes P, Q, X and E lines.
func (w *writer) other(l line) {
	body := strings.ReplaceAll(l.text[1:], "\n", "")
	switch l.text[0] {
	case 'P':
		for _, p := range w.conf.Priority {
			if p.Pos.Line == l.number {
				w.linef("set precedence %s %s", compile.Quote(p.Name), strconv.Itoa(p.Value))
				return
			}
		}
	case 'Q':
		if equates(w.conf.Queues, l.number) {
			w.linef("set queue-group %s", compile.Quote(oneLine(body)))
			return
		}
	case 'X':
		if equates(w.conf.Milters, l.number) {
			w.linef("set filter %s", compile.Quote(oneLine(body)))
			return
		}
	case 'E':
		if body != "" {
			w.linef("set environment %s", compile.Quote(l.text[1:]))
		}
		return
	}
	w.lose(l, "it makes no sense")
}

func equates(list []cf.Line, number int) bool {
	for _, x := range list {
		if x.Pos.Line == number {
			return true
		}
	}
	return false
}
