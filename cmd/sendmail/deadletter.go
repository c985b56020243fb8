package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"
)

// deadLetter appends the message to dead.letter in the caller's home, with the caller's rights. It reports whether there is
// such a file now; a sendmail mails the message back where there is not.
func (h *handOver) deadLetter() bool {
	if h.saved {
		return true
	}
	h.saved = true
	if h.site.Sendmail && (os.Getuid() == 0 || h.rights.root) && h.caller.Home != "" {
		if info, err := os.Stat(h.caller.Home + "/dead.letter"); err == nil && (!info.Mode().IsRegular() || info.Mode()&0o200 == 0) {
			return false
		}
	}
	dropPrivilege()
	file := h.caller.Home + "/dead.letter"
	if h.caller.Home == "" {
		fmt.Fprintln(h.out, "No home directory for dead.letter: the message is lost")
		return true
	}
	message := bufio.NewReader(h.memory.replay())
	if strings.HasSuffix(h.head, "\n\n") { // it is the whole header section
		for line := ""; line != "\n"; {
			var err error
			if line, err = message.ReadString('\n'); err != nil {
				break
			}
		}
	}
	err := appendLetter(file, h.caller.Login, io.MultiReader(strings.NewReader(h.head), message))
	if err != nil {
		fmt.Fprintf(h.out, "%s... Cannot save message: %v\n", file, err)
		return true
	}
	fmt.Fprintf(h.out, "%s... Saved message in %s\n", file, file)
	return true
}

// appendLetter adds a message to a mailbox file of the user's own, in mbox form (RFC 4155). A write that fails is taken
// back.
func appendLetter(file, from string, message io.Reader) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errors.New("not a regular file")
	}
	q := &quoter{w: f, begin: true}
	_, err = fmt.Fprintf(f, "From %s %s\n", from, time.Now().Format(time.ANSIC))
	if err == nil {
		_, err = io.Copy(q, message)
	}
	if err == nil {
		_, err = io.WriteString(f, "\n")
	}
	if err != nil {
		return errors.Join(err, f.Truncate(info.Size()))
	}
	return nil
}

// quoter puts ">" before lines that begin with "From ".
type quoter struct {
	w     io.Writer
	line  []byte // the beginning of a line, while it may still become "From "
	begin bool
}

func (q *quoter) Write(p []byte) (int, error) {
	const mark = "From "
	out := make([]byte, 0, len(p)+16)
	for _, c := range p {
		if q.begin {
			q.line = append(q.line, c)
			if c != '\n' && strings.HasPrefix(mark, string(q.line)) && len(q.line) < len(mark) {
				continue
			}
			if string(q.line) == mark {
				out = append(out, '>')
			}
			out = append(out, q.line...)
			q.line, q.begin = q.line[:0], c == '\n'
			continue
		}
		out = append(out, c)
		q.begin = c == '\n'
	}
	if _, err := q.w.Write(out); err != nil {
		return 0, err
	}
	return len(p), nil
}
