package cf

import (
	"slices"
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
		body, rest = rest[:1+end], rest[2+end:] // what a message shows ends there
		if strings.HasPrefix(flags, string(rune(mark))) {
			var tail string
			if h.Macro, tail, _, _ = CutName(flags[1:]); tail != "" {
				r.errorf("header syntax error, line \"%s\"", "?"+flags[1:])
				return
			}
		} else if strings.IndexByte(flags, mark) >= 0 {
			r.errorf("header syntax error, line \"%s\"", body)
			return
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
		rs, _ := r.defineRuleset(value)
		if rs == nil {
			return
		}
		h.Ruleset = rs.Name
	} else {
		h.Value = plain(value)
	}
	r.cfg.Headers = append(r.cfg.Headers, h)
}

// priorityLine reads "Pname=number".
func (r *reader) priorityLine(body string) {
	name, v, ok := strings.Cut(plain(body), "=")
	if !ok {
		r.errorf("unknown configuration line \"P%s\"", unmarked(body))
		return
	}
	n, _ := strconv.Atoi(leadingNumber(strings.TrimSpace(v)))
	r.cfg.Priority = append(r.cfg.Priority, Priority{strings.TrimSpace(name), n, r.pos()})
}

// queueLine reads "Qname, P=dir, ...".
func (r *reader) queueLine(body string) {
	l, ok := r.equates(body, "queue", "queue %s: `=' expected")
	if !ok {
		return
	}
	var path, runners, flags string
	for _, e := range l.Equates {
		switch e.Name {
		case "P":
			if path = e.Value; path == "" {
				r.errorf("queue %s: empty path name", l.Name)
			}
		case "F":
			flags = e.Value
		case "I":
			r.checkTime(e.Value)
		case "R":
			runners = e.Value
		case "r", "J", "N":
		default:
			r.errorf("Q%s: unknown queue equate %s=", l.Name, e.Name)
		}
	}
	if n := number(runners); n > 1 && !strings.Contains(flags, "f") {
		r.say("Warning: Q=%s: R=%d: multiple queue runners specified\n\tbut flag 'f' is not set", l.Name, n)
	}
	if _, set := r.cfg.Option("QueueDirectory", ""); path == "" && !set {
		r.errorf("QueueDir must be defined before queue groups")
		return
	}
	for i, q := range r.cfg.Queues {
		if equalFold(q.Name, l.Name) {
			r.cfg.Queues[i] = l
			return
		}
	}
	r.cfg.Queues = append(r.cfg.Queues, l)
	r.note("queue group "+l.Name, Approximated, "there is one queue; how often and long it is tried counts, directories do not")
}

// milterLine reads "Xname, S=socket, ...".
func (r *reader) milterLine(body string) {
	l, ok := r.equates(body, "mail filter", "X%s: `=' expected")
	if !ok {
		return
	}
	socket := ""
	for _, e := range l.Equates {
		switch e.Name {
		case "S":
			socket = e.Value
		case "F":
		case "T":
			r.checkMilterTimes(l.Name, e.Value)
		default:
			r.errorf("X%s: unknown filter equate %s=", l.Name, e.Name)
		}
	}
	if socket == "" {
		r.errorf("X%s: empty or missing socket information", l.Name)
		return
	}
	r.checkMilterSocket(l.Name, socket)
	for i, m := range r.cfg.Milters {
		if m.Name == l.Name {
			r.systemErrorf("X%s: duplicate filter definition: No such file or directory", l.Name)
			r.cfg.Milters[i] = l
			return
		}
	}
	r.cfg.Milters = append(r.cfg.Milters, l)
	r.noteEntry("mail filter "+l.Name, entry{how: Ignored, harm: true, why: "filters are asked only by native rules"})
}

// checkMilterTimes looks at "C:5m;S:10s;R:10s;E:5m".
func (r *reader) checkMilterTimes(name, value string) {
	for t := range strings.SplitSeq(value, ";") {
		letter, v, ok := strings.Cut(strings.TrimSpace(t), ":")
		switch {
		case strings.TrimSpace(t) == "":
		case !ok:
			r.errorf("X%s, T=: `:' expected", name)
			return
		case letter == "" || strings.IndexByte("CSRE", letter[0]) < 0:
			r.errorf("X%s: unknown filter timeout %s", name, first(letter))
		default:
			r.checkTime(v)
		}
	}
}

// checkMilterSocket looks at "local:path", "inet:port@host" and so on.
func (r *reader) checkMilterSocket(name, spec string) {
	kind, rest, ok := strings.Cut(spec, ":")
	if !ok {
		return
	}
	switch kind {
	case "local", "unix":
	case "inet", "inet6":
		port, host, at := strings.Cut(rest, "@")
		switch {
		case !at:
			r.errorf("X%s: bad address %s (expected port@host)", name, rest)
		case !isNumber(port) && !knownPort(port):
			r.errorf("X%s: unknown port name %s", name, port)
		case !r.knownHost(host):
			r.errorf("X%s: Unknown host name %s", name, host)
		}
	default:
		r.errorf("X%s: unknown socket type %s: Protocol not supported", name, kind)
	}
}

// equates reads a name and equates behind it. ok is false after a complaint that is the end of the line.
func (r *reader) equates(body, what, broken string) (l Line, ok bool) {
	name, rest := cutName(body)
	l = Line{Name: name, Pos: r.pos()}
	if name == "" {
		if what == "queue" && body != "" {
			r.errorf(broken, name)
		} else {
			r.errorf("name required for %s", what)
		}
		return l, false
	}
	rest = strings.TrimLeft(rest, " \t,")
	for more := rest != ""; more; {
		rest = strings.TrimLeft(rest, " \t,")
		end := strings.IndexAny(rest, "=,")
		if end < 0 || rest[end] == ',' {
			r.errorf(broken, name)
			return l, false
		}
		key := rest[:min(1, end)]
		var v string
		v, rest, more = cutEquate(strings.TrimLeft(rest[end+1:], " \t"))
		l.Equates = append(l.Equates, prog.Param{Name: key, Value: strings.TrimSpace(v), Pos: r.pos()})
	}
	return l, true
}

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
	body = strings.TrimLeft(plain(body), " \t")
	i := 0
	for i < len(body) && (isNameChar(body[i]) || body[i] == '.') {
		i++
	}
	name := body[:i]
	if name == "" {
		r.errorf("readcf: config K line: no map name")
		r.note("map", Ignored, "it has no name")
		return
	}
	for i < len(body) && !isNameChar(body[i]) { // whatever stands between the name and the class
		i++
	}
	from := i
	for i < len(body) && isNameChar(body[i]) {
		i++
	}
	class := body[from:i]
	if class == "" {
		r.errorf("readcf: config K line, map %s: no map class", name)
		r.note("map "+name, Ignored, "it has no class")
		return
	}
	f := strings.Fields(body[i:])
	what := "map " + name + " (" + class + ")"
	if !r.isMapClass(class) {
		r.errorf("readcf: map %s: class %s not available", name, class)
		r.note(what, Ignored, "no such class")
		return
	}
	t := &prog.Table{Name: name, Class: class, Args: f, Blank: r.blank, Pos: r.pos()}
	if class == "ldap" {
		t.Args = append(slices.Clone(r.directory), t.Args...)
	}
	if r.checkTable(t) {
		r.note(what, Ignored, r.cfg.Messages[len(r.cfg.Messages)-1].Text)
	} else if r.said {
		r.note(what, Approximated, r.cfg.Messages[len(r.cfg.Messages)-1].Text)
	} else {
		e, _ := r.mapInfo(class)
		r.noteEntry(what, e)
	}
	for i, old := range r.cfg.Prog.Tables {
		if equalFold(old.Name, name) { // the options of the first stay
			if old.Class == class {
				t.Args = append(optionsOf(old.Args), t.Args...)
			}
			t.Name = old.Name
			r.cfg.Prog.Tables[i] = t
			return
		}
	}
	r.cfg.Prog.Tables = append(r.cfg.Prog.Tables, t)
}

// checkTable complains about a map's declaration. It reports whether there is no asking such a map.
func (r *reader) checkTable(t *prog.Table) bool {
	if r.opt.CheckTable == nil {
		return false
	}
	say, broken := r.opt.CheckTable(t, r.cfg.Prog)
	t.Broken = broken
	if say != "" {
		for line := range strings.SplitSeq(say, "\n") {
			r.errorf("%s", line)
		}
	}
	return broken
}
