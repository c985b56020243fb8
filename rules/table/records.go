package table

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// recordTypes are the types of records that -R may name.
var recordTypes = map[string]bool{"A": true, "AAAA": true, "AFSDB": true, "CNAME": true, "MX": true, "NS": true, "PTR": true, "SRV": true, "TXT": true,
	"DS": true, "RRSIG": true, "NSEC": true, "DNSKEY": true, "TLSA": true}

// dns looks up records of one type (-R); with -z all of them are joined, else the first is the value.
type dns struct {
	*flags
	env Env
	max int
}

func newDNS(f *flags, env Env) (Table, error) {
	d := &dns{flags: f, env: env, max: 1}
	if !env.Native && !recordTypes[strings.ToUpper(f.record)] { // sendmail has complained, and finds nothing
		return null{}, nil
	}
	if f.record == "" {
		return nil, fmt.Errorf("%s: table %s: dns needs -R and a record type", f.def.Pos, f.def.Name)
	}
	f.record = strings.ToUpper(f.record)
	if f.set['z'] {
		d.max = 64
	}
	if f.limit != "" {
		n, err := strconv.Atoi(f.limit)
		switch {
		case env.Native && (err != nil || n < 1):
			return nil, fmt.Errorf("%s: table %s: -Z wants a number", f.def.Pos, f.def.Name)
		case env.Native:
			d.max = n
		case n == 1 && f.set['z']:
			d.max = 1
		case n > 1 && f.set['z']: // sendmail takes one more
			d.max = n + 1
		}
	}
	return d, nil
}

func (d *dns) Lookup(ctx context.Context, key string, args []string) (Result, bool, error) {
	name := strings.TrimSuffix(key, ".")
	if d.base != "" {
		name += "." + strings.Trim(d.base, ".")
	}
	if d.env.Resolver == nil {
		return d.failed(key, errNoResolver)
	}
	if !possible(name) {
		return Result{}, false, nil
	}
	tries := []string{name}
	if strings.IndexByte(name, '.') < 0 && d.env.Domain != "" && !strings.HasSuffix(key, ".") {
		tries = []string{name + "." + d.env.Domain, name}
	}
	var records []Record
	for _, t := range tries {
		var err error
		if records, _, err = d.env.Resolver.Query(ctx, t, d.record); err != nil {
			return d.failed(key, fmt.Errorf("dns %s %s: %w", t, d.record, err))
		}
		if len(records) > 0 {
			break
		}
	}
	var values []string
	for _, r := range records {
		if r.Type == d.record && len(values) < d.max {
			values = append(values, d.value(r))
		}
	}
	if len(values) == 0 {
		if d.env.told != nil {
			d.env.told.failed(statusNoHost)
		}
		return Result{}, false, nil
	}
	sep := d.delim
	if sep == "" {
		sep = " "
	}
	r := d.found(key, strings.Join(values, sep), args, d.def.Pos)
	r.Pos.File, r.Pos.Line, r.Pos.Col = "", 0, 0
	return r, true, nil
}

// value is the data of a record: as sendmail writes it, in a sendmail.cf.
func (d *dns) value(r Record) string {
	if d.env.Native {
		return r.Value
	}
	switch r.Type {
	case "MX":
		_, host, _ := strings.Cut(r.Value, " ")
		return host
	case "AAAA":
		if a, err := netip.ParseAddr(r.Value); err == nil {
			return longIPv6(a)
		}
	case "TXT":
		return r.First
	case "TLSA": // 03 01 01 00:11:22
		f := strings.Fields(r.Value)
		if len(f) < 4 {
			break
		}
		text, hex := "", strings.ToUpper(strings.Join(f[3:], ""))
		for _, n := range f[:3] {
			v, _ := strconv.ParseUint(n, 10, 8)
			text += fmt.Sprintf("%02X ", v)
		}
		for len(hex) > 2 {
			text, hex = text+hex[:2]+":", hex[2:]
		}
		return text + hex
	}
	return r.Value
}

// longIPv6 writes all groups of an address, as sendmail does.
func longIPv6(a netip.Addr) string {
	b := a.As16()
	text := "IPv6"
	for i := 0; i < 16; i += 2 {
		text += ":" + strconv.FormatUint(uint64(b[i])<<8|uint64(b[i+1]), 16)
	}
	return text
}
