package check

import (
	"fmt"
	"strings"

	"waybill/rules/lang"
	"waybill/rules/table"
)

// tableArgs checks what stands behind the class of a table: options that the class does not have, words too many or too
// few, record types. Whether a file can be read and an expression be compiled, package table finds out.
func (n *names) tableArgs(t *lang.Table) {
	class := t.Class.Value()
	given := words(t.Args)
	option := map[byte]word{}
	i := 0
	for ; i < len(given) && len(given[i].text) > 1 && given[i].text[0] == '-' && class != "ldap"; i++ {
		w := given[i]
		letter := w.text[1]
		if !table.HasOption(class, letter) {
			n.errorf(w.from, w.to, "", "a table of class %s has no option -%c", class, letter)
		}
		value := word{w.text[2:], w.from, w.to}
		if value.text == "" && table.OptionTakesWord(class, letter) && i+1 < len(given) {
			i++
			value = given[i]
		}
		option[letter] = value
	}
	rest := given[i:]
	count := func(least, most int, write string) {
		if len(rest) > most {
			n.errorf(rest[most].from, rest[len(rest)-1].to, "write: table "+t.Name.Value()+" "+class+" "+write, "%q is too much for a table of class %s", rest[most].text, class)
		} else if len(rest) < least {
			n.errorf(t.Pos, t.EndPos, "write: table "+t.Name.Value()+" "+class+" "+write, "something is missing behind the class %s", class)
		}
	}
	switch class {
	case "text", "aliases", "pathalias", "cidr", "hash", "btree", "implicit", "cdb", "stab":
		count(1, 1, "FILE, or ?FILE if it need not be there")
		if len(rest) > 0 && !absolute(strings.TrimPrefix(rest[0].text, "?")) && !strings.Contains(rest[0].text, "${") {
			n.errorf(rest[0].from, rest[0].to, "begin it with /: the daemon has a directory of its own", "%q is no absolute path", rest[0].text).Severity = lang.Warning
		}
	case "arith", "macro", "null", "dequote":
		count(0, 0, "")
	case "socket":
		count(1, 1, "unix:PATH, or inet:PORT@HOST")
	case "dns":
		kind := option['R']
		known := table.RecordTypes()
		switch {
		case kind.text == "":
			n.errorf(t.Class.Pos, t.Class.EndPos, "write: table "+t.Name.Value()+" dns -R TYPE, with one of "+strings.Join(known, " "), "a table of class dns says what it asks for")
		case !contains(known, kind.text):
			n.errorf(kind.from, kind.to, "write one of "+strings.Join(known, " "), "%q is no type of DNS record that rules can ask for", strings.TrimPrefix(kind.text, "-R"))
		}
	case "sequence", "switch":
		count(1, 1000, "TABLE TABLE...")
	case "program":
		if len(rest) == 0 || !absolute(rest[0].text) {
			at, to := t.Class.Pos, t.Class.EndPos
			if len(rest) > 0 {
				at, to = rest[0].from, rest[0].to
			}
			n.errorf(at, to, fmt.Sprintf("write: table %s program /PATH/PROGRAM ARGUMENT...", t.Name.Value()), "a table of class program names a program, with its whole path")
		}
	}
}

func contains(list []string, word string) bool {
	for _, l := range list {
		if strings.EqualFold(l, word) {
			return true
		}
	}
	return false
}

// members checks that the tables of which a table is made are there.
func (n *names) members(t *lang.Table) {
	if t.Class.Value() != "sequence" {
		return
	}
	for _, w := range words(t.Args) {
		if w.text[:1] == "-" {
			continue
		}
		if _, ok := n.tables[w.text]; !ok && !n.lost.May("table", w.text) {
			n.errorf(w.from, w.to, nearest(w.text, n.tables, "write: table "+w.text+" CLASS ARGUMENT..."), "table %q is not defined", w.text)
		}
	}
}
