package testmode

import (
	"fmt"
	"os"
	"slices"

	"waybill/compat/cf"
	"waybill/rules/eval"
	"waybill/rules/prog"
)

// firstMacros are the macros with which a session begins: those of the file, and what sendmail defines by itself.
func firstMacros(p *prog.Program) *eval.Macros {
	m := eval.NewMacros(p)
	set := func(name, value string) {
		if _, given := m.Get(name); !given {
			m.Set(name, value)
		}
	}
	set("addr_type", "e r") // what /tryflags says until it is given
	set("deliveryMode", "i")
	set("quarantine", "")
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		var load float64
		fmt.Sscan(string(text), &load)
		set("load_avg", fmt.Sprintf("%.0f", load))
	}
	for _, c := range "0123456789" { // sendmail keeps the symbols of its rules among the macros
		set(string(c), "$"+string(c))
	}
	return m
}

// symbols are the characters that show themselves behind a dollar sign.
const symbols = "*+&@|~-:>([)]#.?"

// hashSize and hashStart describe the order in which sendmail lists a class: that of a table of this many places, into which
// a word goes by its letters, as was found by listing classes of some thousand words.
const (
	hashSize  = 2003
	hashStart = 1
)

// hashed is the place of a word.
func hashed(word string) int {
	h := hashStart
	for i := 0; i < len(word); i++ {
		c := word[i]
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		h = (h<<1 ^ int(c)) % hashSize
	}
	return h
}

// listed are the words of a class in the order in which sendmail lists them.
func (s *session) listed(name string) []string {
	if name == "persistentMacros" {
		s.cfg.AddWords(name, cf.PersistentMacros())
	}
	c := s.cfg.Prog.Classes[name]
	if c == nil {
		return nil
	}
	words := slices.Clone(c.Words)
	slices.SortStableFunc(words, func(a, b string) int { return hashed(a) - hashed(b) })
	return words
}
