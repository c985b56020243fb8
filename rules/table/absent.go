package table

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
)

// arpa is the class arpa: the name under which DNS has an address (RFC 1035 3.5, RFC 3596 2.5), without the zone. A
// key that is no address is no entry.
type arpa struct{ *flags }

func (a arpa) Lookup(_ context.Context, key string, args []string) (Result, bool, error) {
	ip, err := netip.ParseAddr(strings.TrimPrefix(key, "IPv6:"))
	if err != nil || ip.Is6() != strings.HasPrefix(key, "IPv6:") || ip.Zone() != "" {
		return Result{}, false, nil
	}
	name := reverse(ip)
	name = name[:strings.LastIndex(name[:len(name)-len(".arpa")], ".")]
	return Result{Value: name + a.suffix}, true, nil
}

// Miss is the status of a lookup of something that is no address.
func (arpa) Miss(string) int { return 65 }

// absent is a class that is asked over a protocol that Waybill does not speak (nis, nisplus): it says "not now", as
// sendmail does on a host where NIS is not bound.
type absent struct {
	*flags
	told atomic.Bool
}

func newAbsent(f *flags) Table { return &absent{flags: f} }

// Open reports whether there is anything to ask: optional ones are treated as missing.
func (a *absent) Open() bool { return !a.optional }

func (a *absent) Lookup(_ context.Context, key string, _ []string) (Result, bool, error) {
	if a.optional {
		return Result{}, false, nil
	}
	err := fmt.Errorf("table %s: maps of class %s are not asked", a.def.Name, a.class)
	say := ""
	if a.class == "nis" {
		say = "NIS map " + a.rest[0] + " specified, but NIS not running"
	}
	if a.told.Swap(true) || say == "" {
		return a.failed(key, err)
	}
	return a.failed(key, &Complaint{Say: say, Err: err})
}
