package cf

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// safeTree makes directories and files of many modes and owners below a directory that only root may write to: in each
// directory a file for each mode, links, a hard link, and things that are no files.
func safeTree(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test needs root, for files of others")
	}
	base, err := os.MkdirTemp("/srv", "safe")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(base) })
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Chmod(base, 0o755))
	const someone = 4711
	files := map[string]struct {
		mode  fs.FileMode
		owner int
	}{
		"644": {0o644, 0}, "600": {0o600, 0}, "660": {0o660, 0}, "664": {0o664, 0}, "666": {0o666, 0}, "646": {0o646, 0}, "000": {0, 0}, "044": {0o044, 0}, "755": {0o755, 0},
		"his644": {0o644, someone}, "his600": {0o600, someone}, "his604": {0o604, someone}, "other644": {0o644, someone + 1},
	}
	dirs := map[string]struct {
		mode  fs.FileMode
		owner int
	}{
		"ok": {0o755, 0}, "group": {0o775, 0}, "world": {0o777, 0}, "sticky": {0o777 | fs.ModeSticky, 0}, "his": {0o755, someone}, "closed": {0o700, someone},
	}
	for dir, d := range dirs {
		in := filepath.Join(base, dir)
		must(os.MkdirAll(filepath.Join(in, "sub"), 0o755))
		must(os.WriteFile(filepath.Join(in, "sub/644"), nil, 0o644))
		for name, f := range files {
			file := filepath.Join(in, name)
			must(errors.Join(os.WriteFile(file, nil, 0o644), os.Chown(file, f.owner, f.owner), os.Chmod(file, f.mode)))
		}
		must(os.WriteFile(filepath.Join(in, "hard"), nil, 0o644))
		must(errors.Join(os.Link(filepath.Join(in, "hard"), filepath.Join(in, "hard2")), os.Symlink(filepath.Join(base, "ok/644"), filepath.Join(in, "link")),
			os.Symlink("/nonexistent/x", filepath.Join(in, "dangling")), os.Symlink(filepath.Join(base, "ok/sub"), filepath.Join(in, "linkdir")),
			unix.Mkfifo(filepath.Join(in, "fifo"), 0o644), os.Symlink("../world/sub", filepath.Join(in, "intoworld"))))
		must(errors.Join(os.Chown(in, d.owner, d.owner), os.Chmod(in, d.mode)))
	}
	return base
}

// TestSafeFiles has what the real one says of files, in its words, for each kind of file and each word of
// DontBlameSendmail. "" is that it reads the file.
func TestSafeFiles(t *testing.T) {
	base := safeTree(t)
	const (
		group, world     = "Group writable directory", "World writable directory"
		byGroup, byWorld = "Group writable file", "World writable file"
		link, hard       = "Symbolic links not allowed", "Hard links not allowed"
		denied, missing  = "Permission denied", "No such file or directory"
		irregular        = "Regular files only"
	)
	root, him := FileReader{}, FileReader{UID: 4711, GID: 4711}
	for _, c := range []struct {
		use   FileUse
		who   FileReader
		blame string
		says  map[string]string
	}{
		{ClassFile, root, "safe", map[string]string{
			"ok/644": "", "ok/666": "", "ok/755": "", "ok/his644": "", "ok/link": "", "ok/hard": "", "ok/linkdir/644": "", "his/644": "", "ok/600": "",
			"ok/000": denied, "ok/044": denied, "ok/his600": denied, "ok/his604": denied, "ok/dangling": missing, "ok/missing": missing, "ok/fifo": irregular, "ok/sub": irregular,
			"ok/644/x": denied, "ok/755/x": "Not a directory", "closed/644": denied, "closed/missing": denied, "ok/intoworld/644": world,
			"group/644": group, "group/sub/644": group, "group/missing": group, "group/linkdir/644": group, "world/644": world, "sticky/644": world, "ok/../world/644": world,
		}},
		{ClassFile, root, "ClassFileInUnsafeDirPath", map[string]string{
			"group/644": "", "world/sub/644": "", "sticky/644": "", "ok/intoworld/644": "", "group/link": link, "world/link": link, "world/hard": hard, "sticky/hard": hard,
			"world/his600": denied, "world/missing": missing, "closed/644": denied, "closed/missing": missing, "ok/644/x": "Not a directory",
		}},
		{ClassFile, root, "ClassFileInUnsafeDirPath,LinkedClassFileInWritableDir", map[string]string{"group/link": "", "world/link": "", "world/hard": "", "world/000": denied}},
		{ClassFile, root, "LinkedClassFileInWritableDir", map[string]string{"group/link": group, "ok/link": ""}},
		{ClassFile, root, "GroupWritableDirPathSafe", map[string]string{"group/644": "", "group/link": "", "group/hard": "", "group/sub/644": "", "world/644": world, "sticky/644": world}},
		{ClassFile, root, "TrustStickyBit", map[string]string{"sticky/644": "", "sticky/link": "", "sticky/hard": "", "world/644": world, "group/644": group, "sticky/his600": denied}},
		{ClassFile, root, "AssumeSafeChown", map[string]string{"group/644": group, "world/644": world, "ok/his644": ""}},
		{ClassFile, root, "ClassFileInUnsafeDirPath,safe", map[string]string{"world/644": world}}, // "safe" takes back what stood before it
		{ClassFile, root, "safe,classfileinunsafedirpath", map[string]string{"world/644": ""}},
		{MapFile, root, "MapInUnsafeDirPath", map[string]string{"group/644": "", "world/666": "", "world/link": link, "world/hard": hard, "ok/fifo": irregular, "ok/his600": denied}},
		{MapFile, root, "MapInUnsafeDirPath,LinkedMapInWritableDir", map[string]string{"world/link": "", "world/hard": ""}},
		{MapFile, root, "ClassFileInUnsafeDirPath", map[string]string{"world/644": world}},
		{IncludeFile, him, "safe", map[string]string{
			"ok/644": "", "ok/his644": "", "ok/his600": "", "ok/other644": "", "ok/755": "", "ok/link": "", "his/644": "", "closed/644": "", "ok/600": denied,
			"ok/660": byGroup, "ok/666": byGroup, "ok/646": byWorld, "ok/000": denied, "ok/fifo": irregular, "ok/missing": missing, "group/644": group, "world/644": world, "group/missing": group,
		}},
		{IncludeFile, him, "GroupWritableIncludeFile", map[string]string{"ok/664": "", "ok/660": denied, "ok/666": byWorld, "group/664": group}},
		{IncludeFile, him, "GroupWritableIncludeFileSafe", map[string]string{"ok/664": byGroup}},
		{IncludeFile, him, "WorldWritableIncludeFile", map[string]string{"ok/646": "", "ok/666": byGroup}},
		{IncludeFile, him, "IncludeFileInGroupWritableDirPath", map[string]string{"group/644": "", "group/664": byGroup, "group/link": link, "group/hard": hard, "world/644": world}},
		{IncludeFile, him, "IncludeFileInUnsafeDirPath", map[string]string{"group/644": "", "world/644": "", "world/link": link}},
		{IncludeFile, him, "IncludeFileInUnsafeDirPathSafe", map[string]string{"world/644": world}},
		{IncludeFile, him, "LinkedIncludeFileInWritableDir,IncludeFileInUnsafeDirPath", map[string]string{"world/link": ""}},
		{ForwardFile, him, "safe", map[string]string{
			"ok/644": "", "ok/his644": "", "ok/his600": "", "ok/755": "", "ok/other644": denied, "ok/600": denied, "ok/664": byGroup, "ok/646": byWorld, "group/644": group, "world/his644": world,
		}},
		{ForwardFile, him, "GroupWritableForwardFile", map[string]string{"ok/664": "", "ok/666": byWorld}},
		{ForwardFile, him, "WorldWritableForwardFile", map[string]string{"ok/646": "", "ok/666": byGroup}},
		{ForwardFile, him, "ForwardFileInGroupWritableDirPath", map[string]string{"group/his644": "", "world/644": world}},
		{ForwardFile, him, "ForwardFileInUnsafeDirPath", map[string]string{"world/his644": "", "world/other644": denied}},
		{AliasSourceFile, root, "safe", map[string]string{
			"ok/644": "", "ok/600": "", "ok/his600": "", "group/644": "", "world/644": "", "ok/664": byGroup, "ok/666": byGroup, "ok/646": byWorld, "ok/755": "Executable files not allowed", "group/link": link,
			"group/hard": hard, "ok/fifo": irregular, "ok/missing": missing, "ok/000": denied, "ok/755/x": "Not a directory",
		}},
		{AliasSourceFile, root, "GroupWritableAliasFile", map[string]string{"ok/664": "", "ok/666": byWorld}},
		{AliasSourceFile, root, "WorldWritableAliasFile", map[string]string{"ok/646": "", "ok/666": byGroup}},
		{AliasSourceFile, root, "LinkedAliasFileInWritableDir", map[string]string{"group/link": "", "world/hard": ""}},
	} {
		conf := &Config{Options: []Option{{Name: "DontBlameSendmail", Value: c.blame}}}
		for file, want := range c.says {
			got := ""
			if err := conf.SafeFile(base+"/"+file, nil, c.use, c.who); err != nil {
				got = Reason(err)
			}
			if got != want {
				t.Errorf("%s, %s (%s): %q, not %q", c.use.linked, file, c.blame, got, want)
			}
		}
	}
}

// TestWhoMayRunFrom: programs and files that a list names are used when nobody else could have put them there.
func TestWhoMayRunFrom(t *testing.T) {
	base := safeTree(t)
	for _, c := range []struct {
		kind, blame, file string
		run               bool
	}{
		{"ForwardFile", "safe", "ok/644", true},
		{"ForwardFile", "GroupWritableForwardFile", "ok/664", false},
		{"ForwardFile", "GroupWritableForwardFile,GroupWritableForwardFileSafe", "ok/664", true},
		{"ForwardFile", "ForwardFileInGroupWritableDirPath", "group/644", true},
		{"ForwardFile", "ForwardFileInUnsafeDirPath", "group/644", false},
		{"ForwardFile", "ForwardFileInUnsafeDirPath,ForwardFileInUnsafeDirPathSafe", "world/644", true},
		{"IncludeFile", "IncludeFileInGroupWritableDirPath", "group/644", false},
		{"IncludeFile", "GroupWritableDirPathSafe", "group/644", true},
		{"IncludeFile", "TrustStickyBit", "sticky/644", true},
		{"IncludeFile", "IncludeFileInUnsafeDirPath,IncludeFileInUnsafeDirPathSafe", "world/644", true},
	} {
		conf := &Config{Options: []Option{{Name: "DontBlameSendmail", Value: c.blame}}}
		var st unix.Stat_t
		if err := unix.Stat(base+"/"+c.file, &st); err != nil {
			t.Fatal(err)
		}
		if got := conf.MayRunFrom(c.kind, base+"/"+c.file, &st); got != c.run {
			t.Errorf("%s %s (%s): %v", c.kind, c.file, c.blame, got)
		}
	}
}

// TestClassFileWithoutEnd: what looks like a file, but has more when something happens, is an error at once; and so are
// pipes and devices, which are not opened.
func TestClassFileWithoutEnd(t *testing.T) {
	base := safeTree(t)
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(ends[0])
	defer unix.Close(ends[1])
	if _, err := waitless(ends[0]).Read(make([]byte, 10)); !errors.Is(err, errWaits) {
		t.Errorf("a pipe with nothing in it: %v", err)
	}
	for _, file := range []string{base + "/ok/fifo", "/dev/null", "/dev/zero", "/proc/kmsg"} {
		c, err := Read(strings.NewReader("V10\nF{X}"+file+"\nMlocal, P=/bin/true, F=l, A=x\n"), "x.cf", Options{})
		if err != nil {
			t.Fatal(err)
		}
		if len(c.Messages) != 1 || !strings.Contains(c.Messages[0].Text, "fileclass: cannot open '"+file+"': ") || c.Exit != 71 {
			if file != "/proc/kmsg" || c.Exit != 71 { // where there is no /proc/kmsg, or it may not be read, it says that
				t.Errorf("%s: %v exit %d", file, c.Messages, c.Exit)
			}
		}
	}
	c, err := Read(strings.NewReader("V10\nF{X}/proc/version\nMlocal, P=/bin/true, F=l, A=x\n"), "x.cf", Options{})
	if err != nil || len(c.Messages) > 0 || len(c.Prog.Classes["X"].Words) == 0 {
		t.Errorf("/proc/version: %v %v", err, c.Messages)
	}
}
