package testsite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// Entry is one line of the mail log.
type Entry struct {
	ID   string
	Text string // behind the id
}

var logLine = regexp.MustCompile(`^[A-Z][a-z]{2} [ 0-9][0-9] [0-9:]{8} \S+ \S+\[[0-9]+\]: (?:([0-9A-Za-z]{14}): )?(.*)$`)

// Log is the mail log so far.
func (s *Site) Log() []Entry {
	text, _ := os.ReadFile(s.LogFile)
	var all []Entry
	for line := range strings.SplitSeq(strings.TrimSuffix(string(text), "\n"), "\n") {
		if m := logLine.FindStringSubmatch(line); m != nil {
			all = append(all, Entry{m[1], m[2]})
		}
	}
	return all
}

// WaitLog waits for a line whose text matches, and returns it.
func (s *Site) WaitLog(ctx context.Context, pattern string) (Entry, error) {
	re := regexp.MustCompile(pattern)
	var found Entry
	err := Wait(ctx, func() bool {
		for _, e := range s.Log() {
			if re.MatchString(e.Text) {
				found = e
				return true
			}
		}
		return false
	})
	if err != nil {
		return found, fmt.Errorf("no log line matches %q: %w\n%s", pattern, err, s.Trouble())
	}
	return found, nil
}

// Trouble is what a person would look at when mail does not come: the end of the log and of the daemon's output, and
// what is in the spool.
func (s *Site) Trouble() string {
	text, _ := os.ReadFile(s.LogFile)
	var b strings.Builder
	fmt.Fprintf(&b, "--- log of %s\n%s--- its standard error\n%s--- its spool\n", s.Host, tail(string(text)), tail(s.Stderr()))
	for _, f := range s.Spooled() {
		fmt.Fprintf(&b, "%s\n", f)
	}
	return b.String()
}

func tail(s string) string {
	if len(s) > 6000 {
		s = "[...]" + s[len(s)-6000:]
	}
	if s != "" && !strings.HasSuffix(s, "\n") {
		s += "\n"
	}
	return s
}

// Spooled are the message files in the spool, by path below it.
func (s *Site) Spooled() []string {
	var all []string
	root := filepath.Join(s.Dir, "spool")
	for _, dir := range []string{"drop", "queue", "hold", "bad"} {
		filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				rel, _ := filepath.Rel(root, path)
				all = append(all, rel)
			}
			return nil
		})
	}
	return all
}

// WaitEmpty waits until the queue holds nothing.
func (s *Site) WaitEmpty(ctx context.Context) error {
	err := Wait(ctx, func() bool {
		for _, f := range s.Spooled() {
			if strings.HasPrefix(f, "queue/") || strings.HasPrefix(f, "drop/") {
				return false
			}
		}
		// What the daemon has taken in and not tried yet is in its log, and no file of its own.
		list, err := s.Command(nil, "waybill", "queue", "-C", s.Rules, "list")
		return err == nil && strings.Contains(list.Out, " is empty")
	})
	if err != nil {
		return fmt.Errorf("the queue does not empty: %w\n%s", err, s.Trouble())
	}
	return nil
}

// Message is a message in a mailbox: the line "From ..." and the octets behind it, still quoted, without the empty
// line that ends it.
type Message struct {
	FromLine string
	Data     []byte
}

// Mailbox reads a user's mailbox; one that does not exist is empty.
func (s *Site) Mailbox(user string) ([]Message, error) {
	return ReadMbox(filepath.Join(s.Dir, "mail", user))
}

// ReadMbox reads a mailbox file (RFC 4155): a message begins at a line "From " at the start or behind an empty line.
func ReadMbox(file string) ([]Message, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []Message
	for len(text) > 0 {
		if !bytes.HasPrefix(text, []byte("From ")) {
			return all, fmt.Errorf("%s: message %d does not begin with a From line: %.60q", file, len(all)+1, text)
		}
		end := bytes.Index(text, []byte("\n\nFrom "))
		one := text
		if end >= 0 {
			one, text = text[:end+2], text[end+2:]
		} else {
			text = nil
		}
		head, data, _ := bytes.Cut(one, []byte("\n"))
		if !bytes.HasSuffix(data, []byte("\n\n")) && len(data) > 1 {
			return all, fmt.Errorf("%s: message %d does not end in an empty line: %.60q", file, len(all)+1, data)
		}
		all = append(all, Message{string(head), bytes.TrimSuffix(data, []byte("\n"))})
	}
	return all, nil
}

// WaitMailbox waits for a message in a mailbox that contains text, and returns it.
func (s *Site) WaitMailbox(ctx context.Context, user, text string) (Message, error) {
	var found Message
	err := Wait(ctx, func() bool {
		all, _ := s.Mailbox(user)
		for _, m := range all {
			if bytes.Contains(m.Data, []byte(text)) {
				found = m
				return true
			}
		}
		return false
	})
	if err != nil {
		return found, fmt.Errorf("no message with %q in the mailbox of %s: %w\n%s", text, user, err, s.Trouble())
	}
	return found, nil
}
