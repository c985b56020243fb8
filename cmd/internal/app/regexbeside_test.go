package app

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// TestRegexBesideSendmail compares random patterns, extended and basic, over random texts with the C library's regcomp
// and regexec, which the real sendmail asks for its regex maps: what matches, what every substring is, and what is said
// about a pattern that makes no sense.
func TestRegexBesideSendmail(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("this test needs root, for a network and a host name of sendmail's own")
	}
	r := rand.New(rand.NewPCG(19, 92))
	var conf, questions strings.Builder
	conf.WriteString("V10/Berkeley\nO QueueDirectory=$DIR\nO OperatorChars=.:%@!^/[]+\n")
	for i := range 1500 {
		basic := i%4 == 3
		pattern := randomPattern(r, basic, 3)
		if pattern[0] == '-' { // which would be a flag
			pattern = "x" + pattern
		}
		flags := []string{"-s -aX", "-s -f", "-n -aY", "-m", "-s -d:"}[r.IntN(5)]
		if basic {
			flags += " -b"
		}
		fmt.Fprintf(&conf, "Km%d regex %s %s\n", i, flags, strings.ReplaceAll(pattern, "$", "$$"))
		for range 4 {
			var text strings.Builder
			for range 1 + r.IntN(6) {
				text.WriteByte("aabbAB1.-xz"[r.IntN(11)])
			}
			fmt.Fprintf(&questions, "/map m%d %s\n", i, &text)
		}
	}
	conf.WriteString("Mlocal,\tP=/bin/true, F=lsDFMAw5:/|@q, A=x $u\nMprog,\tP=/bin/sh, F=lsDFMo, A=sh -c $u\n")
	mapsBeside(t, &txtar.Archive{Files: []txtar.File{{Name: "cf", Data: []byte(conf.String())}, {Name: "questions", Data: []byte(questions.String())}}})
}

func randomPattern(r *rand.Rand, basic bool, depth int) string {
	open, shut, or, lower, upper, plus, opt := "(", ")", "|", "{", "}", "+", "?"
	if basic {
		open, shut, or, lower, upper, plus, opt = `\(`, `\)`, `\|`, `\{`, `\}`, `\+`, `\?`
	}
	var b strings.Builder
	for n := range 1 + r.IntN(4) {
		switch r.IntN(14) {
		case 0, 1, 2, 3, 4:
			b.WriteByte("abAB1xz"[r.IntN(7)])
		case 5:
			b.WriteString([]string{".", `\.`, "-", "[ab]", "[^ab]", "[a-z]", "[[:digit:]]", "[[:alpha:]1]", "[]a]", "[b-]", "[^[:upper:]]", `\-`}[r.IntN(12)])
		case 6, 7, 8:
			if depth > 0 {
				b.WriteString(open + randomPattern(r, basic, depth-1) + shut)
			}
		case 9:
			if depth > 0 {
				b.WriteString(randomPattern(r, basic, depth-1) + or + randomPattern(r, basic, depth-1))
			}
		case 10:
			if n == 0 {
				b.WriteByte('^')
			}
		case 11:
			b.WriteByte('$')
		case 12: // mostly nonsense
			b.WriteString([]string{"*", "(", ")", "[", "{", "{2", "[z-a]", "[[:foo:]]", `\`, "a{3,1}", "+", "?", `\)`, `\{`, "()", "^*"}[r.IntN(16)])
			continue
		}
		switch r.IntN(9) {
		case 0:
			b.WriteString("*")
		case 1:
			b.WriteString(plus)
		case 2:
			b.WriteString(opt)
		case 3:
			fmt.Fprintf(&b, "%s%d,%d%s", lower, r.IntN(2), 1+r.IntN(2), upper)
		}
	}
	if b.Len() == 0 {
		return "a"
	}
	return b.String()
}
