package convert

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// A Piece is a part of the library for converted files: rulesets that stand in the place of those that m4 writes.
type Piece struct {
	Name     string   // of the library: "use sendmail-mailertable"
	Rulesets []string // all of them, with their numbers as an S line has them
}

// Pieces are all parts, in the order in which they are tried. A part that calls another one's rulesets needs it only when
// the file does not have them.
var Pieces = []Piece{
	{"sendmail-access", []string{"SearchList", "A", "E", "F", "U"}},
	{"sendmail-access-domains", []string{"D"}},
	{"sendmail-access-dotdomains", []string{"D"}},
	{"sendmail-mailertable", []string{"Mailertable=90"}},
	{"sendmail-mailer-host", []string{"MailerToTriple=95"}},
}

// needs are the parts that a part cannot be used without.
var needs = map[string]string{"sendmail-access-domains": "sendmail-access", "sendmail-access-dotdomains": "sendmail-access"}

// variants are the rulesets that each part may stand for: "PART RULESET HASH", a line each.
//
//go:embed pieces.txt
var variants string

// Section is a ruleset of a sendmail.cf: what stands behind its S, the number of the first line, and the hash of its rules.
type Section struct {
	Name        string
	First, Last int
	Rules       int
	Hash        string
}

// Sections are the rulesets of a text that stand in one piece.
func Sections(text string) map[string]Section {
	found, again := map[string]Section{}, map[string]bool{}
	rules := map[string]*strings.Builder{}
	name := ""
	for _, l := range logical(text) {
		switch {
		case strings.HasPrefix(l.text, "S"):
			name = strings.Join(strings.Fields(plain(l.text[1:])), "")
			_, again[name] = found[name]
			found[name], rules[name] = Section{Name: name, First: l.number, Last: l.number}, &strings.Builder{}
		case strings.HasPrefix(l.text, "R") && name != "":
			s := found[name]
			s.Last, s.Rules = l.number, s.Rules+1
			found[name] = s
			fields := slices.DeleteFunc(strings.Split(l.text, "\t"), func(f string) bool { return strings.TrimSpace(f) == "" })
			for _, f := range fields[:min(len(fields), 2)] { // a comment is behind
				rules[name].WriteString(strings.Join(strings.Fields(f), " ") + "\t")
			}
			rules[name].WriteByte('\n')
		}
	}
	for n, s := range found {
		if again[n] {
			delete(found, n)
			continue
		}
		sum := sha256.Sum256([]byte(rules[n].String()))
		s.Hash = hex.EncodeToString(sum[:6])
		found[n] = s
	}
	return found
}

// Recognised are the parts of the library that can stand for rulesets of a sendmail.cf as m4 has written them, and for the
// others that the file has something of, why not.
func Recognised(text string) (list []Piece, why map[string]string) {
	sections := Sections(text)
	why = map[string]string{}
	taken := map[string]bool{}
	for _, p := range Pieces {
		missing, changed := 0, ""
		for _, name := range p.Rulesets {
			s, ok := sections[name]
			switch {
			case !ok || s.Rules == 0 || taken[name]:
				missing++
			case !strings.Contains(variants, p.Name+" "+name+" "+s.Hash+"\n"):
				changed = fmt.Sprintf("ruleset %s, line %d, is not as m4 writes it for this part", name, s.First)
			}
		}
		need := needs[p.Name]
		switch {
		case missing == len(p.Rulesets):
		case missing > 0:
			why[p.Name] = "only some of its rulesets are here"
		case changed != "":
			why[p.Name] = changed
		case need != "" && !slices.ContainsFunc(list, func(q Piece) bool { return q.Name == need }):
			why[p.Name] = need + " is not used"
		default:
			list = append(list, p)
			for _, name := range p.Rulesets {
				taken[name] = true
			}
		}
	}
	for _, p := range list { // another variant of the same ruleset
		for _, q := range Pieces {
			if q.Name != p.Name && q.Rulesets[0] == p.Rulesets[0] {
				delete(why, q.Name)
			}
		}
	}
	return list, why
}

// use writes a part in the place of the rulesets that it stands for, where the first of them is.
func (w *writer) use(name string) {
	w.comments = nil // m4's, about its rules
	p := w.folded[name]
	if w.used[p.Name] {
		return
	}
	w.used[p.Name] = true
	w.level()
	n, from := 0, []string{}
	for _, name := range p.Rulesets {
		s := w.sections[name]
		n += s.Rules
		bare, _, _ := strings.Cut(name, "=")
		from = append(from, fmt.Sprintf("%s %s:%d-%d", bare, w.file, s.First, s.Last))
	}
	w.linef("")
	w.linef("# in place of %d rules: %s", n, strings.Join(from, ", "))
	w.linef("use %s", p.Name)
	w.linef("")
}
