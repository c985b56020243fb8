// Package passwd reads a user database in the format of passwd(5) and group(5): in flows a login name, out flows an
// entry, or "no such user", or an error, which means "not now". It is a package of its own because the mailbox, the
// program and the alias side must agree on who exists, and because os/user would bring cgo or cache for ever.
// The files are read again when their size, inode or time changes.
package passwd

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Entry is one user.
type Entry struct {
	Name   string
	UID    int
	GID    int
	Gecos  string
	Home   string
	Shell  string
	Groups []int // supplementary groups from the group file, without GID
}

// Source answers who a login name is. An error means that nobody knows now.
type Source interface {
	Lookup(name string) (e Entry, found bool, err error)
}

// Static is a Source in memory, for tests and for sites without a passwd file.
type Static map[string]Entry

// Lookup returns the entry of name.
func (s Static) Lookup(name string) (Entry, bool, error) {
	e, ok := s[name]
	return e, ok, nil
}

// File is a Source over two files. It is safe for concurrent use.
type File struct {
	users, groups string

	mu    sync.Mutex
	stamp [2]stamp
	read  Moment
}

// Moment is a Source with the users as they were at one moment: what File answers from, and what a caller with many
// questions at once asks for.
type Moment struct {
	byName map[string]Entry
	byUID  map[int]string
}

type stamp struct {
	dev, ino uint64
	size     int64
	mtime    time.Time
	missing  bool
}

// Open returns a Source over the passwd-format file users and the group-format file groups; groups may be empty or
// missing, then nobody has supplementary groups. The files are first read by the first Lookup.
func Open(users, groups string) *File { return &File{users: users, groups: groups} }

// Now returns the users as they are now.
func (f *File) Now() (Moment, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.refresh()
	return f.read, err
}

// Lookup returns the entry of name. Names are compared exactly.
func (f *File) Lookup(name string) (Entry, bool, error) {
	m, err := f.Now()
	if err != nil {
		return Entry{}, false, err
	}
	return m.Lookup(name)
}

// ByUID returns the first entry that has the user id.
func (f *File) ByUID(uid int) (Entry, bool, error) {
	m, err := f.Now()
	if err != nil {
		return Entry{}, false, err
	}
	return m.ByUID(uid)
}

// ByFullName returns the first entry, by user id, whose full name is this one, in any case. "&" in the file stands for the login
// name (finger(1)).
func (f *File) ByFullName(name string) (Entry, bool, error) {
	m, err := f.Now()
	if err != nil {
		return Entry{}, false, err
	}
	return m.ByFullName(name)
}

// Lookup is File.Lookup at that moment.
func (m Moment) Lookup(name string) (Entry, bool, error) {
	e, ok := m.byName[name]
	return e, ok, nil
}

// ByUID is File.ByUID at that moment.
func (m Moment) ByUID(uid int) (Entry, bool, error) {
	name, ok := m.byUID[uid]
	return m.byName[name], ok, nil
}

// ByFullName is File.ByFullName at that moment.
func (m Moment) ByFullName(name string) (Entry, bool, error) {
	var best Entry
	found := false
	for _, e := range m.byName {
		full, _, _ := strings.Cut(e.Gecos, ",")
		if full = strings.ReplaceAll(full, "&", e.Name); full != "" && strings.EqualFold(full, name) && (!found || e.UID < best.UID) {
			best, found = e, true
		}
	}
	return best, found, nil
}

func (f *File) refresh() error {
	now := [2]stamp{}
	for i, name := range []string{f.users, f.groups} {
		if name == "" {
			now[i].missing = true
			continue
		}
		info, err := os.Stat(name)
		switch {
		case err == nil:
			now[i].size, now[i].mtime = info.Size(), info.ModTime()
			if st, ok := info.Sys().(*syscall.Stat_t); ok {
				now[i].dev, now[i].ino = uint64(st.Dev), st.Ino
			}
		case i == 1 && os.IsNotExist(err):
			now[i].missing = true
		default:
			return fmt.Errorf("user database: %w", err)
		}
	}
	if f.read.byName != nil && now == f.stamp {
		return nil
	}
	byName, byUID := map[string]Entry{}, map[int]string{}
	err := eachLine(f.users, 7, func(field []string) {
		uid, err1 := strconv.Atoi(field[2])
		gid, err2 := strconv.Atoi(field[3])
		_, twice := byName[field[0]]
		if err1 != nil || err2 != nil || uid < 0 || gid < 0 || twice {
			return
		}
		byName[field[0]] = Entry{Name: field[0], UID: uid, GID: gid, Gecos: field[4], Home: field[5], Shell: field[6]}
		if _, seen := byUID[uid]; !seen {
			byUID[uid] = field[0]
		}
	})
	if err != nil {
		return fmt.Errorf("user database: %w", err)
	}
	if !now[1].missing {
		err = eachLine(f.groups, 4, func(field []string) {
			gid, err := strconv.Atoi(field[2])
			if err != nil || gid < 0 {
				return
			}
			for name := range strings.SplitSeq(field[3], ",") {
				if e, ok := byName[name]; ok && e.GID != gid {
					e.Groups = append(e.Groups, gid)
					byName[name] = e
				}
			}
		})
		if err != nil {
			return fmt.Errorf("group database: %w", err)
		}
	}
	f.read, f.stamp = Moment{byName, byUID}, now
	return nil
}

// eachLine calls do for every line of name that has n fields. Lines that are too long, short of fields or NIS
// compatibility entries ("+", "-") are no users.
func eachLine(name string, n int, do func(field []string)) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(make([]byte, 0, 4096), 1<<20)
	for lines.Scan() {
		line := strings.TrimRight(lines.Text(), " \t\r")
		if line == "" || strings.ContainsAny(line[:1], "#+-") {
			continue
		}
		field := strings.Split(line, ":")
		if len(field) < n || field[0] == "" {
			continue
		}
		do(field)
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}
