package spool

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"waybill/transport/envelope"
	"waybill/transport/identity"
)

// Where no daemon runs, only an engine can tell a front end that a recipient does not exist, and starting one costs more
// than all else. So the engine notes whom it accepted, and which files it had read to say so; while those files stay as
// they are, mail to the same recipients from the same sender goes to the drop directory at once. The note is a shortcut
// and nothing more: what the engine refuses after all is returned by mail. Its form:
//
//	waybill-known 1 1795300000 /etc/waybill/waybill.rules    when it was begun, and for which configuration ("" as \e)
//	file DEVICE INODE SIZE MTIME CTIME PATH                  as the file was; all 0: there was none
//	to SENDER RECIPIENT
const (
	knownName  = "known"
	knownHead  = "waybill-known 1 "
	knownLimit = 128 << 10 // octets; a fuller note is begun anew
	knownTime  = time.Hour // what files do not tell, such as users in a directory service, is not believed for longer
)

// Known reports whether all recipients were accepted from this sender not long ago, by the configuration config (the
// argument of -C; "" for the default one) and files that have not changed since. dir is the spool.
func Known(dir, config string, sender envelope.Address, to []envelope.Recipient, now time.Time) bool {
	text := readKnown(dir, config, now)
	if text == nil {
		return false
	}
	missing := make(map[string]bool, len(to))
	for _, r := range to {
		missing[knownLine(sender, r)] = true
	}
	for line := range bytes.Lines(text) {
		delete(missing, string(line))
	}
	return len(missing) == 0
}

// NoteKnown notes that the recipients were accepted, by a configuration that was read from files.
func NoteKnown(dir, config string, files []string, sender envelope.Address, to []envelope.Recipient, now time.Time) error {
	text := readKnown(dir, config, now)
	var more []byte
	for _, r := range to {
		if line := knownLine(sender, r); !bytes.Contains(text, []byte("\n"+line)) && !bytes.Contains(more, []byte(line)) {
			more = append(more, line...)
		}
	}
	if len(more) == 0 {
		return nil
	}
	if text == nil || len(text)+len(more) > knownLimit {
		text = append(appendWord(fmt.Appendf(nil, "%s%d ", knownHead, now.Unix()), config), '\n')
		slices.Sort(files)
		for _, f := range slices.Compact(files) {
			text = append(text, knownFile(f)...)
		}
	}
	if len(text)+len(more) > knownLimit {
		return nil
	}
	f, err := os.CreateTemp(dir, "."+knownName)
	if err != nil {
		return err
	}
	_, err = f.Write(append(text, more...))
	err = errors.Join(err, identity.Leave(f), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, knownName))
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// readKnown returns the note if it is about this configuration as it is now; nil otherwise.
func readKnown(dir, config string, now time.Time) []byte {
	f, err := os.OpenFile(filepath.Join(dir, knownName), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil
	}
	defer f.Close()
	buf := make([]byte, knownLimit+1)
	n := 0
	for n < len(buf) {
		m, err := f.Read(buf[n:])
		if n += m; err != nil || m == 0 {
			break
		}
	}
	if n > knownLimit {
		return nil
	}
	text := buf[:n]
	head, rest, _ := bytes.Cut(text, []byte("\n"))
	words, ok := strings.CutPrefix(string(head), knownHead)
	began, name, _ := strings.Cut(words, " ")
	at, err := strconv.ParseInt(began, 10, 64)
	age := now.Sub(time.Unix(at, 0))
	if !ok || err != nil || age < 0 || age > knownTime || name != string(appendWord(nil, config)) {
		return nil
	}
	for line := range bytes.Lines(rest) {
		if !bytes.HasPrefix(line, []byte("file ")) {
			break
		}
		fields := strings.SplitN(strings.TrimSuffix(string(line), "\n"), " ", 7)
		path, err := unescape(fields[len(fields)-1])
		if len(fields) != 7 || err != nil || knownFile(path) != string(line) {
			return nil
		}
	}
	return text
}

func knownLine(sender envelope.Address, r envelope.Recipient) string {
	b := append(appendWord([]byte("to "), string(sender)), ' ')
	return string(append(appendWord(b, string(r.Addr)), '\n'))
}

// knownFile is the line about a file as it is now.
func knownFile(path string) string {
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		st = syscall.Stat_t{}
		if !errors.Is(err, fs.ErrNotExist) {
			st.Ino = 1 // a file that cannot be looked at is another one than none
		}
	}
	b := fmt.Appendf(nil, "file %d %d %d %d %d ", st.Dev, st.Ino, st.Size, st.Mtim.Nano(), st.Ctim.Nano())
	return string(append(appendWord(b, path), '\n'))
}
