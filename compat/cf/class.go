package cf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"waybill/rules/prog"
)

// maxClassFile limits a class file.
const maxClassFile = 64 << 20

// classLine reads a C line: words, and $=Y for the words of another class.
func (r *reader) classLine(body string) {
	name, rest, complaints, ok := CutName(body)
	for _, c := range complaints {
		r.errorf("%s", c)
	}
	if !ok {
		return
	}
	var added, from []string
	defer func() {
		r.cfg.Lines = append(r.cfg.Lines, ClassLine{Class: name, Words: added, From: from, Pos: r.pos()})
	}()
	for _, w := range strings.Fields(expand(rest, r.macro)) {
		if strings.HasPrefix(w, string(rune(mark))+"=") {
			if other, _, _, ok := CutName(w[2:]); ok {
				if c := r.cfg.Prog.Classes[other]; c != nil {
					from = append(from, other)
					added = append(added, c.Words...)
					r.addWords(name, c.Words)
				}
				r.class(name)
				continue
			}
		}
		added = append(added, plain(w))
		r.addWords(name, added[len(added)-1:])
	}
}

func (r *reader) class(name string) *prog.Class {
	c := r.cfg.Prog.Classes[name]
	if c == nil {
		c = &prog.Class{Name: name, Pos: r.pos()}
		r.cfg.Prog.Classes[name] = c
	}
	return c
}

// addWords adds words to a class; one that is there already, whatever its case, stays as it was.
func (r *reader) addWords(name string, words []string) {
	c := r.class(name)
	have := r.words(name)
	for _, w := range words {
		k := strings.ToLower(w)
		if _, ok := have[k]; !ok {
			have[k] = struct{}{}
			c.Words = append(c.Words, r.cfg.spell(w))
		}
	}
}

func (r *reader) words(name string) map[string]struct{} {
	if r.known == nil {
		r.known = map[string]map[string]struct{}{}
	}
	if r.known[name] == nil {
		r.known[name] = map[string]struct{}{}
	}
	return r.known[name]
}

// fileClassLine reads an F line: "FX file scanf", "FX-o file", "FX|program", "FX@map".
func (r *reader) fileClassLine(body string) {
	name, rest, complaints, ok := CutName(body)
	for _, c := range complaints {
		r.errorf("%s", c)
	}
	if !ok {
		return
	}
	rest = strings.TrimLeft(plain(expand(rest, r.macro)), " \t")
	f := prog.ClassFile{Pos: r.pos()}
	if strings.HasPrefix(rest, "-o") {
		f.Optional = true
		rest = strings.TrimLeft(rest[2:], " \t")
	}
	switch {
	case strings.HasPrefix(rest, "|"):
		r.note("class "+name+" from a program", Ignored, "no program is run while a configuration is read")
		return
	case strings.HasPrefix(rest, "@") && f.Optional, strings.Contains(rest, "@LDAP"):
		r.note("class "+name+" from a map", Ignored, "classes are not read from maps")
		return
	}
	f.Path = rest
	if i := strings.IndexAny(rest, " \t"); i >= 0 {
		f.Path, f.Scan = rest[:i], strings.TrimSpace(rest[i:])
	}
	c := r.class(name)
	c.Files = append(c.Files, f)
	r.cfg.Lines = append(r.cfg.Lines, ClassLine{Class: name, File: &f, Pos: r.pos()})
	if r.opt.NoFiles {
		return
	}
	words, err := readClassFile(f)
	if err != nil {
		if f.Optional && errors.Is(err, fs.ErrNotExist) {
			return
		}
		r.errorf("fileclass: cannot open '%s': %s", f.Path, reason(err))
		return
	}
	r.addWords(name, words)
}

var errIrregular = errors.New("Regular files only")

// reason is an error in the words of the C library.
func reason(err error) string {
	var no syscall.Errno
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "No such file or directory"
	case errors.Is(err, errIrregular):
		return errIrregular.Error()
	case errors.As(err, &no):
		s := no.Error()
		return strings.ToUpper(s[:1]) + s[1:]
	}
	return err.Error()
}

// readClassFile reads the words of a class file. Without a scan format the first word of a line counts;
// the formats that are in use, "%s", "%[^#]" and "%[^:]" with variations, are understood.
func readClassFile(f prog.ClassFile) ([]string, error) {
	in, err := os.Open(f.Path)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errIrregular
	}
	if info.Size() > maxClassFile {
		return nil, fmt.Errorf("larger than %d octets", maxClassFile)
	}
	data, err := os.ReadFile(f.Path)
	if err != nil {
		return nil, err
	}
	var words []string
	for line := range strings.Lines(string(data)) {
		line = strings.TrimRight(line, "\r\n")
		if strings.HasPrefix(line, "#") {
			continue
		}
		words = append(words, scan(line, f.Scan)...)
	}
	return words, nil
}

// scan applies one scanf conversion to a line.
func scan(line, format string) []string {
	switch {
	case format == "" || format == "%s":
		if w := strings.Fields(line); len(w) > 0 {
			return w[:1]
		}
		return nil
	case strings.HasPrefix(format, "%[^") && strings.Contains(format, "]"):
		stop := strings.ReplaceAll(format[3:strings.IndexByte(format, ']')], `\`, "")
		if i := strings.IndexAny(line, stop); i >= 0 {
			line = line[:i]
		}
		return strings.Fields(line)
	case strings.HasPrefix(format, "%[") && strings.Contains(format, "]"):
		allow := format[2:strings.IndexByte(format, ']')]
		i := 0
		for i < len(line) && inSet(allow, line[i]) {
			i++
		}
		return strings.Fields(line[:i])
	}
	return strings.Fields(line)
}

// inSet reports whether a scanf set like "a-z0-9." holds c.
func inSet(set string, c byte) bool {
	for i := 0; i < len(set); i++ {
		if i+2 < len(set) && set[i+1] == '-' {
			if c >= set[i] && c <= set[i+2] {
				return true
			}
			i += 2
			continue
		}
		if set[i] == c {
			return true
		}
	}
	return false
}

// spell returns a word as it was first spelt in any class: sendmail has one table of words for all of them.
func (c *Config) spell(w string) string {
	if c.spelling == nil {
		c.spelling = map[string]string{}
	}
	k := strings.ToLower(w)
	if first, ok := c.spelling[k]; ok {
		return first
	}
	c.spelling[k] = w
	return w
}

// AddWords adds words to a class of the configuration and returns it.
func (c *Config) AddWords(name string, words []string) *prog.Class {
	k := c.Prog.Classes[name]
	if k == nil {
		k = &prog.Class{Name: name}
		c.Prog.Classes[name] = k
	}
	for _, w := range words {
		found := false
		for _, old := range k.Words {
			found = found || equalFold(old, w)
		}
		if !found {
			k.Words = append(k.Words, c.spell(w))
		}
	}
	return k
}
