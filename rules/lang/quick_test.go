package lang

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"github.com/alecthomas/participle/v2"
	"github.com/alecthomas/participle/v2/lexer"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// sameQuick compares what quick and participle make of a line, and reports whether quick has read it.
func sameQuick[P any](t *testing.T, parser *participle.Parser[P], line []lexer.Token, read func(*quick) *P) bool {
	t.Helper()
	got := quickly(line, read)
	if got == nil {
		return false
	}
	var text []string
	for _, tok := range line {
		text = append(text, tok.Value)
	}
	want, err := parseTokens(parser, line)
	if err != nil {
		t.Fatalf("%q is wrong: %s", text, err)
	}
	if !reflect.DeepEqual(want, got) {
		t.Fatalf("%q (-participle +quick)\n%s", text, cmp.Diff(want, got, cmpopts.IgnoreUnexported(Words{})))
	}
	return true
}

// sameLines does so for each line of a text, as a line of each kind of block. With slow it also counts the lines that
// only participle reads.
func sameLines(t *testing.T, p *Parser, src *Source, slow *int) (quicks int) {
	t.Helper()
	kept := slices.DeleteFunc(scan(src, nil), func(t lexer.Token) bool { return t.Type == tokSpace || t.Type == tokComment })
	for _, line := range lines(kept) {
		if hasBad(line) {
			continue
		}
		n := 0
		for _, same := range []bool{
			sameQuick(t, p.rule, line, (*quick).rule), sameQuick(t, p.hookRule, line, (*quick).hookRule), sameQuick(t, p.sendRule, line, (*quick).sendRule), sameQuick(t, p.schedule, line, (*quick).scheduleRule),
			sameQuick(t, p.testLine, line, (*quick).testLine), sameQuick(t, p.param, line, (*quick).param), sameQuick(t, p.member, line, (*quick).member),
		} {
			if same {
				n++
			}
		}
		if n > 0 {
			quicks++
		}
		if slow == nil {
			continue
		}
		for _, err := range []error{slower(p.rule, line, (*quick).rule), slower(p.hookRule, line, (*quick).hookRule), slower(p.sendRule, line, (*quick).sendRule), slower(p.testLine, line, (*quick).testLine)} {
			if err == nil {
				*slow++
				t.Logf("only participle reads line %d: %s", line[0].Pos.Line, src.Line(line[0].Pos.Line))
			}
		}
	}
	return quicks
}

// slower is nil for a line that participle reads and quick does not.
func slower[P any](parser *participle.Parser[P], line []lexer.Token, read func(*quick) *P) error {
	if quickly(line, read) != nil {
		return errGrammar
	}
	_, err := parseTokens(parser, line)
	return err
}

// TestQuick: the short cut reads lines as the grammar does, and leaves it nothing to read.
func TestQuick(t *testing.T) {
	p := NewParser()
	quicks, slow := 0, 0
	count := func(src *Source) { quicks += sameLines(t, p, src, &slow) }
	for _, pattern := range []string{"../../etc/*.rules", "../../etc/lib/*.rules", "../../testdata/rules/*.txtar", "README.md"} {
		files, _ := filepath.Glob(pattern)
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			count(NewSource(f, string(text)))
		}
	}
	count(NewSource("x", oddLines))
	if quicks < 500 || slow > 0 {
		t.Errorf("quick read %d lines, and left %d to participle", quicks, slow)
	}
}

// oddLines are right and wrong lines of every kind of block.
const oddLines = `
a -> b
a -> once
a -> once once
a => b queue
a => queue
a => now now
a->
$x+ <@ $y> ->return "once" <
'a' => 'b' c
a -> 'once' b
<= -> >=
a -> b -> c
a => b now c
a => b between 1 and 2
a => b queue between 1 and 2
a => b queue between 1 and 2 x
a, b -> c
a -> call b
a -> once call b c call d e
a => b call c d queue
a -> call
a -> call call b
a -> x call 'b' call $c
a -> call b, c
a where b -> c
a where b and -> c
a where b and not (c or d in e) or f(g, h i else j call k l) is $m n -> return o p(q)
a where not not b -> c
a where ((b)) -> c
a where (b -> c
a where b(c,,d) > 5 and $x < 6 and $y in z and $q is r s => reject 550 5.1.1 "no" way
a where $x -> c
a where size > 20M and time between 1:00 and 2:00 => discard
a where header x is y => ok
a where b(c else) -> d(e else call f g)
a where b(c else,) -> d
otherwise -> a
otherwise a
otherwise where a ok
client in inside ok
client ok
client in where ok
name reject 550
name reject 550 5.7.1
name reject 550 5.7.1 why not $x
auth reject
auth quarantine "x" y
auth quarantine
hops(a) is b where c ok
not client in inside and not auth discard
$x+ < @ $y > where size > 3 reject 552 5.3.4 "x"
client < @ x > ok
size > 20M queue
size > 20M queue between 22:00 and 06:00 priority 3
size > 20M priority -3
priority < 0 defer
priority 3 now
auth queue
header Precedence is "bulk" priority -10
queue
otherwise now priority
host in slow => retry 1h
error 4.4.1 => x
given size 3M
given size
given hops(a) is b c
given hops(a) missing
given hops(a, b) fails
given hops(a)
given hops
given
given a b => c
a b => c ok
a b -> c -> d
a(b) => c, (d)
priority is x queue
a where b in 'c' in d -> e
a where "b" -> c
a where b "c" is d -> e
a where b ok
a where b where c -> d
a -> $x(b) c
a -> b and c
a => b and c
$x in y now
`
