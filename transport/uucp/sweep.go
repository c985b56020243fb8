package uucp

import (
	"bytes"
	"errors"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A crash between the data files of a job and its command file leaves files that mean nothing and that uucico never
// looks at. To find them, and none of anybody else's, each job begins with a plan: the text of its command file, as
// .Temp/WB.JOB.RANDOM.SITE, locked (flock) while the job is being made. Publishing is link(2) from the plan to
// the command file; then the plan goes. So a plan that nobody has locked is that of a job that died:
//
//	two links   the command file is there: only the plan is left over
//	one link    it never was, or uucico has done the job already; data files that the plan names, and that no
//	            command file of the site names, are removed
//
// The numbers of a plan were counted up in the sequence file before it was written, so that nobody else uses them.

// The names of command files of BNU say nothing about the message: there the plan of a job that is published stays for
// the next attempt to see.

const (
	sweepEvery = 10 * time.Minute
	planAge    = 7 * 24 * time.Hour
)

// published reports whether an attempt that died has made this very job.
func (j *job) published() bool {
	plans, _ := filepath.Glob(filepath.Join(j.conf.Spool, ".Temp", "WB."+j.unique()+".*."+j.site))
	for _, name := range plans {
		var st unix.Stat_t
		if unix.Lstat(name, &st) == nil && st.Nlink > 1 {
			return true
		}
	}
	return false
}

// plan is that of a job being made.
type plan struct {
	name string
	f    *os.File
}

// begin writes the plan, durably.
func (j *job) begin(text string) (*plan, error) {
	dir := filepath.Join(j.conf.Spool, ".Temp")
	if err := mkdir(dir); err != nil {
		return nil, err
	}
	p := &plan{name: filepath.Join(dir, "WB."+j.unique()+"."+strconv.FormatUint(rand.Uint64(), 36)+"."+j.site)}
	var err error
	if p.f, err = os.OpenFile(p.name, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600); err != nil {
		return nil, err
	}
	if err = unix.Flock(int(p.f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil {
		_, err = p.f.WriteString(text)
	}
	if err = errors.Join(err, p.f.Sync(), syncDir(dir)); err != nil {
		p.end()
		return nil, err
	}
	return p, nil
}

// end removes the plan; nothing depends on whether that outlives a crash.
func (p *plan) end() {
	_ = os.Remove(p.name)
	p.f.Close()
}

// sweep removes what crashes have left in the spool, from time to time. It never fails a delivery.
func (t *UUCP) sweep(log *slog.Logger) {
	now := time.Now().Unix()
	last := t.swept.Load()
	if t.conf.Uux != "" || now-last < int64(sweepEvery/time.Second) || !t.swept.CompareAndSwap(last, now) {
		return
	}
	work := t.sweepPlans
	if t.conf.Layout == Drop {
		work = t.sweepDrop
	}
	err := t.as(func() error {
		removed, err := work()
		if len(removed) > 0 {
			log.Info("removed what a crash had left in the UUCP spool", "spool", t.conf.Spool, "files", removed)
		}
		return err
	})
	if err != nil {
		log.Warn("UUCP spool cannot be swept", "spool", t.conf.Spool, "err", err)
	}
}

var planName = regexp.MustCompile(`^WB\.[A-Za-z0-9_-]{11}\.[0-9a-z]+\.(.+)$`)

func (t *UUCP) sweepPlans() (removed []string, err error) {
	dir := filepath.Join(t.conf.Spool, ".Temp")
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var errs []error
	for _, e := range entries {
		if m := planName.FindStringSubmatch(e.Name()); m != nil && validSite(m[1]) {
			gone, err := t.sweepPlan(filepath.Join(dir, e.Name()), m[1])
			removed, errs = append(removed, gone...), append(errs, err)
		}
	}
	return removed, errors.Join(append(errs, err)...)
}

// abandoned opens a file of ours and locks it; nil when somebody works with it, or it has gone.
func (t *UUCP) abandoned(name string) (*os.File, unix.Stat_t) {
	var st unix.Stat_t
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, st
	}
	if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil || unix.Fstat(int(f.Fd()), &st) != nil || st.Nlink == 0 ||
		st.Mode&unix.S_IFMT != unix.S_IFREG || time.Since(time.Unix(st.Mtim.Unix())) < t.sweepAge {
		f.Close()
		return nil, st
	}
	return f, st
}

func (t *UUCP) sweepPlan(name, site string) (removed []string, err error) {
	f, st := t.abandoned(name)
	if f == nil {
		return nil, nil
	}
	defer f.Close()
	if st.Nlink > 1 && t.conf.Layout == BNU && time.Since(time.Unix(st.Mtim.Unix())) < planAge {
		return nil, nil
	}
	if st.Nlink == 1 {
		text := make([]byte, 4096)
		n, _ := f.Read(text)
		top := filepath.Join(t.conf.Spool, site)
		for line := range strings.Lines(string(text[:n])) {
			word := strings.Fields(line)
			if len(word) < 2 || !strings.HasSuffix(line, "\n") || !strings.HasPrefix(word[1], "D.") || strings.ContainsAny(word[1], "/") {
				continue // the plan itself was cut short: nothing was made by it
			}
			dir, commands := top, top
			if t.conf.Layout == Taylor {
				dir, commands = filepath.Join(top, "D."), filepath.Join(top, "C.")
				if strings.HasPrefix(word[1], "D.X") && len(word[1]) > len("D.X000") { // D.X000 is the number X000
					dir = filepath.Join(top, "D.X")
				}
			}
			data := filepath.Join(dir, word[1])
			if !exists(data) {
				continue
			}
			if used, err := named(commands, word[1]); err != nil || used {
				return removed, err
			}
			if err := os.Remove(data); err != nil {
				return removed, err
			}
			removed = append(removed, data)
		}
	}
	return removed, os.Remove(name)
}

// named reports whether a command file of the directory names a data file.
func named(dir, data string) (bool, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), "C.") || !e.Type().IsRegular() {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // uucico has done it meanwhile
			return false, err
		}
		for _, word := range bytes.Fields(text) {
			if string(word) == data {
				return true, nil
			}
		}
	}
	return false, nil
}

var dropName = regexp.MustCompile(`^\.[A-Za-z0-9_-]{11}\.bsmtp\.[0-9a-z]+$`)

// sweepDrop removes batches that were never finished, which nobody has locked any more.
func (t *UUCP) sweepDrop() (removed []string, err error) {
	sites, err := t.sites()
	if err != nil {
		return nil, err
	}
	for _, site := range sites {
		entries, _ := os.ReadDir(filepath.Join(t.conf.Spool, site))
		for _, e := range entries {
			if !dropName.MatchString(e.Name()) {
				continue
			}
			name := filepath.Join(t.conf.Spool, site, e.Name())
			if f, _ := t.abandoned(name); f != nil {
				if err := os.Remove(name); err != nil {
					f.Close()
					return removed, err
				}
				removed = append(removed, name)
				f.Close()
			}
		}
	}
	return removed, nil
}
