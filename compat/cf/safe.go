package cf

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Why a file is not read, in sendmail's words.
var (
	errWorldDir = errors.New("World writable directory")
	errGroupDir = errors.New("Group writable directory")
	errLink     = errors.New("Symbolic links not allowed")
)

// blamed reports whether DontBlameSendmail has one of the words.
func blamed(value string, words ...string) bool {
	for _, w := range strings.FieldsFunc(value, func(c rune) bool { return !(c < 0x80 && isNameChar(byte(c))) }) {
		for _, want := range words {
			if equalFold(w, want) {
				return true
			}
		}
	}
	return false
}

// SafeMap reports why sendmail would not open the file of a map (Operations Guide, "Don't blame sendmail"): a directory
// on its path that group or others may write to, unless DontBlameSendmail says MapInUnsafeDirPath; or nobody at all may
// read it. A missing file is no reason.
func (c *Config) SafeMap(path string) error {
	blame, _ := c.Option("DontBlameSendmail", "")
	return safeFile(path, blame, "MapInUnsafeDirPath", "LinkedMapInWritableDir")
}

// safeClass is SafeMap for the file of a class.
func (r *reader) safeClass(path string) error {
	if r.opt.Trust {
		return nil
	}
	blame, _ := r.cfg.Option("DontBlameSendmail", "")
	return safeFile(path, blame, "ClassFileInUnsafeDirPath", "LinkedClassFileInWritableDir")
}

// safeFile looks at a file and its path. unsafeDir and linked are the words of DontBlameSendmail that let a path through
// on which others may write, and a link that they may have put there.
func safeFile(path, blame, unsafeDir, linked string) error {
	if path == "" || path[0] != '/' {
		return nil // below the working directory, which the administrator has chosen
	}
	if !blamed(blame, unsafeDir) {
		if err := safeDirs(path, blamed(blame, "GroupWritableDirPathSafe"), blamed(blame, "TrustStickyBit")); err != nil {
			return err
		}
	}
	if link, err := os.Lstat(path); err == nil && link.Mode()&fs.ModeSymlink != 0 && !blamed(blame, linked) {
		if dir, err := os.Stat(filepath.Dir(path)); err == nil && (dir.Mode()&0o002 != 0 || dir.Mode()&0o020 != 0 && !blamed(blame, "GroupWritableDirPathSafe")) {
			return errLink
		}
	}
	info, err := os.Stat(path)
	if err == nil && info.Mode().IsRegular() && info.Mode()&0o444 == 0 {
		return fs.ErrPermission // for root, too
	}
	return nil
}

// safeDirs looks at every directory on the way to a file. Those that are not there are no danger, and with TrustStickyBit
// neither are those in which nobody removes the files of others.
func safeDirs(path string, groupMayWrite, sticky bool) error {
	for dir := filepath.Dir(filepath.Clean(path)); ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		switch {
		case err == nil && !info.IsDir():
			return fs.ErrPermission
		case err == nil && sticky && info.Mode()&fs.ModeSticky != 0:
		case err == nil && info.Mode()&0o002 != 0:
			return errWorldDir
		case err == nil && info.Mode()&0o020 != 0 && !groupMayWrite:
			return errGroupDir
		}
		if dir == "/" {
			return nil
		}
	}
}
