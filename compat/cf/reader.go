package cf

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"waybill/rules/addr"
	"waybill/rules/prog"
)

// Options change how a file is read.
type Options struct {
	Host Host
	Mode string // value of ${opMode} while reading: the letter of -b
	// Lookup finds user and group numbers for mailers (U=); nil: the passwd and group files of the machine.
	Lookup func(user, group string) (uid, gid int, err error)
	// CheckTable looks at a map's declaration; it returns what sendmail says about it, one line for each complaint and
	// empty when all is well, and whether there is no asking such a map.
	CheckTable func(*prog.Table, *prog.Program) (say string, broken bool)
	// KnownHost reports whether a host name exists, for options that name one; nil: all do.
	KnownHost func(name string) bool
	// Words asks a map for the words of a class (F lines with "@"): found tells whether the key is there. nil: there is no asking.
	Words func(t *prog.Table, key string) (value string, found bool, err error)
	// Trust leaves out the checks of owners and modes of files, for tests.
	Trust bool
	// NoFiles keeps the reader from opening class files and running programs for F lines, for conversion and tests.
	NoFiles bool
	// Define is put in front of the file: macros and options of the command line, as lines ("Mname=..." is not).
	Define []string
	// NoNotes leaves Config.Notes empty, for who reports nothing: most of them say that a line is read exactly.
	NoNotes bool
	long    bool // R lines are read without short cuts, for tests
}

// Limits of a file. The real reader takes lines of 2,048 octets; ours are longer, but not without end.
const (
	maxLine = 1 << 20
	maxFile = 4 << 20 // rules take some 50 times their text in memory; the largest known files have 200 KB
)

type reader struct {
	cfg       *Config
	opt       Options
	line      int
	ended     int               // lines that have ended: what messages have for the number of the current one
	macros    map[string]string // in marked form
	cur       *prog.Ruleset
	nextNamed int
	syn       *addr.Syntax
	operators string
	blank     string
	known     map[string]map[string]struct{} // words of classes, in lower case
	options   []entry
	classes   []entry     // of maps
	flags     *[256]entry // of mailers
	said      bool        // a message about the current line makes its note "ignored"
	remarked  string      // the last remark about the current line that is no error
	source    string      // the current line as it stands
	quick     quick
	ruled     bool // there was a rule: OperatorChars does not count any more
	// operatorsSet tells that OperatorChars was given; mailboxes is a MailboxDatabase that does not exist; aliases counts alias files.
	operatorsSet bool
	mailboxes    string
	directory    []string // LDAPDefaultSpec: what every ldap map behind it begins with
	aliases      int
}

// ReadFile reads a configuration file. The error says that the file cannot be read at all; what is wrong inside of it
// is in Config.Messages.
func ReadFile(path string, opt Options) (*Config, error) {
	info, err := os.Stat(path) // before opening it: a FIFO would wait for somebody
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: line 0: not a plain file", path)
	}
	if info.Mode()&0o444 == 0 { // for root, too
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrPermission}
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	c, err := Read(f, path, opt)
	if err == nil && info.Mode()&0o022 != 0 && !opt.Trust {
		c.Writable = true
	}
	return c, err
}

// whole reads a file. With an error, the text is what was read until then.
func whole(in io.Reader) (string, error) {
	var b strings.Builder
	if f, ok := in.(*os.File); ok {
		if info, err := f.Stat(); err == nil {
			b.Grow(int(min(info.Size(), maxFile)) + 1)
		}
	}
	n, err := io.Copy(&b, io.LimitReader(in, maxFile+1))
	if err == nil && n > maxFile {
		err = fmt.Errorf("the file is larger than %d octets", maxFile)
	}
	return b.String(), err
}

// Read reads a configuration from in; name stands in messages.
func Read(in io.Reader, name string, opt Options) (*Config, error) {
	r := &reader{
		cfg: &Config{File: name, Prog: prog.New(), Host: opt.Host}, opt: opt, macros: map[string]string{}, nextNamed: firstNamed,
		operators: addr.OldOperators, blank: " ",
	}
	r.cfg.Level = 0
	r.defaults()
	text, err := whole(in)
	nul := strings.IndexByte(text, 0) >= 0
	if err != nil {
		return nil, fmt.Errorf("%s: line %d: %w", name, 1+strings.Count(text, "\n"), err)
	}
	if !opt.NoNotes {
		r.cfg.Notes = make([]Note, 0, strings.Count(text, "\n")+1)
	}
	for n, at := 1, 0; at < len(text) && r.cfg.Fatal == 0; {
		r.line = n
		begin, end := at, 0
		for { // a line, and those behind it that begin with white space
			line := text[at:]
			if i := strings.IndexByte(line, '\n'); i >= 0 {
				line = line[:i]
			}
			end = at + len(line)
			if end-begin > maxLine {
				return nil, fmt.Errorf("%s: line %d: longer than %d octets", name, n, maxLine)
			}
			at, n = end+1, n+1
			if at >= len(text) || text[at] != ' ' && text[at] != '\t' {
				break
			}
		}
		if r.ended = n - 1; end == len(text) {
			r.ended--
		}
		line := text[begin:end]
		if nul { // what is behind it is not seen
			line, _, _ = strings.Cut(line, "\x00")
		}
		r.one(line)
	}
	if r.cfg.Fatal == 0 {
		r.finish()
	}
	return r.cfg, nil
}

func (r *reader) pos() prog.Pos { return prog.Pos{File: r.cfg.File, Line: r.line} }

// place is where the real one says that it is.
func (r *reader) place() prog.Pos { return prog.Pos{File: r.cfg.File, Line: r.ended} }

// errorf records an error with its place.
func (r *reader) errorf(format string, args ...any) {
	r.cfg.Messages = append(r.cfg.Messages, Message{r.place(), shown(fmt.Sprintf(format, args...))})
	r.cfg.Errors++
	r.said = true
	r.cfg.Exit = cmp.Or(r.cfg.Exit, 70)
}

// systemErrorf records an error of the system's.
func (r *reader) systemErrorf(format string, args ...any) {
	r.cfg.Exit = cmp.Or(r.cfg.Exit, 71)
	r.errorf(format, args...)
}

// remark records a message with its place that is no error.
func (r *reader) remark(format string, args ...any) {
	r.remarked = shown(fmt.Sprintf(format, args...))
	r.cfg.Messages = append(r.cfg.Messages, Message{r.place(), r.remarked})
}

// die records an error at which the real one stops at once, with the exit status for a wrong use.
func (r *reader) die(format string, args ...any) {
	r.errorf(format, args...)
	r.cfg.Fatal = 64
}

// say records a message that sendmail prints without a place.
func (r *reader) say(format string, args ...any) {
	r.cfg.Messages = append(r.cfg.Messages, Message{Text: shown(fmt.Sprintf(format, args...))})
}

func (r *reader) note(what string, how Exactness, why string) {
	if !r.opt.NoNotes {
		r.cfg.Notes = append(r.cfg.Notes, Note{Pos: r.pos(), What: what, How: how, Why: why, Harm: r.said})
	}
}

// noteEntry adds what a table says about something.
func (r *reader) noteEntry(what string, e entry) {
	if !r.opt.NoNotes {
		r.cfg.Notes = append(r.cfg.Notes, Note{Pos: r.pos(), What: what, How: e.how, Why: e.why, Harm: e.harm})
	}
}

func (r *reader) syntax() *addr.Syntax {
	if r.syn == nil {
		r.quick.octets = nil
		r.syn = addr.New(r.operators, addr.BlankSub(r.blank))
	}
	return r.syn
}

// names looks at the names in braces behind dollar signs: characters that no name may have go, and where the brace is not
// closed, so does the rest of the line.
func (r *reader) names(line string) string {
	var b strings.Builder
	done := 0 // what of the line is in b
	for i := 0; i+2 < len(line); i++ {
		if line[i] != mark {
			continue
		}
		at := i + 1
		if strings.IndexByte("=~&?", line[at]) >= 0 {
			at++
		}
		if line[at:] == "" || line[at] != '{' {
			continue
		}
		name, rest, complaints, ok := CutName(line[at:])
		closed := strings.IndexByte(line[at:], '}') >= 0
		if closed && (!ok || len(complaints) == 0) {
			continue
		}
		for _, c := range complaints {
			r.errorf("%s", c)
		}
		b.WriteString(line[done:at])
		if !closed {
			return b.String()
		}
		b.WriteString("{" + name + "}")
		done = len(line) - len(rest)
		i = done - 1
	}
	if done == 0 {
		return line
	}
	return b.String() + line[done:]
}

// one reads one line with its continuation lines.
func (r *reader) one(raw string) {
	if raw == "" || raw[0] == '#' {
		return
	}
	if raw[0] == 'R' && !r.opt.long && r.quickRule(raw) {
		r.said = false
		r.note("rule", Exact, "")
		return
	}
	line := prepare(raw, r.cfg.Level)
	if line == "" {
		return
	}
	r.said, r.remarked, r.source = false, "", raw
	line = r.names(line)
	before := len(r.cfg.Notes)
	letter, body := line[0], line[1:]
	switch letter {
	case 'R':
		r.ruleLine(strings.ReplaceAll(body, "\n", ""), raw)
		r.noteDefault(before, "rule")
	case 'S':
		r.rulesetLine(r.expand(body))
		r.noteDefault(before, "ruleset "+body)
	case 'D':
		r.defineLine(join(body))
		r.noteDefault(before, "macro")
	case 'C':
		r.classLine(join(body))
		r.noteDefault(before, "class")
	case 'F':
		r.fileClassLine(join(body))
		r.noteDefault(before, "class file")
	case 'K':
		r.tableLine(r.expand(join(body)))
	case 'M':
		r.mailerLine(join(body))
		r.noteDefault(before, "mailer")
	case 'H':
		r.headerLine(body)
		r.noteDefault(before, "header")
	case 'O':
		r.optionLine(join(body))
	case 'P':
		r.priorityLine(join(body))
		r.noteDefault(before, "precedence")
	case 'T':
		words := strings.Fields(plain(join(body)))
		r.addWords("t", words)
		r.cfg.Trusted = append(r.cfg.Trusted, words...)
		r.cfg.Lines = append(r.cfg.Lines, ClassLine{Class: "t", Words: words, Pos: r.pos()})
		r.noteDefault(before, "trusted users")
	case 'V':
		r.levelLine(body)
		r.noteDefault(before, "version")
	case 'E':
		if body != "" {
			r.cfg.Env = append(r.cfg.Env, plain(body))
		}
		r.noteDefault(before, "environment")
	case 'Q':
		r.queueLine(plain(join(body)))
		r.noteDefault(before, "queue group")
	case 'X':
		r.milterLine(plain(join(body)))
		r.noteDefault(before, "mail filter")
	default:
		r.errorf("unknown configuration line \"%s\"", line)
		r.note("line "+plain(line[:1]), Ignored, "no such kind of line")
	}
}

// noteDefault adds the note for a line when the line's own code has not: exact, or ignored after an error.
func (r *reader) noteDefault(before int, what string) {
	if r.opt.NoNotes || len(r.cfg.Notes) > before {
		return
	}
	if r.said {
		r.note(what, Approximated, r.cfg.Messages[len(r.cfg.Messages)-1].Text)
		return
	}
	r.note(what, Exact, "")
}

// join makes one line of a line and its continuation lines.
func join(s string) string { return strings.ReplaceAll(s, "\n", "") }

// levelLine reads "V10/Berkeley".
func (r *reader) levelLine(body string) {
	i := 0
	for i < len(body) && body[i] >= '0' && body[i] <= '9' {
		i++
	}
	if i == 0 {
		r.errorf("invalid argument to V line: \"%s\"", body)
		return
	}
	fmt.Sscan(body[:min(i, 9)], &r.cfg.Level)
	r.cfg.Prog.Level = r.cfg.Level
	if rest := body[i:]; strings.HasPrefix(rest, "/") {
		vendor := rest[1:]
		if j := strings.IndexFunc(vendor, func(c rune) bool { return !isNameChar(byte(c)) }); j >= 0 {
			vendor = vendor[:j]
		}
		if !equalFold(vendor, "berkeley") {
			r.errorf("invalid V line vendor code: \"%s\"", rest[1:])
			return
		}
		r.cfg.Vendor = vendor
	}
}

// defineLine reads a D line: the value is kept as it stands, with quotes around it taken off.
func (r *reader) defineLine(body string) {
	name, value, complaints, ok := r.cutName(body)
	for _, c := range complaints {
		r.errorf("%s", c)
	}
	if !ok {
		return
	}
	r.setMacro(name, shortNames(unquote(value)))
}

func (r *reader) setMacro(name, value string) {
	r.macros[name] = value
	r.cfg.Prog.Macros[name] = plain(value)
	if name == "o" && r.cfg.Level < 7 && !r.ruled && !r.operatorsSet {
		r.operators, r.syn = value, nil
	}
}

// shortNames writes references to macros of one letter without braces, as they are shown later.
func shortNames(s string) string {
	for i := 0; i+3 < len(s); i++ {
		if s[i] != mark {
			continue
		}
		j := i + 1
		if (s[j] == '&' || s[j] == '?') && j+3 < len(s) {
			j++
		}
		if j+2 < len(s) && s[j] == '{' && s[j+2] == '}' && isNameChar(s[j+1]) {
			s = s[:j] + s[j+1:j+2] + s[j+3:]
		}
	}
	return s
}

// unquote takes the quotation marks out of a macro's value.
func unquote(s string) string {
	if strings.IndexByte(s, '"') < 0 {
		return s
	}
	var b strings.Builder
	quoted := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && i+1 < len(s):
			b.WriteByte(c)
			i++
			b.WriteByte(s[i])
		case c == '"':
			quoted = !quoted
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// finish is what the real reader does behind the last line.
func (r *reader) finish() {
	p := r.cfg.Prog
	p.Operators, p.BlankSub = r.operators, r.blank
	p.Level = r.cfg.Level
	if m := r.macros["m"]; m != "" {
		r.addWords("m", []string{plain(m)})
	}
	if j, ok := r.macros["j"]; ok {
		name, err := expand(j, r.macro)
		if err != nil {
			r.say("%v", err)
		}
		if name = plain(name); name != "" {
			r.addWords("w", []string{name})
		}
	}
	r.probe()
	for _, w := range PersistentMacros() {
		r.cfg.spell(w)
	}
	r.resolveMailers()
	r.cfg.NextNamed = r.nextNamed
	if r.cfg.Level > MaxLevel {
		r.say("Warning: .cf version level (%d) exceeds sendmail version %s functionality (%d)", r.cfg.Level, Version, MaxLevel)
		r.cfg.Errors++
		r.cfg.Exit = cmp.Or(r.cfg.Exit, 70)
	} else if r.cfg.Level < MaxLevel {
		r.say("Warning: .cf file is out of date: sendmail %s supports version %d, .cf file is version %d", Version, MaxLevel, r.cfg.Level)
	}
	r.afterwards()
	if r.cfg.Mailer("local") == nil {
		r.say("No local mailer defined")
		r.cfg.Errors++
		r.cfg.Exit = cmp.Or(r.cfg.Exit, 70)
	}
	if r.mailboxes != "" {
		r.say("Can't initialize mailbox database \"%s\": Service unavailable", r.mailboxes)
		r.cfg.Fatal = 69
	}
}

// afterwards are warnings about options that do not fit together.
func (r *reader) afterwards() {
	c := r.cfg
	if v, ok := c.Option("SuperSafe", ""); ok && first(v) == "i" {
		if mode, _ := c.Option("DeliveryMode", ""); first(mode) != "i" {
			r.say("WARNING: SuperSafe=interactive should only be used with\n         DeliveryMode=interactive")
		}
	}
	if dir, _ := c.Option("HostStatusDirectory", ""); dir == "" && c.Bool("SingleThreadDelivery", false) {
		r.say("Warning: HostStatusDirectory required for SingleThreadDelivery")
	}
}

// cutName is CutName for a line of the file, where a blank may be a name.
func (r *reader) cutName(body string) (name, rest string, complaints NameError, ok bool) {
	if body != "" && (body[0] == ' ' || body[0] == '\t') {
		return body[:1], body[1:], nil, true
	}
	return CutName(body)
}

// CannotRead is what sendmail says about a file that cannot be read at all; what it has no words for is said in ours.
func CannotRead(file string, err error) string {
	var path *fs.PathError
	if errors.As(err, &path) {
		return fmt.Sprintf("%s: line 0: cannot open: %s", file, Reason(err))
	}
	return err.Error()
}
