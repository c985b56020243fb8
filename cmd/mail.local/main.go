// Command mail.local is the local delivery agent, compatible with sendmail's: a message on standard input is appended
// to the mailboxes of the users named as arguments, or, with -l, LMTP is spoken on standard input and output (RFC 2033).
// It reads passwd(5) and writes mbox(5); all delivery is package transport/mbox.
//
// It stays small on purpose: it is the program that runs as root.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"log/syslog"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"waybill/compat/getopt"
	"waybill/transport"
	"waybill/transport/envelope"
	"waybill/transport/mbox"
	"waybill/transport/passwd"
	"waybill/transport/sysexits"
)

const usage = "usage: mail.local [-7] [-b] [-d] [-D mbdb] [-l] [-f from|-r from] [-h filename] [-n] [-p path] user ..."

// The words of sendmail's mail.local, which programs may look for.
const (
	multipleFrom = "Multiple -f options"
	noDatabase   = "Can not open mailbox database %s: Service unavailable"
)

// sentence is an error in those words.
type sentence string

func (s sentence) Error() string { return string(s) }

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// options are the command line, in sendmail's terms.
type options struct {
	sevenBit  bool   // -7: do not offer 8BITMIME
	bounce    bool   // -b: a full mailbox is a permanent error
	database  string // -D: "pw", or a passwd-format file
	lmtp      bool   // -l
	from      string // -f, -r
	hasFrom   bool
	home      string // -h: a file in the user's home instead of the mail spool
	keep      bool   // -n: keep the domain of recipients in LMTP mode
	directory string // -p: the mail spool
	users     []string
}

func parse(args []string) (options, error) {
	o := options{database: "pw", directory: "/var/mail"}
	args, err := getopt.Parse(args, "7bdD:f:h:r:lnp:", func(letter byte, value string) error {
		switch letter {
		case '7':
			o.sevenBit = true
		case 'b':
			o.bounce = true
		case 'd': // "this is a delivery": it always is
		case 'D':
			o.database = value
		case 'f', 'r':
			if o.hasFrom {
				return sentence(multipleFrom)
			}
			o.from, o.hasFrom = value, true
		case 'h':
			o.home = value
		case 'l':
			o.lmtp = true
		case 'n':
			o.keep = true
		case 'p':
			o.directory = value
		}
		return nil
	})
	o.users = args
	return o, err
}

func run(args []string, in io.Reader, out, errs io.Writer) int {
	o, err := parse(args)
	if err == nil && len(o.users) == 0 && !o.lmtp {
		err = errors.New("")
	}
	if err != nil {
		if err.Error() != "" {
			fmt.Fprintln(errs, "mail.local:", err)
		}
		fmt.Fprintln(errs, "mail.local:", usage)
		return sysexits.Unavailable // as sendmail's does
	}
	users, err := o.source()
	if err != nil {
		fmt.Fprintln(errs, "mail.local:", err)
		return sysexits.Unavailable
	}
	box, err := o.box(users)
	if err != nil {
		fmt.Fprintln(errs, "mail.local:", err)
		return sysexits.Unavailable
	}
	log := logger()
	if o.lmtp {
		if len(o.users) > 0 {
			fmt.Fprint(out, "421 Users should not be specified in command line if LMTP required\r\n")
			return sysexits.TempFail
		}
		return serve(in, out, session{box: box, users: users, options: o, log: log})
	}
	sender := envelope.Address(o.from)
	if !o.hasFrom {
		sender = caller(users)
	}
	body, err := keep(in)
	if err != nil {
		fmt.Fprintln(errs, "mail.local:", err)
		return sysexits.TempFail
	}
	defer body.file.Close()
	return report(o.users, deliver(box, sender, o.users, body, log), errs)
}

// logger writes to syslog: what goes to standard error ends up in a bounce, where details of files do not belong.
func logger() *slog.Logger {
	w, err := syslog.New(syslog.LOG_MAIL|syslog.LOG_WARNING, "mail.local")
	if err != nil {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// source is where login names are looked up.
func (o options) source() (passwd.Source, error) {
	switch {
	case o.database == "pw":
		return passwd.Open("/etc/passwd", "/etc/group"), nil
	case filepath.IsAbs(o.database):
		return passwd.Open(o.database, ""), nil
	}
	return nil, sentence(fmt.Sprintf(noDatabase, o.database))
}

// box is the mailbox transport that the options ask for.
func (o options) box(users passwd.Source) (*mbox.Mbox, error) {
	c := mbox.Config{
		Path: strings.ReplaceAll(o.directory, "$", "$$") + "/$user", Users: users, QuotaTemporary: !o.bounce,
		Locks: []string{"dotlock", "fcntl", "flock"}, Biff: "127.0.0.1:512", EscapeAfterBlank: true, NoReturnPath: true,
	}
	if o.home != "" {
		if filepath.IsAbs(o.home) || !filepath.IsLocal(o.home) {
			return nil, fmt.Errorf("%s: not a file name in a home directory", o.home)
		}
		c.Path, c.Group = "$home/"+strings.ReplaceAll(o.home, "$", "$$"), -1
	}
	return mbox.New(c)
}

// caller is the login name of who runs us: the sender when nobody says another.
func caller(users passwd.Source) envelope.Address {
	if byUID, ok := users.(*passwd.File); ok {
		if e, found, err := byUID.ByUID(os.Getuid()); err == nil && found {
			return envelope.Address(e.Name)
		}
	}
	return "???"
}

func deliver(box *mbox.Mbox, sender envelope.Address, users []string, body envelope.Body, log *slog.Logger) []transport.Status {
	if sender == "<>" {
		sender = ""
	}
	req := &transport.Request{Envelope: &envelope.Envelope{Sender: sender}, Body: body, Log: log}
	for _, u := range users {
		req.Recipients = append(req.Recipients, transport.Recipient{User: u, Orig: envelope.Recipient{Addr: envelope.Address(u)}})
	}
	return box.Deliver(context.Background(), req)
}

// report says what went wrong and finds the exit status: 75 when anything may go better later, else 69 for a failure.
func report(users []string, statuses []transport.Status, errs io.Writer) int {
	exit := sysexits.OK
	for i, s := range statuses {
		switch s.Outcome() {
		case transport.Delivered:
			continue
		case transport.Deferred:
			exit = sysexits.TempFail
		default:
			if exit != sysexits.TempFail {
				exit = sysexits.Unavailable
			}
		}
		fmt.Fprintf(errs, "mail.local: %s: %s\n", visible(users[i]), text(s))
	}
	return exit
}

// text is a reason as sendmail's mail.local words it.
func text(s transport.Status) string {
	if s.Code() == "5.1.1" {
		return "User unknown"
	}
	return s.Text()
}

// visible is a name as a terminal survives it.
func visible(name string) string {
	quoted := strconv.Quote(name)
	if quoted == `"`+name+`"` {
		return name
	}
	return quoted
}

// kept is the message in a file that has no name any more.
type kept struct {
	file *os.File
	size int64
}

// keep writes the message to a temporary file: several mailboxes may need it, and a program that feeds us slowly must
// not keep one locked.
func keep(in io.Reader) (kept, error) {
	f, err := os.CreateTemp("", "local.")
	if err != nil {
		return kept{}, err
	}
	_ = os.Remove(f.Name())
	size, err := io.Copy(f, in)
	if err != nil {
		f.Close()
		return kept{}, fmt.Errorf("reading the message: %w", err)
	}
	return kept{f, size}, nil
}

func (k kept) Open() (io.ReadCloser, error) {
	return io.NopCloser(io.NewSectionReader(k.file, 0, k.size)), nil
}

func (k kept) Size() int64 { return k.size }
