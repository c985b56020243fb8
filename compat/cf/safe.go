package cf

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Why a file is not read, in sendmail's words.
var (
	errWorldDir   = errors.New("World writable directory")
	errGroupDir   = errors.New("Group writable directory")
	errWorldFile  = errors.New("World writable file")
	errGroupFile  = errors.New("Group writable file")
	errLink       = errors.New("Symbolic links not allowed")
	errHardLink   = errors.New("Hard links not allowed")
	errIrregular  = errors.New("Regular files only")
	errExecutable = errors.New("Executable files not allowed")
)

// FileUse says what a file is read for: which words of DontBlameSendmail forgive what (Operations Guide, "Dont blame
// sendmail"). An empty word forgives nothing; where looked is not set, the modes of the file are not looked at.
type FileUse struct {
	anyDir, groupDir     string // others may write to a directory on its path: any, or only the group
	linked               string // it is a link in such a directory
	looked               bool
	groupFile, worldFile string // others may write to it
	owner                bool   // it must belong to who reads it, or to root
	plain                bool   // it may not be executable
}

// What sendmail reads.
var (
	MapFile     = FileUse{anyDir: "MapInUnsafeDirPath", linked: "LinkedMapInWritableDir"}
	ClassFile   = FileUse{anyDir: "ClassFileInUnsafeDirPath", linked: "LinkedClassFileInWritableDir"}
	IncludeFile = FileUse{
		anyDir: "IncludeFileInUnsafeDirPath", groupDir: "IncludeFileInGroupWritableDirPath", linked: "LinkedIncludeFileInWritableDir",
		looked: true, groupFile: "GroupWritableIncludeFile", worldFile: "WorldWritableIncludeFile",
	}
	ForwardFile = FileUse{
		anyDir: "ForwardFileInUnsafeDirPath", groupDir: "ForwardFileInGroupWritableDirPath", linked: "LinkedForwardFileInWritableDir",
		looked: true, groupFile: "GroupWritableForwardFile", worldFile: "WorldWritableForwardFile", owner: true,
	}
	// AliasSourceFile is the text of aliases when their database is made (newaliases), of which the path does not matter.
	AliasSourceFile = FileUse{anyDir: "-", linked: "LinkedAliasFileInWritableDir", looked: true, groupFile: "GroupWritableAliasFile", worldFile: "WorldWritableAliasFile", plain: true}
)

// FileReader is with whose rights a file is read.
type FileReader struct {
	UID, GID int
	Groups   []int
}

// Ourselves is who we are. Like the real one, root is content with what its user and group may read, and not with what a
// privileged process can.
func Ourselves() FileReader { return FileReader{UID: os.Geteuid(), GID: os.Getegid()} }

func (w FileReader) in(gid uint32) bool {
	return int(gid) == w.GID || slices.Contains(w.Groups, int(gid))
}

// mayRead tells whether the file may be read: by its owner, by its group, or by everybody, in which case the group may, too.
func (w FileReader) mayRead(st *unix.Stat_t) bool {
	need := uint32(unix.S_IRUSR)
	if int(st.Uid) != w.UID {
		if need >>= 3; !w.in(st.Gid) {
			need |= need >> 3
		}
	}
	return st.Mode&need == need
}

// mayPass tells whether a directory may be gone through.
func (w FileReader) mayPass(st *unix.Stat_t) bool {
	return int(st.Uid) == w.UID && st.Mode&unix.S_IXUSR != 0 || w.in(st.Gid) && st.Mode&unix.S_IXGRP != 0 || st.Mode&unix.S_IXOTH != 0
}

// Blamed reports whether DontBlameSendmail has one of the words. Its lines add up; "safe" takes back what was said before it.
func (c *Config) Blamed(words ...string) bool {
	found := false
	for _, o := range c.Options {
		if o.Name != "DontBlameSendmail" {
			continue
		}
		for _, w := range strings.FieldsFunc(o.Value, func(c rune) bool { return !(c < 0x80 && isNameChar(byte(c))) }) {
			if equalFold(w, "safe") {
				found = false
			}
			found = found || slices.ContainsFunc(words, func(want string) bool { return want != "" && equalFold(w, want) })
		}
	}
	return found
}

// SafeMap reports why sendmail would not open the file of a map. A missing file in a safe place is no reason.
func (c *Config) SafeMap(path string) error {
	if err := c.SafeFile(path, nil, MapFile, Ourselves()); !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTDIR) {
		return err
	}
	return nil
}

// safeClass is SafeFile for the file of a class.
func (r *reader) safeClass(path string) error {
	if r.opt.Trust {
		return nil
	}
	return r.cfg.SafeFile(path, nil, ClassFile, Ourselves())
}

// SafeFile reports why sendmail would not read a file: its path, whether it is a link where others may put one, its
// modes, in this order. opened is what a descriptor of the file says; nil: the path is asked.
func (c *Config) SafeFile(path string, opened *unix.Stat_t, use FileUse, who FileReader) error {
	free := use.anyDir == "-" || c.Blamed(use.anyDir)
	if !free {
		if err := c.safeDirs(path, use, who); err != nil {
			return err
		}
	}
	var st unix.Stat_t
	if opened != nil {
		st = *opened
	} else if err := unix.Stat(path, &st); err != nil {
		return err
	}
	var link unix.Stat_t
	if err := unix.Lstat(path, &link); err == nil && !c.Blamed(use.linked) && c.open(parent(path)) {
		switch {
		case link.Mode&unix.S_IFMT == unix.S_IFLNK:
			return errLink
		case st.Nlink > 1 && st.Mode&unix.S_IFMT == unix.S_IFREG:
			return errHardLink
		}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return errIrregular
	}
	if free {
		if err := c.passes(path, who); err != nil {
			return err
		}
	}
	switch {
	case use.plain && st.Mode&0o111 != 0:
		return errExecutable
	case use.looked && st.Mode&unix.S_IWGRP != 0 && !c.Blamed(use.groupFile):
		return errGroupFile
	case use.looked && st.Mode&unix.S_IWOTH != 0 && !c.Blamed(use.worldFile):
		return errWorldFile
	case use.plain && who.UID == 0: // only here is root content with what the owner may read
		if st.Mode&unix.S_IRUSR == 0 {
			return fs.ErrPermission
		}
	case use.owner && int(st.Uid) != who.UID && st.Uid != 0, !who.mayRead(&st):
		return fs.ErrPermission
	}
	return nil
}

// parent is the directory of a path, as it is written.
func parent(path string) string {
	switch i := strings.LastIndexByte(path, '/'); i {
	case -1:
		return "."
	case 0:
		return "/"
	default:
		return path[:i]
	}
}

// open reports whether others may put something into a directory.
func (c *Config) open(dir string) bool {
	var st unix.Stat_t
	return unix.Stat(dir, &st) == nil && c.writable(&st, "") != nil
}

// writable tells who beside the owner may write to a directory, if nothing forgives it.
func (c *Config) writable(st *unix.Stat_t, group string) error {
	switch {
	case st.Mode&unix.S_ISVTX != 0 && c.Blamed("TrustStickyBit"):
	case st.Mode&unix.S_IWOTH != 0:
		return errWorldDir
	case st.Mode&unix.S_IWGRP != 0 && !c.Blamed(group, "GroupWritableDirPathSafe"):
		return errGroupDir
	}
	return nil
}

// maxLinks is how many links on the way to a file are followed.
const maxLinks = 16

// safeDirs looks at every directory on the way to a file, and at those that a link leads through. One that is not there
// is no danger.
func (c *Config) safeDirs(path string, use FileUse, who FileReader) error {
	return walk(path, maxLinks, func(st *unix.Stat_t) error {
		if err := c.writable(st, use.groupDir); err != nil {
			return err
		}
		if !who.mayPass(st) {
			return fs.ErrPermission
		}
		return nil
	})
}

// passes is safeDirs where only the way counts, not who may write there.
func (c *Config) passes(path string, who FileReader) error {
	return walk(path, maxLinks, func(st *unix.Stat_t) error {
		if !who.mayPass(st) {
			return fs.ErrPermission
		}
		return nil
	})
}

// UnsafeDir is the first directory on a path that group or others may write to, and in sendmail's words who may; empty: none.
func (c *Config) UnsafeDir(path string) (dir, why string) {
	for i := 0; i < len(path); i++ {
		if path[i] != '/' {
			continue
		}
		var st unix.Stat_t
		if unix.Stat(path[:max(i, 1)], &st) == nil {
			if err := c.writable(&st, ""); err != nil {
				return path[:max(i, 1)], err.Error()
			}
		}
	}
	return "", ""
}

// walk shows the directories of a path from the top.
func walk(path string, links int, see func(*unix.Stat_t) error) error {
	if path != "" && path[0] != '/' {
		if err := at(".", links, see); err != nil {
			return err
		}
	}
	for i := 0; i < len(path); i++ {
		if path[i] != '/' || i > 0 && path[i-1] == '/' {
			continue
		}
		if err := at(path[:max(i, 1)], links, see); err != nil {
			return err
		}
	}
	return nil
}

// at shows one directory; where it is a link, that to which it leads with all above it.
func at(dir string, links int, see func(*unix.Stat_t) error) error {
	var st unix.Stat_t
	if unix.Lstat(dir, &st) != nil {
		return nil
	}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		return see(&st)
	}
	to, err := os.Readlink(dir)
	if err != nil || links == 0 {
		return unix.ELOOP
	}
	if to == "" || to[0] != '/' {
		to = parent(dir) + "/" + to
	}
	return walk(to+"/", links-1, see)
}

// MayRunFrom tells whether programs and files may be used that a file names which was found safe to read: nobody else
// could have put them there, or the words of DontBlameSendmail that end in "Safe" say so. kind is "ForwardFile" or
// "IncludeFile".
func (c *Config) MayRunFrom(kind, path string, st *unix.Stat_t) bool {
	if st.Mode&unix.S_IWGRP != 0 && !c.Blamed("GroupWritable"+kind+"Safe") || st.Mode&unix.S_IWOTH != 0 && !c.Blamed("WorldWritable"+kind+"Safe") {
		return false
	}
	if c.Blamed(kind + "InUnsafeDirPathSafe") {
		return true
	}
	forgiven := "" // directories that the group may write to, where a word is for them alone
	if kind == "ForwardFile" {
		forgiven = "ForwardFileInGroupWritableDirPath"
	}
	return walk(path, maxLinks, func(st *unix.Stat_t) error { return c.writable(st, forgiven) }) == nil
}
