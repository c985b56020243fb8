// Package mailq prints what waits in the queue, as sendmail's mailq does, byte for byte where scripts look, and as JSON.
// In flows plain data, which the wiring fills from the queue; out flows text in the format of sendmail 8.17.
package mailq

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
)

// State is what becomes of a waiting message at this moment.
type State byte

// The values are the marks that mailq prints behind the queue id.
const (
	Waiting State = ' '
	Running State = '*' // being delivered, or locked
	Loaded  State = 'X' // the load is too high for it
	Young   State = '-' // tried too recently
)

// Recipient is one recipient who waits.
type Recipient struct {
	Name   string `json:"address"`
	Status string `json:"status,omitempty"` // why this one waits, when that differs from the message's reason
}

// Entry is one message.
type Entry struct {
	ID         string      `json:"id"`
	State      State       `json:"-"`
	Size       int64       `json:"size"` // octets of the body
	Priority   int64       `json:"priority"`
	Arrival    time.Time   `json:"arrival"`
	Sender     string      `json:"sender"` // as given; empty is the null sender
	Body       string      `json:"body_type,omitempty"`
	Reason     string      `json:"reason,omitempty"` // why it waits: "Deferred: Connection refused by mx.example.net."
	Quarantine string      `json:"quarantine,omitempty"`
	Held       bool        `json:"held,omitempty"`
	Next       time.Time   `json:"next,omitzero"` // when it is tried again
	Attempts   int         `json:"attempts"`
	Damaged    bool        `json:"damaged,omitempty"` // its file cannot be read
	Recipients []Recipient `json:"recipients"`
}

// Listing is one queue directory.
type Listing struct {
	Directory string
	Entries   []Entry
	Verbose   bool // -v: priority, and "+" for a warning that was sent
}

// reasonWidth is how many characters of a reason are shown, and wideReason how many with -v.
const (
	reasonWidth = 60
	wideReason  = 100
)

// Print writes one listing per directory and the total of all, as mailq does.
func Print(w io.Writer, listings ...Listing) error {
	out := bufio.NewWriter(w)
	total := 0
	for _, l := range listings {
		l.print(out)
		total += len(l.Entries)
	}
	fmt.Fprintf(out, "\t\tTotal requests: %d\n", total)
	return out.Flush()
}

func (l Listing) print(out *bufio.Writer) {
	n := len(l.Entries)
	if n == 0 {
		fmt.Fprintf(out, "%s is empty\n", visible(l.Directory))
		return
	}
	l.head(out, n)
	for _, e := range l.Entries {
		e.print(out, l.Verbose, l.indent())
	}
}

// head prints what stands above n entries.
func (l Listing) head(out *bufio.Writer, n int) {
	plural := "s"
	if n == 1 {
		plural = ""
	}
	fmt.Fprintf(out, "\t\t%s (%d request%s)\n", visible(l.Directory), n, plural)
	if l.Verbose {
		fmt.Fprintln(out, "-----Q-ID----- --Size-- -Priority- ---Q-Time--- --------Sender/Recipient--------")
		return
	}
	fmt.Fprintln(out, "-----Q-ID----- --Size-- -----Q-Time----- ------------Sender/Recipient-----------")
}

// indent stands before a recipient.
func (l Listing) indent() string {
	if l.Verbose {
		return "\t\t\t\t\t\t"
	}
	return "\t\t\t\t\t "
}

func (e Entry) print(out *bufio.Writer, verbose bool, indent string) {
	state := e.State
	if state == 0 {
		state = Waiting
	}
	if e.Damaged {
		fmt.Fprintf(out, "%-14s%c (no control file)\n", visible(e.ID), state)
		return
	}
	sender := visible(e.Sender)
	if sender == "" {
		sender = "<>"
	}
	if verbose {
		// sendmail's priority grows with the time that a message must still wait; the field has ten places.
		fmt.Fprintf(out, "%-14s%c%8d %10d %s %.78s\n", visible(e.ID), state, e.Size, e.Priority, e.Arrival.Format("Jan _2 15:04"), sender)
	} else {
		fmt.Fprintf(out, "%-14s%c%8d %s %.45s\n", visible(e.ID), state, e.Size, e.Arrival.Format("Mon Jan _2 15:04"), sender)
	}
	if e.Quarantine != "" {
		fmt.Fprintf(out, "     QUARANTINE: %s\n", cut(visible(e.Quarantine), reasonWidth))
	}
	if e.Reason != "" || e.Body != "" {
		fmt.Fprintf(out, "    %10.10s", e.Body)
		if e.Reason != "" {
			width := reasonWidth
			if verbose {
				width = wideReason
			}
			fmt.Fprintf(out, "   (%s)", cut(visible(e.Reason), width))
		}
		fmt.Fprintln(out)
	}
	for _, r := range e.Recipients {
		fmt.Fprintf(out, "%s%s\n", indent, visible(r.Name))
		if verbose && r.Status != "" {
			fmt.Fprintf(out, "\t\t (%s)\n", cut(visible(r.Status), wideReason))
		}
	}
}

// JSON writes one object per message and line. sendmail has no such thing.
func JSON(w io.Writer, listings ...Listing) error {
	out := json.NewEncoder(w)
	out.SetEscapeHTML(false)
	for _, l := range listings {
		for _, e := range l.Entries {
			row := struct {
				Queue string `json:"queue"`
				Entry
				State string `json:"state"`
			}{l.Directory, e, e.State.word(e)}
			if err := out.Encode(row); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s State) word(e Entry) string {
	switch {
	case e.Damaged:
		return "damaged"
	case e.Held:
		return "held"
	case s == Running:
		return "running"
	case s == Loaded:
		return "load"
	case s == Young:
		return "young"
	}
	return "waiting"
}

// Counts writes what -bP prints without shared memory, which is how Debian's sendmail is configured.
func Counts(w io.Writer) error {
	_, err := io.WriteString(w, "Data unavailable: shared memory not updated\n")
	return err
}

// visible makes text from a message safe for a terminal: control characters are shown as ^X, as octal escapes beyond
// ASCII's.
func visible(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 }) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case r < ' ':
			b.WriteByte('^')
			b.WriteByte(byte(r) + '@')
		case r == 0x7f:
			b.WriteString("^?")
		case r >= 0x80 && r < 0xa0:
			fmt.Fprintf(&b, "\\%03o", r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

func cut(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n])
	}
	return s
}
