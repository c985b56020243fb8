// Package testmode is sendmail's address test mode (sendmail -bt): what flows in is one command a line, what flows out
// is what the rules of a sendmail.cf do with addresses, in the text form of sendmail 8.17, because scripts and people
// read it. The rules are run by rules/eval; this package holds the commands, and the steps around the rules that
// sendmail takes for an address (/parse, /try).
package testmode

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"runtime/debug"
	"strings"

	"waybill/compat/cf"
	"waybill/rules/addr"
	"waybill/rules/eval"
	"waybill/rules/prog"
	"waybill/rules/trace"
	"waybill/transport/sysexits"
)

// Config is what the wiring gives. Everything may be zero.
type Config struct {
	File     string        // when -C is not given
	Resolver eval.Resolver // for DNS; nil: lookups say "not now"
	Host     cf.Host
	// Read reads the configuration; nil: cf.ReadFile.
	Read   func(file string, how cf.Options) (*cf.Config, error)
	Stderr io.Writer // for programs of maps; nil: what they complain of is lost
	LDAP   string    // the program that asks directories; empty: the one beside this one
	Trust  bool      // the modes of files do not count, for tests
}

// options tell how the file is read.
func (c Config) options() cf.Options {
	o := cf.Options{Host: c.Host, Mode: "t", NoNotes: true, CheckTable: eval.CheckTable, Trust: c.Trust, Words: func(t *prog.Table, key string) (string, bool, error) {
		return eval.AskOnce(t, key, eval.TableEnv{Resolver: c.Resolver, LDAP: c.LDAP})
	}}
	if c.Resolver != nil {
		o.KnownHost = func(name string) bool { return eval.KnownHost(context.Background(), name, c.Resolver) }
	}
	return o
}

// steps is how much one address may cost here, where a person waits: more than for mail.
const steps = 2 << 20

// chunk is how much of a line the real one reads at once: the rest of a longer line is a command of its own [12].
const chunk = 2047

// session is one run of test mode.
type session struct {
	cfg      *cf.Config
	ready    *eval.Engine // nil until somebody asks for the rules, see engine
	prepare  func() (*eval.Engine, error)
	state    *eval.State
	resolver eval.Resolver
	tokens   []addr.Token // memory for what a list of rulesets makes
	out      *bufio.Writer
	ctx      context.Context
	header   bool // /tryflags H
	sender   bool // /tryflags S
	status   int
	debug    debugging
	called   map[*prog.Rule]bool // rules that have called a ruleset: sendmail takes the quotes off the name then
	late     map[string]int      // numbers that were given late, see cf.Config.Nameless
	parsing  bool                // /parse is at work
	about    string              // the address that messages of tables name
}

// Main runs test mode with sendmail's arguments (those behind the name of the program) and returns the exit status.
func Main(args []string, stdin io.Reader, stdout io.Writer, conf Config) int {
	defer debug.SetGCPercent(debug.SetGCPercent(800)) // a short-lived program with little memory
	out := bufio.NewWriterSize(stdout, 64<<10)
	defer out.Flush()
	file := conf.File
	for i := 0; i < len(args); i++ {
		if strings.HasPrefix(args[i], "-C") {
			file = args[i][2:]
			if file == "" && i+1 < len(args) {
				i++
				file = args[i]
			}
		}
	}
	if file == "" {
		file = "/etc/mail/sendmail.cf"
	}
	if conf.Host.Name == "" {
		conf.Host = cf.LocalHost("/etc/hosts")
	}
	if conf.Read == nil {
		conf.Read = cf.ReadFile
	}
	c, err := conf.Read(file, conf.options())
	if err != nil {
		fmt.Fprintln(out, cf.CannotRead(file, err))
		return 72
	}
	for _, m := range c.Messages {
		fmt.Fprintln(out, m)
	}
	if c.Fatal != 0 {
		return c.Fatal
	}
	s := &session{cfg: c, late: map[string]int{}, called: map[*prog.Rule]bool{}, out: out, ctx: context.Background(), resolver: conf.Resolver}
	if c.Errors > 0 {
		s.status = c.Exit
	}
	s.prepare = func() (*eval.Engine, error) {
		hosts, _ := c.Option("HostsFile", "")
		users, _ := c.Option("UserDatabaseSpec", "")
		service, _ := c.Option("ServiceSwitchFile", "")
		_, domain, _ := strings.Cut(conf.Host.Name, ".")
		unsafe := c.SafeMap
		if conf.Trust {
			unsafe = nil
		}
		tables, _ := eval.OpenTables(c.Prog, eval.TableEnv{
			Resolver: conf.Resolver, Hosts: hosts, Services: service, Domain: domain, KeepAliases: c.Bool("DontExpandCnames", false), Macro: s.macro, Unsafe: unsafe, LDAP: conf.LDAP, Program: c.Program, UserDatabase: users, Stderr: s.beside(conf.Stderr),
		})
		return eval.New(c.Prog, eval.Options{Tables: tables, Steps: steps, Called: func(r *prog.Rule) { s.called[r] = true }})
	}
	s.state = &eval.State{Macros: firstMacros(c.Prog), Tracer: &talker{Text: trace.Text{W: out}, s: s}}
	fmt.Fprint(out, "ADDRESS TEST MODE (ruleset 3 NOT automatically invoked)\nEnter <ruleset> <address>\n")
	s.loop(stdin)
	return s.status
}

// engine is what runs the rules. It is made ready when the first command asks for it, as the real one opens its maps: many
// a script only looks at macros and classes, or whether the file can be read.
func (s *session) engine() *eval.Engine {
	if s.ready != nil {
		return s.ready
	}
	e, err := s.prepare()
	if err != nil { // no file is large enough for so many words
		fmt.Fprintln(s.out, err)
		s.exit(sysexits.Software)
		e, _ = eval.New(prog.New(), eval.Options{})
	}
	s.ready = e
	return e
}

// talker renders the trace; what tables say about names of hosts, it says about the address at hand.
type talker struct {
	trace.Text
	s *session
}

// Wants tells which events are shown.
func (t *talker) Wants() trace.Kind { return t.Text.Wants() | t.s.debug.wants() }

// Lines lets the engine write the trace itself, unless it is being debugged.
func (t *talker) Lines() *trace.Text {
	if t.s.debug.level > 0 {
		return nil
	}
	return &t.Text
}

// Event writes the event's line.
func (t *talker) Event(e *trace.Event) {
	if t.s.debug.level > 0 {
		t.s.out.WriteString(t.s.debug.event(e))
	}
	if e.Kind == trace.Message && t.s.parsing && t.s.about != "" && strings.HasPrefix(e.Text, "DNS failure:") {
		t.s.tell(t.s.about, e.Text)
		return
	}
	if e.Kind == trace.Message {
		t.s.failed(e.Text)
	}
	t.Text.Event(e)
}

// failed keeps the exit status that the first complaint of a table or the engine leads to: that of an error of the
// system's where the complaint ends in one, else that of the configuration's.
func (s *session) failed(says string) {
	if s.status != 0 || strings.HasSuffix(says, ": Name server timeout") || strings.HasPrefix(says, "DNS failure:") || strings.Contains(says, "... Unbalanced '") {
		return // what DNS does is nobody's fault, and what stands in values is shown only
	}
	s.status = 70
	if i := strings.Index(says, " map file /"); i >= 0 && strings.Contains(says[i:], ": ") {
		s.status = 71
	}
}

// macro gives tables the value of a macro.
func (s *session) macro(name string) string {
	if s.state == nil {
		return s.cfg.Prog.Macros[name]
	}
	v, _ := s.state.Macros.Get(name)
	return v
}

// loop reads commands until the input ends or /quit.
func (s *session) loop(stdin io.Reader) {
	in := bufio.NewReaderSize(&flusher{stdin, s.out}, 64<<10)
	for {
		s.out.WriteString("> ")
		line, err := readChunk(in)
		if err != nil && line == "" {
			return
		}
		if !s.command(line) {
			return
		}
	}
}

// flusher shows what was written before it waits for input.
type flusher struct {
	r io.Reader
	w *bufio.Writer
}

func (f *flusher) Read(p []byte) (int, error) {
	f.w.Flush()
	return f.r.Read(p)
}

// readChunk reads a line without its end, or as much of it as the real one reads at once.
func readChunk(in *bufio.Reader) (string, error) {
	if in.Buffered() > 0 {
		some, _ := in.Peek(min(in.Buffered(), chunk))
		if i := bytes.IndexByte(some, '\n'); i >= 0 {
			line := string(some[:i])
			_, err := in.Discard(i + 1)
			return line, err
		}
	}
	var b []byte
	for len(b) < chunk {
		c, err := in.ReadByte()
		if err != nil {
			return string(b), err
		}
		if c == '\n' {
			return string(b), nil
		}
		b = append(b, c)
	}
	return string(b), nil
}

// command runs one line. It returns false after /quit.
func (s *session) command(line string) bool {
	line = strings.TrimLeft(line, " \t\v\f\r")
	if i := strings.IndexByte(line, 0); i >= 0 {
		line = line[:i]
	}
	if line == "" {
		return true
	}
	switch line[0] {
	case '#':
	case '?':
		s.help()
	case '.':
		s.define(line)
	case '=':
		s.dump(line)
	case '-':
		switch {
		case line == "-":
			fmt.Fprint(s.out, "Usage: -d{debug arguments}\n")
		case strings.HasPrefix(line, "-d"):
			s.debug.set(line[2:])
		default:
			fmt.Fprintf(s.out, "Unknown \"-\" command %s\n", line)
		}
	case '$':
		s.show(line)
	case '/':
		return s.slash(line)
	default:
		s.rulesets(line)
	}
	return true
}

// define is ".Dmvalue" and ".Ccwords".
func (s *session) define(line string) {
	if len(line) == 1 {
		fmt.Fprint(s.out, "Usage: .[DC]macro value(s)\n")
		return
	}
	switch line[1] {
	case 'D':
		name, value, complaints, ok := cf.CutName(line[2:])
		s.complain(complaints)
		if ok {
			if trimmed := strings.TrimRight(value, " \t"); trimmed != "" || value == "" { // nothing but blanks is a value
				value = trimmed
			}
			s.state.Macros.Set(name, strings.ReplaceAll(value, "$$", "$"))
		}
	case 'C':
		if len(line) == 2 {
			return
		}
		name, words, complaints, ok := cf.CutName(line[2:])
		s.complain(complaints)
		if ok {
			s.addWords(name, strings.Fields(words))
		}
	default:
		fmt.Fprintf(s.out, "Unknown \".\" command %s\n", line)
	}
}

func (s *session) addWords(name string, words []string) {
	c := s.cfg.AddWords(name, words)
	if s.ready != nil { // else it will see them
		s.ready.SetClass(name, c.Words)
	}
}

func (s *session) complain(lines []string) {
	for _, l := range lines {
		fmt.Fprintln(s.out, l)
		s.exit(sysexits.Software)
	}
}

// exit sets the status with which the session will end, unless there is one.
func (s *session) exit(status int) {
	if s.status == 0 {
		s.status = status
	}
}

// show is "$m" and "$=c".
func (s *session) show(line string) {
	if strings.HasPrefix(line, "$=") {
		name, _, complaints, ok := cf.CutName(line[2:])
		s.complain(complaints)
		if !ok {
			return
		}
		for _, w := range s.listed(name) {
			fmt.Fprintln(s.out, w)
		}
		return
	}
	name, _, complaints, ok := cf.CutName(line[1:])
	s.complain(complaints)
	if !ok {
		return
	}
	v, set := s.state.Macros.Get(name)
	if !set && strings.Contains(symbols, name) {
		fmt.Fprintf(s.out, "$%s\n", name)
		return
	}
	if !set {
		fmt.Fprint(s.out, "Undefined\n")
		return
	}
	fmt.Fprintln(s.out, show(v))
}

// dump is "=Sruleset" and "=M".
func (s *session) dump(line string) {
	switch {
	case len(line) == 1:
		fmt.Fprint(s.out, "Usage: =Sruleset or =M\n")
	case line[1] == 'S':
		rs := s.ruleset(line[2:])
		if rs == nil {
			return
		}
		for _, r := range rs.Rules {
			s.dumpRule(r)
		}
	case line[1] == 'M':
		for i, m := range s.cfg.Mailers {
			charset := ""
			if m.Charset != "" {
				charset = " C=" + m.Charset
			}
			fmt.Fprintf(s.out, "mailer %d (%s): P=%s S=%s/%s R=%s/%s M=%d U=%d:%d F=%s L=%d E=%s%s T=%s/%s/%s r=%d A=%s\n", i, m.Name, m.Path,
				s.nameOf(m.EnvSender), s.nameOf(m.HdrSender), s.nameOf(m.EnvRcpt), s.nameOf(m.HdrRcpt), m.MaxSize, m.UID, m.GID,
				m.Flags, m.LineLimit, escape(m.EOL), charset, undefined(m.Types[0]), undefined(m.Types[1]), undefined(m.Types[2]), m.MaxRcpts, m.Args)
		}
	default:
		fmt.Fprintf(s.out, "Unknown \"=\" command %s\n", line)
	}
}

func undefined(t string) string {
	if t == "" {
		return "<undefined>"
	}
	return t
}

func escape(eol string) string {
	return strings.NewReplacer("\r", `\r`, "\n", `\n`, "\t", `\t`).Replace(eol)
}

// slash runs a command that begins with a slash; words are matched without regard to case.
func (s *session) slash(line string) bool {
	word, arg := line[1:], ""
	if i := strings.IndexAny(word, " \t"); i >= 0 {
		word, arg = word[:i], strings.TrimLeft(word[i:], " \t")
	}
	usage := func(text string) { fmt.Fprintf(s.out, "Usage: %s\n", text) }
	switch strings.ToLower(word) {
	case "":
		usage("/[canon|map|mx|parse|try|tryflags]")
	case "quit":
		return false
	case "mx":
		if arg == "" {
			usage("/mx address")
			break
		}
		s.mx(arg)
	case "canon":
		if arg == "" {
			usage("/canon address")
			break
		}
		s.canon(arg)
	case "parse":
		if arg = strings.TrimRight(arg, " \t"); arg == "" {
			usage("/parse address")
			break
		}
		s.parse(arg)
	case "try":
		mailer, address, ok := strings.Cut(arg, " ")
		if !ok || strings.TrimSpace(address) == "" {
			usage("/try mailer address")
			break
		}
		s.try(mailer, address)
	case "tryflags":
		if arg == "" {
			usage("/tryflags [Hh|Ee][Ss|Rr]")
			break
		}
		for _, c := range strings.ToLower(arg) {
			switch c {
			case 'h':
				s.header = true
			case 'e':
				s.header = false
			case 's':
				s.sender = true
			case 'r':
				s.sender = false
			}
		}
		s.addrType()
	case "map":
		s.lookup(arg)
	case "header":
		s.headerLine(arg)
	case "sender":
		s.setSender(strings.TrimSpace(arg))
	case "expand": // a dollar sign that is typed is only one
		if arg == "" {
			usage("/expand string")
			break
		}
		s.out.WriteString(arg)
	case "gethostbyname": // the real one shows what it found only when it is being debugged
	default:
		fmt.Fprintf(s.out, "Unknown \"/\" command /%s\n", word)
	}
	return true
}

// addrType sets the macro that tells rules what they rewrite.
func (s *session) addrType() {
	v := "e r"
	switch {
	case s.header && s.sender:
		v = "h s"
	case s.header:
		v = "h r"
	case s.sender:
		v = "e s"
	}
	s.state.Macros.Set("addr_type", v)
}
