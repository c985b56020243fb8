package cf

import (
	"reflect"
	"strings"
	"testing"
)

// readBoth reads a file the short way and the long one.
func readBoth(t testing.TB, text string) (short, long *Config) {
	t.Helper()
	opt := Options{NoFiles: true, Trust: true}
	short, err := Read(strings.NewReader(text), "x.cf", opt)
	if err != nil {
		t.Fatal(err)
	}
	opt.long = true
	if long, err = Read(strings.NewReader(text), "x.cf", opt); err != nil {
		t.Fatal(err)
	}
	return short, long
}

// FuzzQuickRule holds the two ways to read an R line alike.
func FuzzQuickRule(f *testing.F) {
	for _, s := range []string{
		"R$* < @ $+ . > $*\t$: $1 < @ $2 . > $3\tcomment", "R$- $=w $~{Class} $&{x}\t\t$@ $>name $1 $| $( m $1 $@ a $: $2 $)",
		"R$+\t$# smtp $@ $[ $1 $: x $] $: $1", "R$j\t$1", "Ra\\b \"c d\"\t$2", "R$*\t$( a $( b $) $)", "R$*\t$: $&{daemon_flags} $| $1 ",
		"R(a)\t(b)", "R$~[ $=. $&<\t$&:", "R$@\t$9", "R$* \t # no", "R$*\t$1 # no", "R$$\t$$", "R$- $- $- $- $- $- $- $- $- $-\tx", "R$*\t", "R$=\t$&", "R\tx",
		"R$={ab}\t$&{}", "R$*\t$)", "Ra$\tb$", "R$*\t$1\t\tc\td", "R\"a b\"c\t\"d\te", "R$*\t$#error $: \"553 no $1\"", "R$*\t$#error $: \"553 no\" x",
	} {
		f.Add(s, "10", ".:%@!^/[]+")
	}
	f.Add("R(a)\t(b) $1", "8", "=")
	f.Fuzz(func(t *testing.T, rule, level, operators string) {
		if strings.ContainsAny(level+operators, "\n\x00") || len(rule) > 2000 {
			return
		}
		short, long := readBoth(t, "V"+level+"\nO OperatorChars="+operators+"\nDjhost.example\nCw a b\nSx\n"+rule+"\n")
		if !reflect.DeepEqual(short.Prog, long.Prog) || !reflect.DeepEqual(short.Messages, long.Messages) || !reflect.DeepEqual(short.Notes, long.Notes) {
			t.Errorf("%q:\nshort %+v %v %+v\nlong  %+v %v %+v", rule, short.Prog.Rulesets, short.Messages, short.Notes, long.Prog.Rulesets, long.Messages, long.Notes)
		}
	})
}
