package cf

import (
	"strconv"
	"strings"

	"waybill/rules/prog"
)

// headerLine reads "H?flags?Name: template", "H?${macro}?Name: template" and "HName: $>ruleset". Continuation lines
// stay in the template.
func (r *reader) headerLine(body string) {
	h := Header{Pos: r.pos()}
	rest := body
	if strings.HasPrefix(rest, "?") {
		end := strings.IndexByte(rest[1:], '?')
		if end < 0 {
			r.errorf("header syntax error, line \"%s\"", body)
			return
		}
		flags := rest[1 : 1+end]
		rest = rest[2+end:]
		if strings.HasPrefix(flags, string(rune(mark))) {
			h.Macro, _, _, _ = CutName(flags[1:])
		} else {
			h.Flags = plain(flags)
		}
	}
	name, value, ok := strings.Cut(rest, ":")
	name = strings.TrimRight(name, " \t")
	if !ok || name == "" || strings.ContainsAny(name, " \t\n") {
		r.errorf("header syntax error, line \"%s\"", body)
		return
	}
	h.Name = plain(name)
	value = strings.TrimLeft(value, " \t")
	if strings.HasPrefix(value, string(rune(mark))+">") {
		value = value[2:]
		if strings.HasPrefix(value, "+") {
			h.Keep, value = true, value[1:]
		}
		h.Ruleset = plain(strings.TrimSpace(value))
	} else {
		h.Value = plain(value)
	}
	r.cfg.Headers = append(r.cfg.Headers, h)
}

// priorityLine reads "Pname=number".
func (r *reader) priorityLine(body string) {
	if body == "" {
		r.errorf("unknown configuration line \"P\"")
		return
	}
	name, v, _ := strings.Cut(plain(body), "=")
	n, _ := strconv.Atoi(leadingNumber(strings.TrimSpace(v)))
	r.cfg.Priority = append(r.cfg.Priority, Priority{strings.TrimSpace(name), n, r.pos()})
}

// queueLine reads "Qname, P=dir, ...".
func (r *reader) queueLine(body string) {
	l := r.equates(body)
	if l.Name == "" {
		r.errorf("name required for queue")
		return
	}
	r.cfg.Queues = append(r.cfg.Queues, l)
}

// milterLine reads "Xname, S=socket, ...".
func (r *reader) milterLine(body string) {
	l := r.equates(body)
	if l.Name == "" {
		r.errorf("name required for mail filter")
		return
	}
	for _, e := range l.Equates {
		if e.Name == "S" && e.Value != "" {
			r.cfg.Milters = append(r.cfg.Milters, l)
			return
		}
	}
	r.errorf("X%s: empty or missing socket information", l.Name)
}

func (r *reader) equates(body string) Line {
	name, rest, _ := strings.Cut(body, ",")
	l := Line{Name: strings.TrimSpace(name), Pos: r.pos()}
	for rest != "" {
		var e string
		e, rest = cutEquate(strings.TrimLeft(rest, " \t"))
		key, v, _ := strings.Cut(e, "=")
		if key = strings.TrimSpace(key); key != "" {
			l.Equates = append(l.Equates, prog.Param{Name: key[:1], Value: strings.TrimSpace(v), Pos: r.pos()})
		}
	}
	return l
}

// tableClasses are the classes of maps that Debian's sendmail knows: "-" in front of those that Waybill cannot ask.
const tableClasses = " hash btree implicit text host dns null macro arith dequote sequence switch stab syslog program regex user bestmx socket -userdb -ldap -nis -nisplus "

// optionsOf are the words of a declaration that begin with a dash.
func optionsOf(args []string) []string {
	var out []string
	for _, a := range args {
		if len(a) > 1 && a[0] == '-' {
			out = append(out, a)
		}
	}
	return out
}

// tableLine reads "Kname class arguments"; macros are expanded already.
func (r *reader) tableLine(body string) {
	body = plain(body)
	f := strings.Fields(body)
	if len(f) == 0 {
		r.errorf("readcf: config K line: no map name")
		r.note("map", Ignored, "it has no name")
		return
	}
	name := f[0]
	if len(f) == 1 {
		r.errorf("readcf: config K line, map %s: no map class", name)
		r.note("map "+name, Ignored, "it has no class")
		return
	}
	class := f[1]
	what := "map " + name + " (" + class + ")"
	known := strings.Contains(tableClasses, " "+class+" ")
	if !known && !strings.Contains(tableClasses, " -"+class+" ") {
		r.errorf("readcf: map %s: class %s not available", name, class)
		r.note(what, Ignored, "no such class")
		return
	}
	t := &prog.Table{Name: name, Class: class, Args: f[2:], Blank: r.blank, Pos: r.pos()}
	if r.opt.CheckTable != nil {
		say, broken := r.opt.CheckTable(t, r.cfg.Prog)
		if t.Broken = broken; say != "" {
			r.errorf("%s", say)
			how := Approximated
			if broken {
				how = Ignored
			}
			r.note(what, how, say)
		}
	}
	for i, old := range r.cfg.Prog.Tables {
		if equalFold(old.Name, name) { // the options of the first stay
			if old.Class == class {
				t.Args = append(optionsOf(old.Args), t.Args...)
			}
			t.Name = old.Name
			r.cfg.Prog.Tables[i] = t
			t = nil
			break
		}
	}
	if t != nil {
		r.cfg.Prog.Tables = append(r.cfg.Prog.Tables, t)
	}
	if !r.said {
		if known {
			r.note(what, Exact, "")
		} else {
			r.note(what, Ignored, "Waybill cannot ask such maps; lookups say not now")
		}
	}
}
