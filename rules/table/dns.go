package table

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Resolver asks DNS. An error means "not now". Whoever wires the program together adapts its resolver to this.
type Resolver interface {
	// Query returns the records of one type ("A", "MX", "CNAME" ...) that a name has. exists is false when the name
	// itself does not exist (NXDOMAIN).
	Query(ctx context.Context, name, typ string) (records []Record, exists bool, err error)
}

// Record is one record of DNS. Value is its data as text: an address, a name without trailing dot, "10 mx.example.org"
// for MX, the joined strings for TXT.
type Record struct {
	Name, Type, Value string
}

var errNoResolver = errors.New("no resolver is configured")

// maxChain is how many CNAMEs are followed.
const maxChain = 10

// host makes a name canonical: it follows CNAMEs and finds names that have an address or an MX.
type host struct {
	*flags
	env Env
}

func newHost(f *flags, env Env) (Table, error) { return &host{f, env}, nil }

func (h *host) Lookup(ctx context.Context, key string, _ []string) (Result, bool, error) {
	key = dequoteKey(key)
	name := strings.TrimSuffix(key, ".")
	if h.env.Resolver == nil {
		return h.failed(key, errNoResolver)
	}
	for range maxChain {
		next, found, err := h.step(ctx, name)
		switch {
		case err != nil:
			return h.failed(key, fmt.Errorf("host %s: %w", name, err))
		case next != "":
			name = next
		case found:
			suffix := h.suffix
			if !h.set['a'] {
				suffix = "."
			}
			return Result{Value: name + suffix}, true, nil
		default:
			return Result{}, false, nil
		}
	}
	return Result{}, false, nil
}

// step looks for one name: it is an alias (next), or it is found, or it is not.
func (h *host) step(ctx context.Context, name string) (next string, found bool, err error) {
	for _, typ := range []string{"A", "AAAA", "MX"} {
		records, exists, err := h.env.Resolver.Query(ctx, name, typ)
		if err != nil {
			return "", false, err
		}
		if !exists {
			return "", false, nil
		}
		for _, r := range records {
			if r.Type == "CNAME" && strings.EqualFold(strings.TrimSuffix(r.Name, "."), name) {
				return strings.TrimSuffix(r.Value, "."), false, nil
			}
		}
		for _, r := range records {
			if r.Type == typ {
				return "", true, nil
			}
		}
	}
	return "", false, nil
}

// dns looks up records of one type (-R); with -z all of them are joined, else the first is the value.
type dns struct {
	*flags
	env Env
	max int
}

func newDNS(f *flags, env Env) (Table, error) {
	d := &dns{flags: f, env: env, max: 1}
	if f.record == "" {
		return nil, fmt.Errorf("%s: table %s: dns needs -R and a record type", f.def.Pos, f.def.Name)
	}
	f.record = strings.ToUpper(f.record)
	if f.set['z'] {
		d.max = 64
	}
	if f.limit != "" {
		n, err := strconv.Atoi(f.limit)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("%s: table %s: -Z wants a number", f.def.Pos, f.def.Name)
		}
		d.max = n
	}
	return d, nil
}

func (d *dns) Lookup(ctx context.Context, key string, args []string) (Result, bool, error) {
	key = dequoteKey(key)
	name := strings.TrimSuffix(key, ".")
	if d.base != "" {
		name += "." + strings.Trim(d.base, ".")
	}
	if d.env.Resolver == nil {
		return d.failed(key, errNoResolver)
	}
	records, _, err := d.env.Resolver.Query(ctx, name, d.record)
	if err != nil {
		return d.failed(key, fmt.Errorf("dns %s %s: %w", name, d.record, err))
	}
	var values []string
	for _, r := range records {
		if r.Type == d.record && len(values) < d.max {
			values = append(values, r.Value)
		}
	}
	if len(values) == 0 {
		return Result{}, false, nil
	}
	sep := d.delim
	if sep == "" {
		sep = " "
	}
	r := d.found(key, strings.Join(values, sep), args, d.def.Pos)
	r.Pos.File = ""
	return r, true, nil
}
