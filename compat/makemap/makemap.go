// Package makemap is what the commands makemap(8) and editmap(8) do: lines of keys and values become a database file,
// and single entries of one are asked, changed and removed. What flows in are arguments and lines; what flows out is the
// file, made beside the old one and put in its place as a whole. Messages and exit statuses are sendmail's. The formats of
// the files are given by whoever wires the program together.
package makemap

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"syscall"

	"waybill/compat/getopt"
	"waybill/transport/sysexits"
)

// Entry is one key with its value.
type Entry struct{ Key, Value []byte }

// Format is a kind of database file.
type Format struct {
	Suffix string // of the file: ".db"
	Read   func(data []byte) ([]Entry, error)
	// Write writes entries; those with equal keys stand in a row, and there are some only when dup is set.
	Write func(w io.Writer, all []Entry, dup bool) error
}

// Env is what the commands need from outside.
type Env struct {
	Formats  map[string]Format // by the word of the command line
	In       io.Reader
	Out, Err io.Writer
	// Trusted returns the words of DontBlameSendmail of a configuration file; its error is that of opening the file.
	Trusted func(configFile string) (dontBlame string, err error)
}

// The flags in getopt's form.
const (
	MakemapFlags = "C:c:dD:efi:lNorst:uv"
	EditmapFlags = "C:fNqux"
)

const usageMakemap = `Usage: makemap [-C cffile] [-N] [-c cachesize] [-D commentchar]
               [-d] [-e] [-f] [-i type] [-l] [-o] [-r] [-s] [-t delimiter]
               [-u] [-v] type mapname
`

// job is one call of makemap.
type job struct {
	env                                                         Env
	name                                                        string // of the program, in messages
	config, kind, file                                          string
	null, dup, empty, keepCase, appending, replace, dump, noisy bool
	comment, delimiter                                          byte
}

// first is the character that -D or -t names; an empty word names none.
func first(word string) byte {
	if word == "" {
		return 0
	}
	return word[0]
}

// Makemap runs makemap with its arguments and returns the exit status.
func Makemap(args []string, env Env) int {
	j := &job{env: env, name: "makemap", config: "", comment: '#'}
	list := false
	rest, err := getopt.Parse(args, MakemapFlags, func(letter byte, v string) error {
		switch letter {
		case 'C':
			j.config = v
		case 'd':
			j.dup = true
		case 'D':
			j.comment = first(v)
		case 'e':
			j.empty = true
		case 'f':
			j.keepCase = true
		case 'l':
			list = true
		case 'N':
			j.null = true
		case 'o':
			j.appending = true
		case 'r':
			j.replace = true
		case 't':
			j.delimiter = first(v)
		case 'u':
			j.dump = true
		case 'v':
			j.noisy = true
		}
		return nil
	})
	switch {
	case err != nil:
		fmt.Fprintf(env.Err, "makemap: %v\n%s", err, usageMakemap)
		return sysexits.Usage
	case list:
		var names []string
		for n := range env.Formats {
			names = append(names, n)
		}
		sort.Strings(names)
		for _, n := range names {
			fmt.Fprintln(env.Out, n)
		}
		return sysexits.OK
	case len(rest) != 2:
		fmt.Fprint(env.Err, usageMakemap)
		return sysexits.Usage
	}
	j.kind, j.file = rest[0], rest[1]
	format, exit := j.format()
	if exit != 0 {
		return exit
	}
	if j.dump {
		return j.print(format)
	}
	var old []Entry
	if j.appending {
		var err error
		if old, err = j.read(format); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return j.cannotOpen(err)
		}
	}
	all, exit := j.lines(old)
	if err := j.replaceFile(format, all); err != nil {
		return j.cannotOpen(err)
	}
	return exit
}

// format finds the format, after the configuration file was looked at.
func (j *job) format() (Format, int) {
	if _, err := j.env.Trusted(j.config); err != nil {
		fmt.Fprintf(j.env.Err, "%s: %s: %s\n", j.name, j.config, why(err))
		return Format{}, sysexits.NoInput
	}
	format, ok := j.env.Formats[j.kind]
	if !ok {
		return format, j.cannotOpen(errors.New("Unknown database type"))
	}
	if !strings.HasSuffix(j.file, format.Suffix) {
		j.file += format.Suffix
	}
	return format, 0
}

func (j *job) cannotOpen(err error) int {
	fmt.Fprintf(j.env.Err, "%s: error opening type %s map %s: %s\n", j.name, j.kind, j.mapName(), why(err))
	return sysexits.CantCreat
}

// mapName is the name as the caller gave it.
func (j *job) mapName() string {
	if f, ok := j.env.Formats[j.kind]; ok {
		return strings.TrimSuffix(j.file, f.Suffix)
	}
	return j.file
}

// why is an error in the words of the C library.
func why(err error) string {
	var no syscall.Errno
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "No such file or directory"
	case errors.As(err, &no):
		s := no.Error()
		return strings.ToUpper(s[:1]) + s[1:]
	}
	return err.Error()
}

func (j *job) read(format Format) ([]Entry, error) {
	data, err := os.ReadFile(j.file)
	if err != nil {
		return nil, err
	}
	return format.Read(data)
}

// print writes all entries as lines.
func (j *job) print(format Format) int {
	all, err := j.read(format)
	if err != nil {
		return j.cannotOpen(err)
	}
	out := bufio.NewWriter(j.env.Out)
	delimiter := j.delimiter
	if delimiter == 0 {
		delimiter = '\t'
	}
	for _, e := range all {
		out.Write(bytes.TrimSuffix(e.Key, []byte{0}))
		out.WriteByte(delimiter)
		out.Write(bytes.TrimSuffix(e.Value, []byte{0}))
		out.WriteByte('\n')
	}
	if err := out.Flush(); err != nil {
		fmt.Fprintf(j.env.Err, "makemap: %v\n", err)
		return sysexits.IOErr
	}
	return sysexits.OK
}

// maxLine is how long a line may be.
const maxLine = 1 << 20

// lines reads the lines of the input behind the entries that are there already. Lines that are wrong are told and left
// out.
func (j *job) lines(old []Entry) (all []Entry, exit int) {
	at := map[string][]int{} // places of a key's entries
	all = old
	for i, e := range all {
		at[string(e.Key)] = append(at[string(e.Key)], i)
	}
	in := bufio.NewScanner(j.env.In)
	in.Buffer(make([]byte, 0, 64<<10), maxLine)
	complain := func(n int, format string, args ...any) {
		fmt.Fprintf(j.env.Err, "makemap: %s: line %d: %s\n", j.mapName(), n, fmt.Sprintf(format, args...))
		exit = sysexits.DataErr
	}
	for n := 1; in.Scan(); n++ {
		line := bytes.TrimSuffix(in.Bytes(), []byte{'\r'})
		if len(line) == 0 || line[0] == j.comment {
			continue
		}
		if j.delimiter == 0 && isSpace(line[0]) {
			complain(n, "syntax error (leading space)")
			continue
		}
		key, value := j.cut(line)
		if !j.keepCase {
			key = lower(key)
		}
		if len(value) == 0 && !j.empty {
			complain(n, "no RHS for LHS %s", key)
			continue
		}
		e := Entry{bytes.Clone(key), bytes.Clone(value)}
		if j.null {
			e.Key, e.Value = append(e.Key, 0), append(e.Value, 0)
		}
		if j.noisy {
			fmt.Fprintf(j.env.Out, "key=`%s', val=`%s'\n", key, value)
		}
		have := at[string(e.Key)]
		switch {
		case len(have) == 0 || j.dup:
			at[string(e.Key)] = append(have, len(all))
			all = append(all, e)
		case j.replace:
			all[have[0]] = e
		default:
			complain(n, "key %s: duplicate key", key)
		}
	}
	if err := in.Err(); err != nil {
		fmt.Fprintf(j.env.Err, "makemap: %s: %v\n", j.mapName(), err)
		exit = sysexits.IOErr
	}
	if j.dup { // equal keys in a row
		sort.SliceStable(all, func(a, b int) bool { return at[string(all[a].Key)][0] < at[string(all[b].Key)][0] })
	}
	return all, exit
}

// cut cuts a line into key and value: at white space, or at the delimiter, behind which white space goes.
func (j *job) cut(line []byte) (key, value []byte) {
	i := 0
	for i < len(line) && !(j.delimiter != 0 && line[i] == j.delimiter || j.delimiter == 0 && isSpace(line[i])) {
		i++
	}
	key = line[:i]
	if j.delimiter != 0 && i < len(line) {
		i++
	}
	for j.delimiter == 0 && i < len(line) && isSpace(line[i]) {
		i++
	}
	return key, line[i:]
}

func isSpace(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }

// lower is text in lower case, ASCII only.
func lower(b []byte) []byte {
	b = bytes.Clone(b)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c | 0x20
		}
	}
	return b
}

// replaceFile writes the file beside the old one, syncs it, and puts it in its place. A link stays, and so do the mode
// and the owner of the old file; a new one is for its owner and group.
// Replace writes a database file, whole or not at all: under another name first, which it then gets. It keeps mode and owner of an older one.
func Replace(path string, format Format, all []Entry) error {
	return (&job{file: path}).replaceFile(format, all)
}

func (j *job) replaceFile(format Format, all []Entry) error {
	path := j.file
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	mode, uid, gid := fs.FileMode(0o640), -1, -1
	if info, err := os.Stat(path); err == nil {
		if !info.Mode().IsRegular() {
			return errors.New("Regular files only")
		}
		mode = info.Mode().Perm()
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			uid, gid = int(st.Uid), int(st.Gid)
		}
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".makemap-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	out := bufio.NewWriterSize(f, 256<<10)
	if err := format.Write(out, all, j.dup); err != nil {
		return err
	}
	if err := out.Flush(); err != nil {
		return err
	}
	if err := f.Chmod(mode); err != nil {
		return err
	}
	if uid >= 0 && os.Geteuid() == 0 {
		if err := f.Chown(uid, gid); err != nil {
			return err
		}
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
