// Package passfile reads the password file for SMTP AUTH. Lines of the file flow in, a sasl.Store flows out. The
// format is a name, a colon and a secret; blank lines and lines that begin with # are skipped:
//
//	tester:SCRAM-SHA-256$10000:c2FsdA==$c3RvcmVk:c2VydmVy     rounds:salt$stored:server, as PostgreSQL writes it
//	robot:PLAIN$hunter2                                        in clear, which CRAM-MD5 needs
//
// The file must not be writable, nor readable, by others. It is read again when it has changed; a file that cannot be
// read, or has a line that is none, means "not now" for everybody, never "no".
package passfile

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"waybill/transport/smtpserver/sasl"
)

// maxFile is the largest file that is read.
const maxFile = 16 << 20

// File is a password file. It implements sasl.Store, sasl.KeyStore, and, through WithClear, sasl.Revealer.
type File struct {
	path string
	seed []byte // makes the salts of users that do not exist

	mu      sync.Mutex
	checked time.Time
	stamp   stamp
	users   map[string]entry
	err     error
}

type stamp struct {
	mtime time.Time
	size  int64
	ino   uint64
}

type entry struct {
	clear string
	plain bool
	keys  sasl.Keys
}

// Open reads the file at path. An error names the line.
func Open(path string) (*File, error) {
	f := &File{path: path, seed: []byte(rand.Text())}
	_, err := f.load()
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Store returns f as what AUTH can use: with CRAM-MD5 if every user has a password in clear.
func (f *File) Store() sasl.Store {
	users, err := f.load()
	if err != nil || len(users) == 0 {
		return f
	}
	for _, e := range users {
		if !e.plain {
			return f
		}
	}
	return withClear{f}
}

// load returns the users, and looks at most once a second whether the file has changed.
func (f *File) load() (map[string]entry, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now := time.Now(); f.checked.IsZero() || now.Sub(f.checked) >= time.Second {
		f.checked = now
		f.reload()
	}
	return f.users, f.err
}

func (f *File) reload() {
	file, err := os.Open(f.path)
	if err != nil {
		f.users, f.err, f.stamp = nil, err, stamp{}
		return
	}
	defer file.Close()
	info, err := file.Stat()
	switch {
	case err != nil:
	case !info.Mode().IsRegular():
		err = fmt.Errorf("%s: not a regular file", f.path)
	case info.Mode().Perm()&0o027 != 0:
		err = fmt.Errorf("%s: others may read or change it (mode %#o)", f.path, info.Mode().Perm())
	case info.Size() > maxFile:
		err = fmt.Errorf("%s: larger than %d octets", f.path, maxFile)
	}
	if err != nil {
		f.users, f.err, f.stamp = nil, err, stamp{}
		return
	}
	is := stamp{info.ModTime(), info.Size(), inode(info)}
	if is == f.stamp && f.err == nil {
		return
	}
	text := make([]byte, info.Size())
	n, err := file.ReadAt(text, 0)
	if int64(n) < info.Size() {
		f.users, f.err, f.stamp = nil, fmt.Errorf("%s: %w", f.path, err), stamp{}
		return
	}
	f.users, f.err = parse(f.path, string(text))
	f.stamp = is
}

func parse(path, text string) (map[string]entry, error) {
	users := make(map[string]entry)
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimRight(line, "\r\n")
		if line == "" || line[0] == '#' {
			continue
		}
		name, secret, ok := strings.Cut(line, ":")
		if !ok || name == "" {
			return nil, fmt.Errorf("%s:%d: not NAME:SECRET", path, n)
		}
		if _, twice := users[name]; twice {
			return nil, fmt.Errorf("%s:%d: user %q again", path, n, name)
		}
		e, err := parseSecret(secret)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, n, err)
		}
		users[name] = e
	}
	return users, nil
}

func parseSecret(secret string) (entry, error) {
	scheme, value, _ := strings.Cut(secret, "$")
	switch scheme {
	case "PLAIN":
		if value == "" {
			return entry{}, fmt.Errorf("empty password")
		}
		return entry{clear: value, plain: true}, nil
	case "SCRAM-SHA-256":
		keys, err := parseKeys(value)
		return entry{keys: keys}, err
	}
	return entry{}, fmt.Errorf("unknown scheme, want SCRAM-SHA-256$ or PLAIN$")
}

func parseKeys(s string) (sasl.Keys, error) {
	bad := fmt.Errorf("bad SCRAM-SHA-256 secret, want ROUNDS:SALT$STORED:SERVER")
	head, tail, ok := strings.Cut(s, "$")
	rounds, salt, ok2 := strings.Cut(head, ":")
	stored, server, ok3 := strings.Cut(tail, ":")
	if !ok || !ok2 || !ok3 {
		return sasl.Keys{}, bad
	}
	var k sasl.Keys
	var err error
	if k.Rounds, err = strconv.Atoi(rounds); err != nil || k.Rounds < 4096 || k.Rounds > 10_000_000 {
		return sasl.Keys{}, bad
	}
	for _, f := range []struct {
		to   *[]byte
		text string
		min  int
	}{{&k.Salt, salt, 8}, {&k.StoredKey, stored, sha256.Size}, {&k.ServerKey, server, sha256.Size}} {
		if *f.to, err = base64.StdEncoding.DecodeString(f.text); err != nil || len(*f.to) < f.min {
			return sasl.Keys{}, bad
		}
	}
	return k, nil
}

// Line returns the line of the file for a user with this password, with new salt.
func Line(user, password string) (string, error) {
	if user == "" || strings.ContainsAny(user, ":\r\n\x00") || strings.HasPrefix(user, "#") || password == "" {
		return "", fmt.Errorf("a user needs a name without colon and a password")
	}
	salt := make([]byte, 16)
	rand.Read(salt)
	k, err := sasl.NewKeys(password, salt, sasl.DefaultRounds)
	if err != nil {
		return "", err
	}
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("%s:SCRAM-SHA-256$%d:%s$%s:%s\n", user, k.Rounds, b64(k.Salt), b64(k.StoredKey), b64(k.ServerKey)), nil
}

// Verify implements sasl.Store.
func (f *File) Verify(_ context.Context, user, password string) (bool, error) {
	users, err := f.load()
	if err != nil {
		return false, err
	}
	e, found := users[user]
	if found && e.plain {
		a, b := sha256.Sum256([]byte(e.clear)), sha256.Sum256([]byte(password))
		return subtle.ConstantTimeCompare(a[:], b[:]) == 1, nil
	}
	if !found {
		e.keys = f.nobody(user)
	}
	return e.keys.Verify(password) && found, nil // the same work for a user that does not exist
}

// Keys implements sasl.KeyStore.
func (f *File) Keys(_ context.Context, user string) (sasl.Keys, bool, error) {
	users, err := f.load()
	if err != nil {
		return sasl.Keys{}, false, err
	}
	e, found := users[user]
	switch {
	case !found:
		return f.nobody(user), false, nil
	case e.plain:
		k, err := sasl.NewKeys(e.clear, f.nobody(user).Salt, sasl.DefaultRounds)
		return k, true, err
	}
	return e.keys, true, nil
}

// nobody is the keys of a user that does not exist. The salt depends on the name, as a real one would.
func (f *File) nobody(user string) sasl.Keys {
	mac := hmac.New(sha256.New, f.seed)
	mac.Write([]byte(user))
	sum := mac.Sum(nil)
	return sasl.Keys{Salt: sum[:16], Rounds: sasl.DefaultRounds, StoredKey: sum, ServerKey: sum}
}

// withClear is a File in which every password is in clear.
type withClear struct{ *File }

// Reveal implements sasl.Revealer.
func (f withClear) Reveal(_ context.Context, user string) (string, bool, error) {
	users, err := f.load()
	if err != nil {
		return "", false, err
	}
	e, found := users[user]
	return e.clear, found && e.plain, nil
}
