package cf

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"waybill/rules/prog"
)

// maxClassFile limits a class file.
const maxClassFile = 64 << 20

// classLine reads a C line: words, and $=Y for the words of another class.
func (r *reader) classLine(body string) {
	name, rest, complaints, ok := r.cutName(body)
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
	for _, w := range strings.Fields(r.expand(rest)) {
		if strings.HasPrefix(w, string(rune(mark))+"=") {
			other, _, complaints, ok := CutName(w[2:])
			for _, c := range complaints {
				r.errorf("%s", c)
			}
			if c := r.cfg.Prog.Classes[other]; ok && c != nil {
				from = append(from, other)
				added = append(added, c.Words...)
				r.addWords(name, c.Words)
			}
			r.class(name)
			continue
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

// fileClassLine reads an F line: "FX file scanf", "FX-o file", "FX|program scanf", "FXkey@class:flags file".
func (r *reader) fileClassLine(body string) {
	name, rest, complaints, ok := r.cutName(body)
	for _, c := range complaints {
		r.errorf("%s", c)
	}
	if !ok {
		return
	}
	rest = strings.TrimLeft(plain(r.expand(rest)), " \t")
	f := prog.ClassFile{Pos: r.pos()}
	if strings.HasPrefix(rest, "-o") { // whatever follows it up to a blank belongs to it
		f.Optional = true
		if _, rest, ok = strings.Cut(strings.ReplaceAll(rest, "\t", " "), " "); ok {
			rest = strings.TrimLeft(rest, " ")
		}
	}
	if rest == "" {
		r.errorf("fileclass: missing file name")
		return
	}
	if key, spec, ok := strings.Cut(rest, "@"); ok && rest[0] != '/' && rest[0] != '|' && (strings.Contains(spec, ":") || spec == "LDAP") {
		r.mapClassLine(name, key, spec, f)
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
	r.takeWords(name, f)
}

// takeWords adds the words of a file or program to a class.
func (r *reader) takeWords(name string, f prog.ClassFile) {
	err := r.fileWords(f, func(words []string) { r.addWords(name, words) })
	var start *notStarted
	switch {
	case err == nil, f.Optional: // whatever the reason
	case errors.As(err, &start): // the real one takes the complaint of its child for words, and goes on
		r.note("class "+name+" from the program "+f.Path[1:], Ignored, "it cannot be started: "+Reason(start.why))
	default:
		r.systemErrorf("fileclass: cannot open '%s': %s", f.Path, Reason(err))
	}
}

// notStarted is a program that cannot be started.
type notStarted struct{ why error }

func (n *notStarted) Error() string { return "cannot be started: " + n.why.Error() }

// fileWords reads the words of a class from a file that may be trusted, or from a program, and gives them to add, some at
// a time.
func (r *reader) fileWords(f prog.ClassFile, add func([]string)) error {
	if strings.HasPrefix(f.Path, "|") {
		return r.readClassProgram(f, add)
	}
	if err := r.safeClass(f.Path); err != nil {
		return err
	}
	return readClassFile(f, add)
}

// ldapClass is what "F{X}@LDAP" asks a directory for (sendmail's cf/README, "Using LDAP for aliases, maps, and classes").
const ldapClass = "-k (&(objectClass=sendmailMTAClass)(sendmailMTAClassName=CLASS)(|(sendmailMTACluster=${sendmailMTACluster})(sendmailMTAHost=$j)))" +
	" -v sendmailMTAClassValue,sendmailMTAClassSearch:FILTER:sendmailMTAClass,sendmailMTAClassURL:URL:sendmailMTAClass"

// mapClassLine reads the words of a class from a map: "F{X}key@class:flags file". The value of the key is a list of words.
func (r *reader) mapClassLine(name, key, spec string, f prog.ClassFile) {
	class, args, _ := strings.Cut(spec, ":")
	if class == "LDAP" {
		class = "ldap"
		if args == "" {
			args = r.expand(strings.NewReplacer("CLASS", name, "$", string(rune(mark))).Replace(ldapClass))
		}
	}
	if !r.isMapClass(class) {
		r.errorf("fileclass: F{%s}: class %s not available", name, class)
		return
	}
	t := &prog.Table{Name: name, Class: class, Args: strings.Fields(args), Blank: r.blank, Pos: r.pos()}
	if class == "ldap" { // its values are as many words
		t.Args = append(append(slices.Clone(r.directory), `-z\n`), t.Args...)
	}
	what := "class " + name + " from a map (" + class + ")"
	if r.checkTable(t) || r.said {
		return
	}
	c := r.class(name)
	if r.opt.NoFiles || r.opt.Words == nil {
		r.note(what, Ignored, "maps are not asked here")
		return
	}
	value, found, err := r.opt.Words(t, key)
	switch {
	case err != nil && !f.Optional:
		r.errorf("fileclass: F{%s}: map open failed", name)
		r.note(what, Ignored, err.Error())
	case found:
		r.addWords(name, strings.Fields(value))
		r.note(what, Approximated, "read when the configuration is loaded, not again when the map changes")
	}
	_ = c
}

// programTime is how long a program may take that writes the words of a class.
const programTime = 30 * time.Second

// readClassProgram runs the program of "FX|program scanf"; the real one gives it no arguments and no shell.
func (r *reader) readClassProgram(f prog.ClassFile, add func([]string)) error {
	ctx, cancel := context.WithTimeout(context.Background(), programTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, f.Path[1:])
	if err := r.cfg.Program(cmd); err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return &notStarted{err}
	}
	defer context.AfterFunc(ctx, func() { out.Close() })() // a child of the program may still hold the other end
	err = scanLines(out, f.Scan, add)
	if err != nil {
		cancel() // it may write without end
	}
	if wait := cmd.Wait(); err == nil && ctx.Err() != nil {
		err = wait
	}
	return err
}

var errNoDefault = errors.New("there is no such DefaultUser")

// Reason is an error in the words of the C library.
func Reason(err error) string {
	var no syscall.Errno
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "No such file or directory"
	case errors.Is(err, fs.ErrPermission):
		return "Permission denied"
	case errors.As(err, &no):
		s := no.Error()
		return strings.ToUpper(s[:1]) + s[1:]
	}
	return err.Error()
}

// readClassFile reads the words of a class file: what its scanf format takes from each line.
func readClassFile(f prog.ClassFile, add func([]string)) error {
	info, err := os.Stat(f.Path) // before opening it: a device may do something then
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errIrregular
	}
	fd, err := unix.Open(f.Path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if info.Size() > maxClassFile {
		return errTooLarge
	}
	return scanLines(waitless(fd), f.Scan, add)
}

// waitless reads a descriptor that is not waited for: what looks like a file, but has its next line when something
// happens (/proc/kmsg), would hold up whoever reads the configuration for ever.
type waitless int

var errWaits = errors.New("the file has no end")

func (fd waitless) Read(p []byte) (int, error) {
	for {
		n, err := unix.Read(int(fd), p)
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			return 0, errWaits
		case err != nil:
			return 0, err
		case n == 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

var errTooLarge = fmt.Errorf("larger than %d octets", maxClassFile)

// scanLines reads the words from lines; those that begin with # do not count.
func scanLines(in io.Reader, format string, add func([]string)) error {
	if format == "" {
		format = "%s"
	}
	limited := &io.LimitedReader{R: in, N: maxClassFile + 1}
	lines := bufio.NewReader(limited)
	words := make([]string, 0, 256)
	for {
		line, err := lines.ReadString('\n')
		if limited.N == 0 {
			return errTooLarge
		}
		if line = strings.TrimRight(line, "\r\n"); line != "" && line[0] != '#' {
			words = append(words, strings.Fields(scan(line, format))...)
		}
		if err != nil || len(words) >= 256 {
			add(words)
			words = words[:0]
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// scan returns what the first conversion of a scanf format that stores anything takes from a line: %s and %[set], with
// a width or without, after text, blanks and conversions that are skipped (%*s).
func scan(line, format string) string {
	for i := 0; i < len(format); i++ {
		switch c := format[i]; {
		case isSpace(c):
			line = strings.TrimLeft(line, " \t\r\n\v\f")
		case c != '%' || i+1 == len(format):
			if line == "" || line[0] != c {
				return ""
			}
			line = line[1:]
		default:
			i++
			skip := format[i] == '*'
			if skip {
				i++
			}
			width := 0
			for ; i < len(format) && format[i] >= '0' && format[i] <= '9' && width < 1<<20; i++ {
				width = width*10 + int(format[i]-'0')
			}
			if width == 0 {
				width = len(line)
			}
			if i == len(format) {
				return ""
			}
			n := 0
			switch format[i] {
			case 's':
				line = strings.TrimLeft(line, " \t\r\n\v\f")
				for n < len(line) && n < width && !isSpace(line[n]) {
					n++
				}
			case '[':
				set := format[i+1:]
				not := strings.HasPrefix(set, "^")
				set = strings.TrimPrefix(set, "^")
				end := len(set) // also of one that nothing closes: a # there began a comment
				if n := strings.IndexByte(set[min(1, len(set)):], ']'); n >= 0 {
					end = n + 1 // a bracket that comes first is a member
				}
				i = len(format) - len(set) + end
				for set = set[:end]; n < len(line) && n < width && inSet(set, line[n]) != not; {
					n++
				}
			default: // numbers are no words
				return ""
			}
			if n == 0 {
				return ""
			}
			if !skip {
				return line[:n]
			}
			line = line[n:]
		}
	}
	return ""
}

func isSpace(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }

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

// PersistentMacros are the words that sendmail itself puts into the class persistentMacros when it has read its file.
func PersistentMacros() []string { return []string{"r", "s", "_", "{daemon_flags}", "{if_addr}"} }

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
