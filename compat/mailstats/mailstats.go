// Package mailstats keeps and prints the mail statistics that mailstats(8) shows: how many messages and how many
// kilobytes came from and went to each mailer, and what was rejected, discarded and quarantined. In flows what the queue
// tells of each message; out flow a statistics file, of the form that sendmail 8.17 has on a 64-bit little-endian machine
// (so that either program reads what the other one wrote), and mailstats' listing.
package mailstats

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"waybill/compat/getopt"
)

// Mailers is how many mailers the file has room for; those with a higher number are not counted, as with sendmail.
const Mailers = 25

// Mailer is what one mailer did. Sizes are in kilobytes, each message rounded up.
type Mailer struct {
	From, FromK, To, ToK             int64
	Rejected, Discarded, Quarantined int64
}

func (m Mailer) empty() bool { return m == Mailer{} }

// Statistics is the content of a statistics file.
type Statistics struct {
	Since            time.Time // when counting began
	In, Out, Refused int64     // connections that were accepted, made, and turned away
	Mailers          [Mailers]Mailer
}

// Kilobytes is the size of a message of n octets as it is counted.
func Kilobytes(n int64) int64 { return (n + 999) / 1000 }

// The file: magic and version, then the time, the file's own size, three connection counters, and seven columns of one
// number for each mailer, all of 64 bits.
const (
	magic    = 0x1B1DE
	version  = 4
	fileSize = 3*8 + 3*8 + 7*8*Mailers
)

// ErrForm means that a file is not a statistics file of this form.
var ErrForm = errors.New("not a statistics file of this version")

func (s *Statistics) columns(f func(at int, number *int64)) {
	at := 24
	next := func(n *int64) { f(at, n); at += 8 }
	next(&s.In)
	next(&s.Out)
	next(&s.Refused)
	for _, field := range []func(m *Mailer) *int64{
		func(m *Mailer) *int64 { return &m.From }, func(m *Mailer) *int64 { return &m.FromK },
		func(m *Mailer) *int64 { return &m.To }, func(m *Mailer) *int64 { return &m.ToK },
		func(m *Mailer) *int64 { return &m.Rejected }, func(m *Mailer) *int64 { return &m.Discarded }, func(m *Mailer) *int64 { return &m.Quarantined },
	} {
		for i := range s.Mailers {
			next(field(&s.Mailers[i]))
		}
	}
}

// Decode reads the content of a statistics file. An empty one is where counting begins anew, and has no Since.
func Decode(b []byte) (Statistics, error) {
	var s Statistics
	if len(b) == 0 {
		return s, nil
	}
	le := binary.LittleEndian
	if len(b) != fileSize || le.Uint32(b) != magic || le.Uint32(b[4:]) != version || le.Uint64(b[16:]) != fileSize {
		return s, ErrForm
	}
	s.Since = time.Unix(int64(le.Uint64(b[8:])), 0)
	s.columns(func(at int, number *int64) { *number = int64(le.Uint64(b[at:])) })
	return s, nil
}

// Encode is the reverse of Decode.
func (s *Statistics) Encode() []byte {
	b := make([]byte, fileSize)
	le := binary.LittleEndian
	le.PutUint32(b, magic)
	le.PutUint32(b[4:], version)
	le.PutUint64(b[8:], uint64(s.Since.Unix()))
	le.PutUint64(b[16:], fileSize)
	s.columns(func(at int, number *int64) { le.PutUint64(b[at:], uint64(*number)) })
	return b
}

// Add counts what o counted, too.
func (s *Statistics) Add(o Statistics) {
	var numbers []int64
	o.columns(func(_ int, n *int64) { numbers = append(numbers, *n) })
	i := 0
	s.columns(func(_ int, n *int64) { *n += numbers[i]; i++ })
}

// Options is the command line of mailstats.
type Options struct {
	Config string // -C: the configuration that names the file and the mailers
	Submit bool   // -c: submit.cf in its place
	File   string // -f: the statistics file
	Clear  bool   // -p: for programs, and begin anew
	Plain  bool   // -P or -p: for programs
	NoName bool   // -o: without the names of mailers
}

const usage = "usage: mailstats [-C cffile] [-c] [-P] [-f stfile] [-o] [-p]"

// Parse reads the arguments behind the program's name. The error is what to tell the user.
func Parse(args []string) (Options, error) {
	var o Options
	rest, err := getopt.Parse(args, "C:cf:opP", func(letter byte, value string) error {
		switch letter {
		case 'C':
			o.Config = value
		case 'c':
			o.Submit = true
		case 'f':
			o.File = value
		case 'o':
			o.NoName = true
		case 'p':
			o.Plain, o.Clear = true, true
		case 'P':
			o.Plain = true
		}
		return nil
	})
	if err != nil {
		return o, fmt.Errorf("mailstats: %w\n%s", err, usage)
	}
	if len(rest) > 0 {
		return o, errors.New(usage)
	}
	return o, nil
}

// Print writes the listing. names are those of the mailers by their numbers; now is when it is printed.
func (s Statistics) Print(w io.Writer, o Options, names []string, now time.Time) error {
	if s.Since.IsZero() {
		s.Since = now
	}
	format := "%2s%9d%11dK%9d%11dK%9d%8d%8d"
	if o.Plain {
		format = "%2s%9d%11d%9d%11d%9d%8d%8d"
		fmt.Fprintf(w, "%d %d\n", s.Since.Unix(), now.Unix())
	} else {
		fmt.Fprintf(w, "Statistics from %s\n M   msgsfr  bytes_from   msgsto    bytes_to  msgsrej msgsdis msgsqur", s.Since.Format(time.ANSIC))
		if !o.NoName {
			fmt.Fprint(w, "  Mailer")
		}
		fmt.Fprintln(w)
	}
	line := func(what string, m Mailer, name string) error {
		_, err := fmt.Fprintf(w, format+"%s\n", what, m.From, m.FromK, m.To, m.ToK, m.Rejected, m.Discarded, m.Quarantined, name)
		return err
	}
	var total Mailer
	for i, m := range s.Mailers {
		if m.empty() {
			continue
		}
		name := ""
		if !o.NoName {
			name = "  "
			if i < len(names) {
				name += names[i]
			}
		}
		if err := line(fmt.Sprint(i), m, name); err != nil {
			return err
		}
		total.From += m.From
		total.FromK += m.FromK
		total.To += m.To
		total.ToK += m.ToK
		total.Rejected += m.Rejected
		total.Discarded += m.Discarded
		total.Quarantined += m.Quarantined
	}
	if !o.Plain {
		fmt.Fprintln(w, "=====================================================================")
	}
	if err := line("T", total, ""); err != nil {
		return err
	}
	if o.Plain {
		_, err := fmt.Fprintf(w, " C%9d%9d%7d\n", s.In, s.Out, s.Refused)
		return err
	}
	_, err := fmt.Fprintf(w, " C%9d%21d%21d\n", s.In, s.Out, s.Refused)
	return err
}
