// Package table holds the lookup tables that rules ask: text files, alias files, address prefixes, regular expressions,
// Berkeley DB files, arithmetic, names in DNS, and combinations of them. What flows in is a key (text, as the rule built
// it) with arguments; what flows out is a value, "not there", or "not now". The classes and their flags are those of
// sendmail's K line (Sendmail Operations Guide 5.11), and a few of our own.
//
// A table is loaded into an immutable snapshot. Reload makes a new one and swaps it in at once; when the file has gone
// or is broken, the old snapshot stays and Reload says why.
package table

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"waybill/rules/prog"
)

// Table is something that can be asked. An implementation is safe for concurrent use. A non-nil error means "not now":
// it never means "not there". With found and an error, the value is what the table is configured to say instead
// (sendmail's -T flag).
type Table interface {
	Lookup(ctx context.Context, key string, args []string) (r Result, found bool, err error)
}

// Result is the answer of a table.
type Result struct {
	Value string
	Pos   prog.Pos // of the entry; zero where the table has no file with lines
}

// Reloader is a Table that comes from files. Reload reads them again when they changed. An error leaves the table as
// it was.
type Reloader interface {
	Table
	Reload() (changed bool, err error)
	Files() []string // what to watch
}

// Trouble is an error of a lookup that says with which status (sysexits.h) an evaluation ends, when that is not
// 75 (temporary).
type Trouble struct {
	Status int
	Err    error
}

func (t *Trouble) Error() string { return t.Err.Error() }
func (t *Trouble) Unwrap() error { return t.Err }

// Status returns the exit status for an error of a lookup: 0 for nil, 75 unless the error is a Trouble.
func Status(err error) int {
	var t *Trouble
	switch {
	case err == nil:
		return 0
	case errors.As(err, &t):
		return t.Status
	}
	return 75
}

// ErrClass is wrapped by Open for a class that does not exist.
var ErrClass = errors.New("no such table class")

// Expand puts the key and the arguments into a value: %0 is the key, %1 to %9 are the arguments, %% is a percent sign;
// an argument that is not there vanishes (SEMANTICS fact 37). What is put in is data and not looked at again.
func Expand(value, key string, args []string) string {
	if strings.IndexByte(value, '%') < 0 {
		return value
	}
	var b strings.Builder
	for i := 0; i < len(value); i++ {
		c := value[i]
		if c != '%' || i+1 == len(value) {
			b.WriteByte(c)
			continue
		}
		i++
		switch c = value[i]; {
		case c == '%':
			b.WriteByte('%')
		case c == '0':
			b.WriteString(key)
		case c >= '1' && c <= '9':
			if n := int(c - '1'); n < len(args) && n < 8 {
				b.WriteString(args[n])
			}
		default:
			b.WriteByte('%')
			b.WriteByte(c)
		}
	}
	return b.String()
}

// Static is a table made of a Go map, for tests and for small tables in a configuration.
type Static map[string]string

// Lookup asks the map, with %-expansion.
func (s Static) Lookup(_ context.Context, key string, args []string) (Result, bool, error) {
	v, ok := s[key]
	if !ok {
		v, ok = s[strings.ToLower(key)]
	}
	return Result{Value: Expand(v, key, args)}, ok, nil
}

// Failing is a table that always says "not now", for tests.
type Failing struct{ Err error }

// Lookup fails.
func (f Failing) Lookup(context.Context, string, []string) (Result, bool, error) {
	if f.Err == nil {
		return Result{}, false, fmt.Errorf("table: not now")
	}
	return Result{}, false, f.Err
}

// Complaint is an error of a lookup that the real engine prints, in these words.
type Complaint struct {
	Say   string
	Err   error
	Again bool // each time; else only the first time, which the table sees to
}

func (c *Complaint) Error() string { return c.Err.Error() }
func (c *Complaint) Unwrap() error { return c.Err }

// Said returns what the real engine prints about an error; empty when nothing.
func Said(err error) string {
	var c *Complaint
	if errors.As(err, &c) {
		return c.Say
	}
	return ""
}
