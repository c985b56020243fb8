package makemap

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"waybill/compat/getopt"
	"waybill/transport/sysexits"
)

const usageEditmap = "Usage: editmap [-C cffile] [-N] [-f] [-q|-u|-x] maptype mapname key [ \"value ...\" ]\n"

// Editmap runs editmap with its arguments and returns the exit status.
func Editmap(args []string, env Env) int {
	j := &job{env: env, name: "editmap"}
	verbs := ""
	rest, err := getopt.Parse(args, EditmapFlags, func(letter byte, v string) error {
		switch letter {
		case 'C':
			j.config = v
		case 'f':
			j.keepCase = true
		case 'N':
			j.null = true
		default:
			verbs += string(letter)
		}
		return nil
	})
	if err != nil {
		fmt.Fprintf(env.Err, "editmap: %v\n", err)
	}
	if err != nil || len(verbs) != 1 || len(rest) < 3 || verbs == "u" && len(rest) < 4 || verbs != "u" && len(rest) > 3 {
		fmt.Fprint(env.Err, usageEditmap)
		return sysexits.Usage
	}
	j.kind, j.file = rest[0], rest[1]
	format, exit := j.format()
	if exit != 0 {
		return exit
	}
	key := []byte(rest[2])
	if !j.keepCase {
		key = lower(key)
	}
	shown := string(key)
	if j.null {
		key = append(key, 0)
	}
	if verbs == "q" {
		return j.query(format, key, shown)
	}
	unlock, err := j.lock()
	if err != nil {
		return j.cannotOpen(err)
	}
	defer unlock()
	all, err := j.read(format)
	if err != nil && !(verbs == "u" && errors.Is(err, fs.ErrNotExist)) {
		return j.cannotOpen(err)
	}
	kept, place := all[:0], -1
	for _, e := range all {
		if bytes.Equal(e.Key, key) {
			if place < 0 {
				place = len(kept)
			}
			continue
		}
		if len(kept) > 0 && bytes.Equal(kept[len(kept)-1].Key, e.Key) {
			j.dup = true
		}
		kept = append(kept, e)
	}
	switch verbs {
	case "x":
		if place < 0 {
			fmt.Fprintf(env.Err, "editmap: key %s doesn't exist in map %s\n", shown, j.mapName())
			return sysexits.OK
		}
	default:
		value := []byte(rest[3])
		for _, w := range rest[4:] {
			value = append(append(value, ' '), w...)
		}
		if j.null {
			value = append(value, 0)
		}
		kept = append(kept, Entry{key, value})
	}
	if err := j.replaceFile(format, kept); err != nil {
		return j.cannotOpen(err)
	}
	return sysexits.OK
}

func (j *job) query(format Format, key []byte, shown string) int {
	all, err := j.read(format)
	if err != nil {
		return j.cannotOpen(err)
	}
	for _, e := range all {
		if bytes.Equal(e.Key, key) {
			fmt.Fprintf(j.env.Out, "%s\n", bytes.TrimSuffix(e.Value, []byte{0}))
			return sysexits.OK
		}
	}
	fmt.Fprintf(j.env.Err, "editmap: couldn't find key %s in map %s\n", shown, j.mapName())
	return sysexits.Unavailable
}

// lock keeps others from changing the file between reading and replacing it.
func (j *job) lock() (unlock func(), err error) {
	for {
		f, err := os.OpenFile(j.file, os.O_RDONLY, 0)
		if errors.Is(err, fs.ErrNotExist) {
			return func() {}, nil
		}
		if err != nil {
			return nil, err
		}
		if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
			f.Close()
			return nil, err
		}
		mine, err := f.Stat()
		now, err2 := os.Stat(j.file)
		if err == nil && err2 == nil && os.SameFile(mine, now) {
			return func() { f.Close() }, nil
		}
		f.Close() // it was replaced meanwhile
	}
}
