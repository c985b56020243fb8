package table

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"waybill/rules/prog"

	"waybill/rules/addr"
)

// flags are the options of a table's declaration and what follows them. The letters are sendmail's.
type flags struct {
	def      *prog.Table
	class    string
	set      [256]bool
	optional bool   // -o: a missing file is an empty table
	keepCase bool   // -f
	match    bool   // -m: the value is the key
	keep     bool   // -q: quotes stay in the key
	suffix   string // -a: goes behind values
	temp     string // -T: goes behind the key when the answer is "not now"
	hasTemp  bool
	tempIsNo bool   // -t: "not now" counts as "not there"
	lazy     bool   // -D: not asked when delivery is deferred
	space    string // -S: stands for blanks in the key
	key      string // -k
	value    string // -v
	delim    string // -z
	subs     string // -s
	join     string // -d
	record   string // -R
	base     string // -B
	limit    string // -Z
	level    string // -L
	rest     []string
	unsafe   func(path string) error
	bad      error // an option that does not exist
}

// spaced are the options whose value may follow in the next word: some everywhere, some in one class.
const spaced = "kv"

var spacedIn = map[string]string{"dns": "RBZ", "syslog": "L", "ldap": "bdhlpscwrPMHZ"}

// takesWord reports whether the value of an option may follow in the next word.
func takesWord(class string, letter byte) bool {
	return strings.IndexByte(spaced, letter) >= 0 && class != "syslog" || strings.IndexByte(spacedIn[class], letter) >= 0
}

// legal are the options that a class has beside those of most classes; some classes take any letter.
var legal = map[string]string{"dns": "*", "regex": "*", "arith": "*", "dequote": "*", "macro": "*", "host": "*", "sequence": "*", "switch": "*",
	"syslog": "LD", "ldap": "kvhbpPdMsrlwcZHVRnK1LWx", "stab": "*"}

// common are the options of most classes.
const common = "NOofmAaTkvqzStDd"

func parseFlags(def *prog.Table) (*flags, error) {
	f := &flags{def: def, class: def.Class}
	args := def.Args
	if def.Class == "ldap" {
		args = quotedWords(args)
	}
	for len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' {
		letter, v := args[0][1], args[0][2:]
		args = args[1:]
		if v == "" && len(args) > 0 && takesWord(def.Class, letter) {
			v, args = args[0], args[1:]
		}
		f.set[letter] = true
		switch letter {
		case 'o':
			f.optional = true
		case 'f':
			f.keepCase = true
		case 'm':
			f.match = true
		case 'q':
			f.keep = true
		case 'a':
			f.suffix = v
		case 'T':
			f.temp, f.hasTemp = v, true
		case 't':
			f.tempIsNo = true
		case 'D':
			f.lazy = true
		case 'S':
			f.space = v
		case 'k':
			f.key = v
		case 'v':
			f.value = v
		case 'z':
			f.delim = v
			switch v {
			case `\n`:
				f.delim = "\n"
			case `\t`:
				f.delim = "\t"
			}
		case 's':
			f.subs = v
		case 'd':
			f.join = v
		case 'R':
			f.record = v
		case 'B':
			f.base = v
		case 'Z':
			f.limit = v
		case 'L':
			f.level = v
		}
		if !HasOption(def.Class, letter) && f.bad == nil {
			f.bad = &optionError{def, letter}
		}
	}
	f.rest = args
	return f, nil
}

// file returns the one file name that must follow the options.
func (f *flags) file() (string, error) {
	if len(f.rest) == 0 {
		return "", fmt.Errorf("%s: table %s: no file name", f.def.Pos, f.def.Name)
	}
	return f.rest[0], nil
}

// suffixDB puts ".db" behind the file's name, where it belongs.
func (f *flags) suffixDB() { f.suffixWith(".db") }

func (f *flags) suffixWith(end string) {
	if len(f.rest) > 0 && !strings.HasSuffix(f.rest[0], end) {
		f.rest = append([]string{f.rest[0] + end}, f.rest[1:]...)
	}
}

// KeepsQuotes tells whoever builds keys that quotation marks belong to them (-q); else they are taken out before.
func (f *flags) KeepsQuotes() bool { return f.keep }

// KeyBlank is what stands between adjacent words in a key: the one of -S, or the one that held where the table was
// declared.
func (f *flags) KeyBlank() (string, bool) {
	if f.set['S'] {
		return f.space[:min(1, len(f.space))], true
	}
	switch f.class {
	case "dequote", "regex", "arith", "macro", "null", "syslog", "host", "dns":
		return "", false // they take the one that holds when they are asked
	}
	return f.def.Blank, f.def.Blank != ""
}

// clean makes the key that is looked up: in lower case unless -f.
func (f *flags) clean(key string) string {
	if !f.keepCase {
		key = addr.Fold(key)
	}
	return key
}

// Unquote takes the quotation marks out of a key, and what a backslash protects out of its backslash.
func Unquote(key string) string {
	if strings.IndexByte(key, '"') < 0 && strings.IndexByte(key, '\\') < 0 {
		return key
	}
	b := make([]byte, 0, len(key))
	for i := 0; i < len(key); i++ {
		switch c := key[i]; {
		case c == '"':
		case c == '\\' && i+1 < len(key):
			i++
			b = append(b, key[i])
		default:
			b = append(b, c)
		}
	}
	return string(b)
}

// found makes the result of an entry that was found under a clean key.
func (f *flags) found(key, value string, args []string, pos prog.Pos) Result {
	if f.match {
		value = key
	} else {
		value = Expand(value, key, args)
	}
	return Result{Value: value + f.suffix, Pos: pos}
}

// failed makes the result of a lookup that failed for now.
func (f *flags) failed(key string, err error) (Result, bool, error) {
	switch {
	case f.tempIsNo:
		return Result{}, false, nil
	case f.hasTemp:
		return Result{Value: key + f.temp}, true, err
	}
	return Result{}, false, err
}

// HasOption reports whether a class has an option.
func HasOption(class string, letter byte) bool {
	l := legal[class]
	return l == "*" || strings.IndexByte(l, letter) >= 0 || class != "syslog" && strings.IndexByte(common, letter) >= 0
}

// OptionTakesWord reports whether the value of an option may follow in the next word.
func OptionTakesWord(class string, letter byte) bool { return takesWord(class, letter) }

// RecordTypes returns the types of records that -R of the class dns may name, sorted.
func RecordTypes() []string { return slices.Sorted(maps.Keys(recordTypes)) }
