package table

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"waybill/rules/prog"

	"waybill/rules/addr"
)

// maxLine is how long a line of a text table or an alias with its continuation lines may be.
const maxLine = 4 << 20

// entries is the content of a table with lines of key and value.
type entries struct {
	name  string
	store *store
}

func (e *entries) lookup(key string, _ []string) (Result, bool) {
	v, line, ok := e.store.get(addr.Fold(key))
	return Result{Value: v, Pos: prog.Pos{File: e.name, Line: line}}, ok
}

// Each calls f for all entries of the table in the order of the file; keys are in lower case.
func (t *file) Each(f func(key, value string) bool) {
	if e, ok := t.now.Load().content.(*entries); ok {
		e.store.each(f)
	}
}

// textLoader reads a text file with columns: -k and -v number them from 0, -z separates them, white space unless
// given. Keys are looked up without regard to case, whatever -f says (SEMANTICS fact 34).
//
// A file declared in our own language, without any of these options, has the key in the first word and the rest of
// the line as the value, and # lines are comments.
func textLoader(f *flags, native bool) (loader, error) {
	keyCol, err := column(f, "-k", f.key)
	valCol, err2 := column(f, "-v", f.value)
	if err = errors.Join(err, err2); err != nil && native {
		return nil, err
	}
	free := native && f.key == "" && f.value == "" && f.delim == ""
	return func(r io.Reader, name string) (content, []Warning, error) {
		if err != nil { // sendmail notices when it opens the file
			return nil, nil, f.badColumn(name)
		}
		var b builder
		var without map[string]bool // keys whose first line has no value: the others of these keys do not count
		err := eachLine(r, func(n int, line []byte) error {
			var key, value []byte
			if free {
				line = bytes.TrimSpace(line)
				if len(line) == 0 || line[0] == '#' {
					return nil
				}
				i := bytes.IndexAny(line, " \t")
				if i < 0 {
					i = len(line)
				}
				key, value = line[:i], bytes.TrimSpace(line[i:])
			} else if len(line) > 0 && line[0] == '#' {
				return nil
			} else {
				var ok bool
				if key, ok = cutColumn(line, keyCol, f.delim); !ok || len(key) == 0 && f.delim == "" {
					return nil
				}
				if value, ok = cutColumn(line, valCol, f.delim); !ok {
					if without == nil {
						without = map[string]bool{}
					}
					without[string(foldBytes(key))] = true
				}
				if without[string(foldBytes(key))] {
					return nil
				}
			}
			return b.add(foldBytes(key), value, n)
		})
		if err != nil {
			return nil, nil, err
		}
		return &entries{name, b.done(nil)}, nil, nil
	}, nil
}

// badColumn is what sendmail says about columns that are no numbers.
func (f *flags) badColumn(file string) error {
	what := f.key
	letter := "-k"
	if _, err := strconv.ParseUint(f.key, 10, 31); f.key == "" || err == nil {
		letter, what = "-v", f.value
	}
	err := fmt.Errorf("table %s: %s must be a column number, not %s", f.def.Name, letter, what)
	return &Complaint{Say: fmt.Sprintf("text map \"%s\", file %s: %s should specify a number, not %s", f.def.Name, file, letter, what), Err: err}
}

func column(f *flags, letter, v string) (int, error) {
	if v == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%s: table %s: %s wants a column number, got %q", f.def.Pos, f.def.Name, letter, v)
	}
	return n, nil
}

// cutColumn returns a column of a line, as the real engine cuts it: without a separator, columns are words, and a line
// that begins with white space has its first word both as column 0 and as column 1; with one, nothing is trimmed, and
// a column that ends with the line is there even when it is empty.
func cutColumn(line []byte, col int, delim string) ([]byte, bool) {
	if delim != "" {
		for ; col > 0; col-- {
			i := bytes.IndexByte(line, delim[0])
			if i < 0 {
				return nil, false
			}
			line = line[i+1:]
		}
		if i := bytes.IndexByte(line, delim[0]); i >= 0 {
			line = line[:i]
		}
		return line, true
	}
	behind := col > 0
	for ; col > 0; col-- {
		i := bytes.IndexAny(line, " \t")
		if i < 0 {
			return nil, false
		}
		line = bytes.TrimLeft(line[i:], " \t")
	}
	line = bytes.TrimLeft(line, " \t")
	if i := bytes.IndexAny(line, " \t"); i >= 0 {
		line = line[:i]
	}
	return line, behind || len(line) > 0
}

// eachLine calls f for each line without its end. Lines count from 1.
func eachLine(r io.Reader, f func(n int, line []byte) error) error {
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 64<<10), maxLine)
	n := 0
	for s.Scan() {
		n++
		if err := f(n, s.Bytes()); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	if err := s.Err(); errors.Is(err, bufio.ErrTooLong) {
		return fmt.Errorf("line %d: longer than %d octets", n+1, maxLine)
	} else if err != nil {
		return fmt.Errorf("line %d: %w", n+1, err)
	}
	return nil
}

func foldBytes(b []byte) []byte {
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b = append([]byte(nil), b...)
			for ; i < len(b); i++ {
				if b[i] >= 'A' && b[i] <= 'Z' {
					b[i] |= 0x20
				}
			}
			return b
		}
	}
	return b
}

// loadAliases reads an alias file (aliases(5)): "name: right side", continued by lines that begin with white space and
// behind a backslash at the end; # at the beginning of a line makes a comment. An empty line or a comment ends an alias. The
// value is the right side as text, its lines joined with one blank; of two aliases with one name the last counts. No step of building comes between the file and its use.
func loadAliases(r io.Reader, name string) (content, []Warning, error) {
	var (
		b        = builder{last: true}
		warnings []Warning
		key      []byte
		value    []byte
		start    int
		more     bool // the last line ended in a backslash
	)
	warn := func(line int, format string, args ...any) {
		warnings = append(warnings, Warning{prog.Pos{File: name, Line: line}, fmt.Sprintf(format, args...)})
	}
	flush := func() error {
		if start == 0 {
			return nil
		}
		line := start
		start = 0
		if len(value) == 0 {
			warn(line, "alias %s has no right side", key)
			return nil
		}
		return b.add(key, value, line)
	}
	err := eachLine(r, func(n int, line []byte) error {
		blank := len(line) > 0 && (line[0] == ' ' || line[0] == '\t')
		trimmed := bytes.TrimSpace(line)
		switch {
		case !more && (len(line) == 0 || line[0] == '#'): // either ends an alias
			return flush()
		case len(trimmed) == 0:
			more = false
			return nil
		case (blank || more) && start > 0:
			value = append(append(value, ' '), trimmed...)
		case blank:
			warn(n, "continues nothing")
			return nil
		default:
			if err := flush(); err != nil {
				return err
			}
			i := colon(line)
			if i < 0 {
				warn(n, "no colon: this is no alias")
				more = false
				return nil
			}
			key = append(key[:0], addr.Fold(Unquote(string(bytes.TrimSpace(line[:i]))))...)
			value = append(value[:0], bytes.TrimSpace(line[i+1:])...)
			start = n
			if len(key) == 0 {
				warn(n, "an alias without a name")
				start = 0
			}
		}
		if more = bytes.HasSuffix(value, []byte{'\\'}); more {
			value = bytes.TrimRight(value[:len(value)-1], " \t")
		}
		if len(value) > maxLine {
			return fmt.Errorf("alias %s is longer than %d octets", key, maxLine)
		}
		return nil
	})
	if err == nil {
		err = flush()
	}
	if err != nil {
		return nil, nil, err
	}
	s := b.done(func(key string, line, first int) { warn(line, "alias %s is in line %d already", key, first) })
	return &entries{name, s}, warnings, nil
}

// colon finds the colon that ends an alias's name; one inside of quotes belongs to the name.
func colon(line []byte) int {
	quoted := false
	for i, c := range line {
		switch {
		case c == '"':
			quoted = !quoted
		case c == ':' && !quoted:
			return i
		}
	}
	return -1
}

// ReadClass reads the words of a class from a file: the first word of each line, # lines and empty lines left out. A
// missing file is an error unless it is optional.
func ReadClass(f prog.ClassFile) ([]string, error) {
	data, err := readRegular(f.Path)
	if err != nil {
		if f.Optional && isMissing(err) {
			return nil, nil
		}
		return nil, fmt.Errorf("%s: class file: %w", f.Pos, err)
	}
	var words []string
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if i := strings.IndexByte(line, '#'); i == 0 || i > 0 && (line[i-1] == ' ' || line[i-1] == '\t') {
			line = line[:i]
		}
		if w := strings.Fields(line); len(w) > 0 {
			words = append(words, w[0])
		}
	}
	return words, nil
}
