package expand

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"waybill/transport"
	"waybill/transport/envelope"
	"waybill/transport/identity"
	"waybill/transport/passwd"
	"waybill/transport/sysexits"
)

const (
	maxForward  = 256 << 10 // octets of a .forward file
	maxInclude  = 64 << 20  // octets of an :include: file
	maxIncludes = 10        // :include: in :include: in ...
)

// including turns items into members on behalf of whoever wrote the list.
type including struct {
	x         *Expander
	self      string        // the name whose list this is: found in its own list, it goes on with selfStage
	selfStage string        //
	user      *passwd.Entry // whose rights files are read, written and programs run with; nil: the administrator's list
	told      *[]string     // what sendmail -v would tell; nil: nobody asks
	odd       *[]string     // hears of what is not well formed
	barred    string        // why no programs and files may be used; empty: they may
}

// members makes members of items. within are the :include: files that the items stand in, the outermost first.
func (in including) members(items []Item, within []string) ([]Member, error) {
	var all []Member
	for _, item := range items {
		switch {
		case item.Include != "":
			members, err := in.include(item, within)
			if err != nil {
				return nil, err
			}
			all = append(all, members...)
		case item.Command != "" || item.File != "":
			m := Member{Command: item.Command, File: item.File}
			if in.barred != "" {
				m = in.refusedTarget(item)
			} else if in.user != nil && in.user.UID != 0 { // root's programs run as the default user, like those of aliases
				m.As = in.user.Name
			}
			all = append(all, m)
		default:
			m := Member{Addr: item.Addr, Where: item.Where}
			if item.Final {
				m.Stage = StageFinal
				if in.x.conf.Sendmail != nil {
					m.Addr = `\` + m.Addr // reports and listings show it as it was written, and so does the next hop get it
				}
			} else if in.x.conf.Sendmail != nil && in.user == nil && len(within) > 0 && strings.EqualFold(dequote(string(item.Addr)), in.self) {
				continue // the list is on itself; it has been expanded
			} else if strings.EqualFold(dequote(string(item.Addr)), in.self) {
				m.Stage = in.selfStage
			}
			all = append(all, m)
		}
		if len(all) > maxItems {
			return nil, fmt.Errorf("more than %d members", maxItems)
		}
	}
	if len(within) > 0 {
		for i := range all {
			all[i].From = cmp.Or(all[i].From, ":include:"+within[len(within)-1])
		}
	}
	return all, nil
}

// refusedTarget is a program or a file that may not be used.
func (in including) refusedTarget(item Item) Member {
	why := in.barred
	if strings.HasSuffix(why, unsafeFor) {
		if why += " files"; item.Command != "" {
			why = in.barred + " programs"
		}
	}
	m := refused(envelope.Recipient{Command: item.Command, File: item.File}.Name(), "5.7.1", why, in.x.exitBarred())
	if in.x.conf.Sendmail != nil && strings.HasPrefix(why, "Address ") {
		m.Where = item.Where
	}
	return m
}

// unsafeFor ends a reason for which programs or files are not used, in sendmail's words.
const unsafeFor = " is unsafe for mailing to"

// exitBarred is the exit status for a program or a file that may not be used.
func (x *Expander) exitBarred() int {
	if x.conf.Sendmail != nil {
		return sysexits.Usage
	}
	return sysexits.Unavailable
}

func refused(name, code, text string, exit int) Member {
	s := transport.NewStatus(transport.Failed, code, text)
	s.Exit = exit
	return Member{Name: name, Refused: &s}
}

// include reads an :include: file. Programs and files in it are used with the rights of its owner, and not at all when
// somebody else could put another file in its place; a file that others may write is not read at all, as sendmail does.
// One that is missing or not readable is the list owner's fault and is reported; an error of the disk is waited for.
func (in including) include(item Item, within []string) ([]Member, error) {
	name, mode := item.Include, in.x.conf.Sendmail
	cannot := func(why string) []Member {
		m := refused(":include:"+name, "5.2.4", "Cannot open "+name+": "+why, sysexits.Usage)
		m.Where = item.Where
		return []Member{m}
	}
	switch {
	case mode != nil && slices.Contains(within, name):
		return nil, nil // what is in it has been taken
	case mode != nil && !filepath.IsAbs(name):
		return cannot("Permission denied"), nil // in the queue directory, where sendmail would look
	case len(within) >= maxIncludes:
		return []Member{refused(":include:"+name, "5.4.6", "aliasing/forwarding loop broken", sysexits.Usage)}, nil
	}
	var items []Item
	next := in
	var lookup error // of the owner: apart, because none of its kinds is about the file
	err := in.asReader(func() error {
		f, st, mayRun, err := in.openSafe(name, false)
		if err != nil {
			return err
		}
		defer f.Close()
		switch {
		case !mayRun && mode != nil:
			next.barred = "Address :include:" + name + unsafeFor
		case !mayRun:
			next.barred = "the :include: file is not safe for programs and files"
		case mode != nil && in.user != nil: // a user's list stays his, whoever wrote the file
		case st.Uid != 0 && (in.user == nil || int(st.Uid) != in.user.UID):
			if next.user, next.barred, lookup = in.x.includeOwner(int(st.Uid)); lookup != nil {
				return nil
			}
		}
		if mode != nil && in.told != nil {
			*in.told = append(*in.told, ":include:"+name+"... including file "+name)
		}
		items, err = in.readLists(f, name, maxInclude, "sending to")
		return err
	})
	if lookup != nil {
		return nil, fmt.Errorf("owner of %s: %w", name, lookup)
	}
	var why *refusedFile
	if errors.As(err, &why) {
		return cannot(why.Error()), nil
	}
	for _, c := range []struct {
		err  error
		text string
	}{
		{unix.ENOENT, "No such file or directory"}, {unix.ENOTDIR, "Not a directory"}, {unix.EACCES, "Permission denied"}, {unix.ELOOP, "Too many levels of symbolic links"},
		{errNotPlain, "Regular files only"}, {errWritable, "Group writable file"},
	} {
		if errors.Is(err, c.err) {
			if mode == nil { // sendmail's own line tells of it
				in.x.conf.Log.Warn("cannot use an :include: file", "file", name, "err", err)
			}
			return cannot(c.text), nil
		}
	}
	if err != nil {
		return nil, err
	}
	return next.members(items, append(slices.Clone(within), name))
}

// includeOwner finds who owns an :include: file of the administrator's list. Only a Source that knows user ids can
// tell; without one no programs and files are used.
func (x *Expander) includeOwner(uid int) (owner *passwd.Entry, barred string, err error) {
	const nobody = "the owner of the :include: file may not run programs"
	byUID, ok := x.conf.Users.(interface {
		ByUID(uid int) (passwd.Entry, bool, error)
	})
	if !ok {
		return nil, nobody, nil
	}
	e, found, err := byUID.ByUID(uid)
	if err != nil {
		return nil, "", err // not now, which is not "no"
	}
	if !found {
		return nil, nobody, nil
	}
	valid, err := validShell(e.Shell, x.conf.Shells)
	if err != nil {
		return nil, "", err
	}
	if !valid {
		return &e, nobody, nil
	}
	return &e, "", nil
}

// as runs work with the rights of the list's author.
func (in including) as(work func() error) error {
	if in.user == nil {
		return work()
	}
	return identity.As(identity.ID{UID: in.user.UID, GID: in.user.GID, Groups: in.user.Groups}, work)
}

// asReader runs work, which reads an :include: file, with the rights of the list's author, or as sendmail's default user.
func (in including) asReader(work func() error) error {
	mode := in.x.conf.Sendmail
	if in.user != nil || mode == nil || mode.Default == "" || os.Geteuid() != 0 {
		return in.as(work)
	}
	e, found, err := in.x.conf.Users.Lookup(mode.Default)
	if err != nil {
		return err
	}
	if !found {
		return work()
	}
	return identity.As(identity.ID{UID: e.UID, GID: e.GID, Groups: e.Groups}, work)
}

// forward reads the first .forward file of the user that exists. No members mean: there is none, it is empty, or it is
// ignored because others may have written it (sendmail does that silently; we log it).
func (x *Expander) forward(user passwd.Entry, detail string, r *Result) ([]Member, string, error) {
	in := including{x: x, told: &r.Told, odd: &r.Odd, self: user.Name, selfStage: StageFinal, user: &user}
	for _, template := range x.conf.Forward {
		name, ok := x.forwardPath(template, user, detail)
		if !ok || x.missing[name] {
			continue
		}
		// Most users have none. To see that needs no rights of theirs, which would cost a thread (package identity).
		var st unix.Stat_t
		if err := unix.Lstat(name, &st); err == unix.ENOENT || err == unix.ENOTDIR {
			if x.missing != nil {
				x.missing[name] = true
			}
			continue
		}
		var items []Item
		err := in.as(func() error {
			f, _, mayRun, err := in.openSafe(name, true)
			if err != nil {
				return err
			}
			defer f.Close()
			if !mayRun {
				in.barred = "Address " + user.Name + unsafeFor
			}
			items, err = in.readLists(f, name, maxForward, "forwarding to")
			return err
		})
		switch {
		case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.EACCES), errors.Is(err, unix.ENAMETOOLONG):
			if x.missing != nil {
				x.missing[name] = true
			}
			continue
		case errors.Is(err, errUnsafe), errors.Is(err, errNotPlain), errors.As(err, new(*refusedFile)), errors.Is(err, unix.ELOOP):
			level := slog.LevelInfo
			if x.conf.Sendmail != nil {
				level = slog.LevelDebug
			}
			x.conf.Log.Log(context.Background(), level, "forward file ignored", "file", name, "user", user.Name, "err", err)
			continue
		case err != nil:
			return nil, "", err
		}
		valid, err := validShell(user.Shell, x.conf.Shells)
		if err != nil {
			return nil, "", err
		}
		if !valid {
			in.barred = "this user's login shell does not allow programs and files"
		}
		members, err := in.members(items, nil)
		if err != nil {
			return nil, "", fmt.Errorf("%s: %w", name, err)
		}
		return members, name, nil
	}
	return nil, "", nil
}

func (x *Expander) forwardPath(template string, user passwd.Entry, detail string) (string, bool) {
	if !filepath.IsAbs(user.Home) {
		return "", false
	}
	var b strings.Builder
	for template != "" {
		before, after, found := strings.Cut(template, "$")
		b.WriteString(before)
		if !found {
			break
		}
		template = after
		matched := false
		for _, v := range []struct{ name, value string }{
			{"home", user.Home}, {"user", user.Name}, {"host", x.conf.Host}, {"detail", detail},
			{"z", user.Home}, {"u", user.Name}, {"w", x.conf.Host}, {"h", detail},
		} {
			if rest, ok := strings.CutPrefix(template, v.name); ok {
				if v.name != "home" && v.name != "z" && (v.value == "" || strings.ContainsAny(v.value, "/\x00")) {
					return "", false
				}
				b.WriteString(v.value)
				template, matched = rest, true
				break
			}
		}
		if !matched {
			b.WriteByte('$')
		}
	}
	return filepath.Clean(b.String()), true
}

var (
	errUnsafe   = errors.New("unsafe file")
	errNotPlain = errors.New("not a plain file")
	errWritable = errors.New("others may write the file")
)

// refusedFile is why sendmail does not read a file, and what the system has said of it, if anything.
type refusedFile struct{ why, system error }

func (r *refusedFile) Error() string { return r.why.Error() }
func (r *refusedFile) Unwrap() error { return r.system }

// openSafe opens a .forward or :include: file, with the rights that this goroutine has, unless others could have written
// it. mayRun tells whether programs and files in it may be used.
func (in including) openSafe(name string, forward bool) (f *os.File, st unix.Stat_t, mayRun bool, err error) {
	f, st, err = openPlain(name)
	var why string
	switch mode := in.x.conf.Sendmail; {
	case mode != nil && mode.Safe != nil:
		list := ListFile{Path: name, Forward: forward, UID: os.Geteuid(), GID: os.Getegid()}
		if err == nil {
			list.Opened = &st
		}
		if in.user != nil {
			list.UID, list.GID, list.Groups = in.user.UID, in.user.GID, in.user.Groups
		} else if e, found, _ := in.x.conf.Users.Lookup(mode.Default); found && mode.Default != "" {
			list.UID, list.GID, list.Groups = e.UID, e.GID, e.Groups
		}
		var no error
		if no, mayRun = mode.Safe(list); no != nil {
			err = &refusedFile{no, err}
		}
	case err != nil:
	case forward:
		if why, mayRun = unsafePath(name, st, in.user.UID), true; why != "" {
			err = fmt.Errorf("%w: %s", errUnsafe, why)
		}
	case st.Mode&0o022 != 0:
		err = errWritable
	default:
		mayRun = unsafePath(name, st, -1) == ""
	}
	if err != nil && f != nil {
		f.Close()
	}
	return f, st, mayRun, err
}

// openPlain opens a file that must be a plain one, without waiting on a FIFO.
func openPlain(name string) (*os.File, unix.Stat_t, error) {
	var st unix.Stat_t
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		if err == unix.ENXIO || err == unix.ENODEV {
			err = errNotPlain
		}
		return nil, st, &os.PathError{Op: "open", Path: name, Err: err}
	}
	f := os.NewFile(uintptr(fd), name)
	if err := unix.Fstat(fd, &st); err != nil {
		f.Close()
		return nil, st, &os.PathError{Op: "fstat", Path: name, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		f.Close()
		return nil, st, &os.PathError{Op: "open", Path: name, Err: errNotPlain}
	}
	return f, st, nil
}

// unsafePath tells who beside its owner could have put something into the file; empty: nobody. It must belong to uid or
// to root (uid -1: to anybody); neither it nor a directory above it may be writable by group or others, except
// directories with the sticky bit that belong to root.
func unsafePath(name string, st unix.Stat_t, uid int) string {
	if uid >= 0 && int(st.Uid) != uid && st.Uid != 0 && int(st.Uid) != os.Geteuid() {
		return fmt.Sprintf("belongs to uid %d", st.Uid)
	}
	if st.Mode&0o022 != 0 {
		return fmt.Sprintf("mode %04o: others may write it", st.Mode&0o7777)
	}
	for dir := filepath.Dir(name); ; dir = filepath.Dir(dir) {
		var d unix.Stat_t
		if err := unix.Stat(dir, &d); err != nil {
			return "directory " + dir + " cannot be looked at"
		}
		if d.Mode&0o022 != 0 && (d.Mode&unix.S_ISVTX == 0 || d.Uid != 0) {
			return fmt.Sprintf("directory %s has mode %04o: others may write it", dir, d.Mode&0o7777)
		}
		if dir == "/" || dir == "." {
			return ""
		}
	}
}

// readLists reads a file of lists, one a line; a "#" at the beginning of a line makes it a comment.
// verb is sendmail's word for what a line does.
func (in including) readLists(r io.Reader, name string, limit int64, verb string) ([]Item, error) {
	x := in.x
	var items []Item
	limited := &io.LimitedReader{R: r, N: limit + 1}
	lines := bufio.NewScanner(limited)
	lines.Buffer(make([]byte, 0, 4096), 64<<10)
	for number := 1; lines.Scan(); number++ {
		line := lines.Text()
		if strings.HasPrefix(line, "#") {
			continue
		}
		if x.conf.Sendmail != nil && in.told != nil && strings.TrimSpace(line) != "" {
			*in.told = append(*in.told, fmt.Sprintf("%s: line %d: %s %s", name, number, verb, line))
		}
		more, odd, err := x.parse(line)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, number, err)
		}
		for _, complaint := range odd {
			if complaint != "" {
				complaint = fmt.Sprintf("%s: line %d: %s", name, number, complaint)
			}
			*in.odd = append(*in.odd, complaint)
		}
		for i := range more {
			more[i].Where = fmt.Sprintf("%s: line %d", name, number)
		}
		if x.conf.LastFirst {
			items = append(more, items...)
		} else {
			items = append(items, more...)
		}
		if len(items) > maxItems {
			return nil, fmt.Errorf("%s:%d: more than %d entries", name, number, maxItems)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if limited.N <= 0 {
		return nil, fmt.Errorf("%s: larger than %d octets", name, limit)
	}
	return items, nil
}
