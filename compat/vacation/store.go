package vacation

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// magic begins the file; the number behind it is the interval in seconds, 0 for ever.
const magic = "waybill-vacation 1 "

// maxEntries bounds the file: whoever invents senders must not fill a home directory.
const maxEntries = 100_000

// store is who had a reply, and when. The file is one line for each address: seconds since 1970, or "never" for those
// who get none, a blank, and the address in lower case ("@domain" for all of a domain).
type store struct {
	interval time.Duration
	entries  []entry
}

type entry struct {
	address string
	when    time.Time
	never   bool
}

// due reports whether an address gets a reply now, and notes that it does.
func (s *store) due(address string, now time.Time) bool {
	address = strings.ToLower(address)
	domain := ""
	if at := strings.LastIndexByte(address, '@'); at >= 0 {
		domain = address[at:]
	}
	for _, e := range s.entries {
		if e.never && (e.address == address || e.address == domain && domain != "") {
			return false
		}
	}
	kept := s.entries[:0]
	recent := false
	for _, e := range s.entries {
		// A time in the future is a clock that was wrong once.
		if age := now.Sub(e.when); !e.never && (age < 0 || age >= s.interval) {
			continue // as good as forgotten
		}
		kept = append(kept, e)
		recent = recent || e.address == address
	}
	s.entries = kept
	if recent || len(kept) >= maxEntries {
		return false
	}
	s.entries = append(s.entries, entry{address: address, when: now})
	return true
}

// exclude notes that an address or "@domain" never gets a reply.
func (s *store) exclude(address string) {
	address = strings.ToLower(address)
	for i, e := range s.entries {
		if e.address == address {
			s.entries[i].never = true
			return
		}
	}
	s.entries = append(s.entries, entry{address: address, never: true})
}

// readStore reads the file; one that is missing is an error, and so is one of another vacation.
func readStore(file string) (*store, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return parseStore(f, file)
}

func parseStore(r io.Reader, file string) (*store, error) {
	s := &store{interval: week}
	in := bufio.NewScanner(io.LimitReader(r, 64<<20))
	for n := 1; in.Scan(); n++ {
		line := in.Text()
		if n == 1 {
			seconds, ok := strings.CutPrefix(line, magic)
			v, err := strconv.ParseInt(seconds, 10, 64)
			if !ok || err != nil || v < 0 {
				return nil, fmt.Errorf("%s: %w: another vacation made it; vacation -i makes it anew", file, errMalformed)
			}
			s.interval = time.Duration(v) * time.Second
			if v == 0 || s.interval/time.Second != time.Duration(v) {
				s.interval = forever
			}
			continue
		}
		when, address, ok := strings.Cut(line, " ")
		e := entry{address: address, never: when == "never"}
		if !e.never {
			v, err := strconv.ParseInt(when, 10, 64)
			ok = ok && err == nil
			e.when = time.Unix(v, 0)
		}
		if ok && address != "" { // a torn line costs one more reply at most
			s.entries = append(s.entries, e)
		}
	}
	return s, in.Err()
}

// withStore reads the file under a lock, lets f change it, and writes it back as a whole. fresh forgets what was there;
// a file that is missing is made.
func withStore(file string, fresh bool, f func(*store) error) error {
	lock, err := os.OpenFile(file+".lock", os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("%s: %w", lock.Name(), err)
	}
	s := &store{interval: week}
	if !fresh {
		old, err := readStore(file)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if old != nil {
			s = old
		}
	}
	if err := f(s); err != nil {
		return err
	}
	return s.write(file)
}

func (s *store) write(file string) error {
	temp, err := os.CreateTemp(filepath.Dir(file), ".vacation-*")
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	defer temp.Close()
	out := bufio.NewWriter(temp)
	seconds := int64(s.interval / time.Second)
	if s.interval == forever {
		seconds = 0
	}
	fmt.Fprintf(out, "%s%d\n", magic, seconds)
	for _, e := range s.entries {
		when := "never"
		if !e.never {
			when = strconv.FormatInt(e.when.Unix(), 10)
		}
		fmt.Fprintf(out, "%s %s\n", when, e.address)
	}
	if err := errors.Join(out.Flush(), temp.Sync(), temp.Close()); err != nil {
		return err
	}
	return os.Rename(temp.Name(), file)
}
