package app

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"waybill/transport/smtpserver/passfile"
	"waybill/transport/sysexits"
)

// password makes a line of the file that "set passwords" names: a name, and what is needed to check a password but not
// to know it (SCRAM-SHA-256, RFC 5803).
func password(std stdio, args []string) int {
	fs, _ := options(std, "password", "[-f FILE] USER")
	file := fs.String("f", "", "put the line into `file`, in place of the user's old one")
	if exit, ok := parse(std, fs, args); !ok {
		return exit
	}
	if fs.NArg() != 1 {
		fs.Usage()
		return sysexits.Usage
	}
	user := fs.Arg(0)
	secret, err := readSecret(std)
	if err != nil {
		return failed(std, err)
	}
	line, err := passfile.Line(user, secret)
	if err != nil {
		fmt.Fprintf(std.err, "waybill: %v\n", err)
		return sysexits.DataErr
	}
	if *file == "" {
		fmt.Fprint(std.out, line)
		return sysexits.OK
	}
	return failed(std, replaceLine(*file, user+":", line))
}

// readSecret reads one line; what a person types is not shown, and asked for twice.
func readSecret(std stdio) (string, error) {
	in := bufio.NewReader(std.in)
	ask := func(prompt string) (string, error) {
		line, err := in.ReadString('\n')
		if err != nil && (err != io.EOF || line == "") {
			return "", errors.New("no " + prompt)
		}
		return strings.TrimRight(line, "\r\n"), nil
	}
	f, isFile := std.in.(*os.File)
	if !isFile {
		return ask("password")
	}
	old, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		return ask("password") // no terminal
	}
	silent := *old
	silent.Lflag &^= unix.ECHO
	if err := unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, &silent); err != nil {
		return "", err
	}
	defer unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, old)
	var typed [2]string
	for i, prompt := range []string{"Password: ", "Again: "} {
		fmt.Fprint(std.err, prompt)
		if typed[i], err = ask("password"); err != nil {
			return "", err
		}
		fmt.Fprintln(std.err)
	}
	if typed[0] != typed[1] {
		return "", errors.New("the two passwords differ")
	}
	return typed[0], nil
}

// replaceLine puts line into a file in place of the one that begins with start, and behind the others where there is
// none. The file is replaced as a whole, so that a daemon that reads it sees the old or the new one. The lock is that of
// its directory: one of the file itself would be left with the old file.
func replaceLine(file, start, line string) error {
	dir, err := os.Open(filepath.Dir(file))
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("%s: lock: %w", dir.Name(), err)
	}
	old, err := os.ReadFile(file)
	mode, uid, gid := os.FileMode(0o600), -1, -1
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	var st unix.Stat_t
	if err == nil && unix.Stat(file, &st) == nil {
		mode, uid, gid = os.FileMode(st.Mode&0o750), int(st.Uid), int(st.Gid)
	}
	var text strings.Builder
	found := false
	for l := range strings.Lines(string(old)) {
		if strings.HasPrefix(l, start) {
			if !found {
				text.WriteString(line)
			}
			found = true
			continue
		}
		text.WriteString(strings.TrimRight(l, "\n") + "\n")
	}
	if !found {
		text.WriteString(line)
	}
	f, err := os.CreateTemp(filepath.Dir(file), ".passwords-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(text.String())
	if err == nil && uid >= 0 {
		err = f.Chown(uid, gid)
	}
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), file)
}
