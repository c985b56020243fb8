package table

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"

	"waybill/rules/prog"
)

// UserDB is sendmail's user database (Operations Guide, "The User Database"): Berkeley DB files of type btree, whose keys
// are "user:field" and may come several times. A file that does not exist has no entries; one that cannot be read means
// "not now". Files that change are read again.
type UserDB struct {
	parts []*userPart
	bad   []string // of the specification
}

// userPart is one of the places where users are looked for, in order.
type userPart struct {
	path string
	host string // every user who has not been found has his mailbox there

	mu      sync.Mutex
	stamp   string
	entries map[string][]string
}

// OpenUserDB reads a UserDatabaseSpec: files, with or without ".db", and "@host", between commas.
func OpenUserDB(spec string) *UserDB {
	db := &UserDB{}
	for _, word := range strings.FieldsFunc(spec, func(r rune) bool { return r == ',' || r == ':' }) {
		switch word = strings.TrimSpace(word); {
		case strings.HasPrefix(word, "@"):
			db.parts = append(db.parts, &userPart{host: word[1:]})
		case strings.HasPrefix(word, "/"):
			db.parts = append(db.parts, &userPart{path: strings.TrimSuffix(word, ".db") + ".db"})
		default:
			db.bad = append(db.bad, "Unknown UDB spec "+word)
		}
	}
	return db
}

// Complaints says what makes no sense in the specification.
func (db *UserDB) Complaints() []string { return db.bad }

// Values returns all entries of a user's field, those of the first file that has any.
func (db *UserDB) Values(user, field string) ([]string, error) {
	for _, p := range db.parts {
		if p.path == "" {
			continue
		}
		values, err := p.values(user + ":" + field)
		if err != nil || len(values) > 0 {
			return values, err
		}
	}
	return nil, nil
}

// Drops returns where a user's mail goes instead of his mailbox, and the sender that it gets (empty: it keeps its own).
func (db *UserDB) Drops(user string) (drops []string, sender string, err error) {
	user = strings.ToLower(user)
	for _, p := range db.parts {
		if p.path == "" {
			return []string{user + "@" + p.host}, "", nil
		}
		if drops, err = p.values(user + ":maildrop"); err != nil || len(drops) == 0 {
			if err != nil {
				return nil, "", err
			}
			continue
		}
		from, err := p.values(user + ":mailsender")
		if err == nil && len(from) > 0 {
			sender = from[0]
		}
		return drops, sender, err
	}
	return nil, "", nil
}

// MailName returns the address that a user shows to others: his mailname; for one who has only a maildrop, his name at
// the host of ":default:mailname".
func (db *UserDB) MailName(user string) (string, error) {
	user = strings.ToLower(user)
	for _, ask := range [][2]string{{user, "mailname"}, {user, "maildrop"}} {
		values, err := db.Values(ask[0], ask[1])
		if err != nil {
			return "", err
		}
		if len(values) == 0 {
			continue
		}
		if ask[1] == "mailname" {
			return values[0], nil
		}
		host, err := db.Values(":default", "mailname")
		if err != nil || len(host) == 0 {
			return "", err
		}
		return user + "@" + host[0], nil
	}
	return "", nil
}

// values asks one file, which is read again when it has changed.
func (p *userPart) values(key string) ([]string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	info, err := os.Stat(p.path)
	if errors.Is(err, fs.ErrNotExist) {
		p.stamp, p.entries = "", nil
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("user database: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() > 4<<30 {
		return nil, fmt.Errorf("user database: %s is no regular file of reasonable size", p.path)
	}
	stamp := fmt.Sprint(info.Size(), info.ModTime().UnixNano(), inode(info))
	if stamp != p.stamp {
		entries, err := readUsers(p.path)
		if err != nil {
			return nil, fmt.Errorf("user database: %s: %w", p.path, err)
		}
		p.stamp, p.entries = stamp, entries
	}
	return p.entries[key], nil
}

func readUsers(path string) (map[string][]string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	pages, err := newPager(data)
	if err != nil {
		return nil, err
	}
	if pages.hash {
		return nil, errors.New("it must be of type btree")
	}
	pages.every = true
	entries := map[string][]string{}
	err = pages.each(func(key, value []byte) error {
		k := strings.TrimSuffix(string(key), "\x00")
		entries[k] = append(entries[k], strings.TrimSuffix(string(value), "\x00"))
		return nil
	})
	return entries, err
}

// userField is the class userdb: one field of the user database, of which the first entry counts.
type userField struct {
	*flags
	db    *UserDB
	field string
	told  *sync.Once
}

func newUserField(f *flags, env Env) (Table, error) {
	if len(f.rest) == 0 {
		return nil, fmt.Errorf("%s: table %s: no field of the user database", f.def.Pos, f.def.Name)
	}
	return &userField{f, OpenUserDB(env.UserDatabase), f.rest[0], &sync.Once{}}, nil
}

func (u *userField) Lookup(_ context.Context, raw string, args []string) (Result, bool, error) {
	values, err := u.db.Values(u.clean(raw), u.field)
	if err != nil {
		return u.failed(raw, err)
	}
	if len(values) == 0 {
		return Result{}, false, nil
	}
	return u.found(raw, values[0], args, prog.Pos{}), true, nil
}

// Miss is the status of a lookup that found nothing, which sendmail calls no error.
func (*userField) Miss(string) int { return 0 }
