// Package vacation answers mail for users who are away. In flow the command line of vacation(1), as a .forward file has
// it, and a message on standard input that begins with a "From " line; out flows, at most once per sender and interval,
// a reply made of the user's .vacation.msg, handed to sendmail. It obeys RFC 3834: what machines, lists and daemons wrote
// is never answered, and its own replies say that they are automatic.
//
// The senders who had a reply are kept in a text file of our own, one line each, in place of the Berkeley database of
// other vacations.
package vacation

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"waybill/compat/getopt"
	"waybill/transport/envelope"
	"waybill/transport/sysexits"
)

// Env is what the program sees of the world.
type Env struct {
	In       io.Reader
	Out, Err io.Writer
	Now      time.Time
	// Home finds a user's home directory.
	Home func(login string) (dir string, found bool)
	// Send runs sendmail with these arguments and this message.
	Send func(args []string, message io.Reader) error
	// Log takes errors unless -d sends them to Err.
	Log func(line string)
}

const (
	week       = 7 * 24 * time.Hour
	forever    = time.Duration(1<<63 - 1)
	maxMessage = 1 << 20 // of .vacation.msg
)

// options is the command line.
type options struct {
	aliases                   []string
	debug, initialise, always bool
	list, exclude             bool
	null, noUser              bool
	databaseGiven             bool
	messageGiven              bool
	database, message         string
	returnAddress, sender     string
	interval                  time.Duration
	intervalGiven             bool
	login                     string
}

const usage = "usage: vacation [-a alias] [-C cffile] [-d] [-f db] [-i] [-I] [-j] [-l] [-m msg] [-R returnaddr] [-r interval] [-s sender] [-t time] [-U] [-x] [-z] login"

// Flags are the letters of the command line, those with a value followed by a colon. The manual lists the same.
const Flags = "a:C:df:iIjlm:R:r:s:t:Uxz"

func parse(args []string) (options, error) {
	o := options{database: ".vacation.db", message: ".vacation.msg", interval: week}
	args, err := getopt.Parse(args, Flags, func(letter byte, value string) error {
		o.set(letter, value)
		return nil
	})
	if err != nil {
		return o, err
	}
	switch {
	case len(args) != 1 && !(len(args) == 0 && (o.initialise || o.list || o.exclude)):
		return o, errors.New("one login name is needed")
	case len(args) == 1:
		o.login = args[0]
	}
	return o, nil
}

func (o *options) set(c byte, value string) {
	switch c {
	case 'a':
		o.aliases = append(o.aliases, value)
	case 'd':
		o.debug = true
	case 'f':
		o.database, o.databaseGiven = value, true
	case 'i', 'I':
		o.initialise = true
	case 'j':
		o.always = true
	case 'l':
		o.list = true
	case 'm':
		o.message, o.messageGiven = value, true
	case 'R':
		o.returnAddress = value
	case 'r':
		o.intervalGiven, o.interval = true, forever
		if days, err := strconv.Atoi(value); err == nil && days > 0 && days < 36500 {
			o.interval = time.Duration(days) * 24 * time.Hour
		}
	case 's':
		o.sender = value
	case 'U':
		o.noUser = true
	case 'x':
		o.exclude = true
	case 'z':
		o.null = true
	} // C and t: nothing here depends on them
}

// Run is the program. A problem is told on standard error with -d, else to the log: whoever wrote must not see it. The
// exit status is 0 also when no reply is due.
func Run(args []string, env Env) int {
	o, err := parse(args)
	complain := func(exit int, err error) int {
		line := "vacation: " + err.Error()
		if o.debug || env.Log == nil {
			fmt.Fprintln(env.Err, line)
		} else {
			env.Log(line)
		}
		return exit
	}
	if err != nil {
		if o.debug || env.Log == nil { // nobody reads it elsewhere
			fmt.Fprintln(env.Err, usage)
		}
		return complain(sysexits.Usage, err)
	}
	if quiet := o.initialise || o.list || o.exclude; o.noUser && !quiet && !(o.databaseGiven && o.messageGiven) {
		fmt.Fprintln(env.Err, "vacation: -U requires setting both -f and -m")
		return sysexits.NoInput
	}
	if !o.noUser {
		home, found := env.Home(o.login)
		if !found {
			return complain(sysexits.NoUser, fmt.Errorf("no such user %q", o.login))
		}
		o.database, o.message = inHome(home, o.database), inHome(home, o.message)
	}
	switch {
	case o.initialise || o.exclude:
		err = o.init(env)
	case o.list:
		err = o.print(env)
	default:
		err = o.answer(env)
	}
	switch {
	case err == nil:
		return sysexits.OK
	case errors.Is(err, fs.ErrNotExist):
		return complain(sysexits.NoInput, err)
	case errors.Is(err, errMalformed):
		return complain(sysexits.DataErr, err)
	}
	return complain(sysexits.TempFail, err)
}

var errMalformed = errors.New("malformed")

func inHome(home, file string) string {
	if filepath.IsAbs(file) {
		return file
	}
	return filepath.Join(home, file)
}

// init makes the database, and with -x notes who never gets a reply.
func (o *options) init(env Env) error {
	return withStore(o.database, o.initialise, func(s *store) error {
		if o.intervalGiven || o.initialise {
			s.interval = o.interval
		}
		if !o.exclude {
			return nil
		}
		text, err := io.ReadAll(io.LimitReader(env.In, maxMessage))
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(text)) {
			if addr := strings.TrimSpace(line); addr != "" {
				s.exclude(addr)
			}
		}
		return nil
	})
}

func (o *options) print(env Env) error {
	s, err := readStore(o.database)
	if err != nil {
		return err
	}
	for _, e := range s.entries {
		when := "(exclusion)"
		if !e.never {
			when = e.when.Format(time.ANSIC)
		}
		fmt.Fprintf(env.Out, "%-40s %s\n", e.address, when)
	}
	return nil
}

// answer reads a message and replies to it where that is due.
func (o *options) answer(env Env) error {
	m, err := read(env.In)
	if err != nil {
		return err
	}
	if o.sender != "" {
		m.sender = o.sender
	}
	if m.sender == "" && !m.hadFrom {
		return fmt.Errorf("%w: no initial \"From\" line", errMalformed)
	}
	names := append([]string{o.login}, o.aliases...)
	if o.refuses(m, names) {
		return nil
	}
	text, err := readMessage(o.message)
	if err != nil {
		return err
	}
	due := false
	err = withStore(o.database, false, func(s *store) error {
		due = s.due(m.sender, env.Now)
		return nil
	})
	if err != nil || !due {
		return err
	}
	from := o.login
	switch {
	case o.null:
		from = "<>"
	case o.returnAddress != "":
		from = o.returnAddress
	}
	return env.Send([]string{"-f", from, "--", m.sender}, strings.NewReader(reply(text, m)))
}

func readMessage(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxMessage))
	return string(text), err
}

// message is what must be known of a message.
type message struct {
	sender  string
	hadFrom bool
	header  *envelope.Header
}

func read(in io.Reader) (message, error) {
	var m message
	buffered := &firstLine{r: in}
	h, err := envelope.ReadHeader(buffered, envelope.HeaderLimits{})
	if err != nil && !errors.Is(err, envelope.ErrHeaderTooLong) {
		return m, err
	}
	m.header = h
	if rest, ok := strings.CutPrefix(buffered.line(), "From "); ok {
		m.hadFrom = true
		if words := strings.Fields(rest); len(words) > 0 {
			m.sender = words[0]
		}
	}
	return m, nil
}

// firstLine remembers the beginning of what is read through it.
type firstLine struct {
	r    io.Reader
	seen []byte
}

func (f *firstLine) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if room := 2048 - len(f.seen); room > 0 {
		f.seen = append(f.seen, p[:min(n, room)]...)
	}
	return n, err
}

func (f *firstLine) line() string {
	line, _, _ := strings.Cut(string(f.seen), "\n")
	return strings.TrimSuffix(line, "\r")
}
