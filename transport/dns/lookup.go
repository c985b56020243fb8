package dns

import (
	"context"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/miekg/dns"
)

// MX is one host that takes mail for a domain.
type MX struct {
	Host string // lower case, without a final dot
	Pref uint16
}

// MXs says who takes mail for a domain.
type MXs struct {
	Existence Existence // of the domain: NoDomain when it does not exist; Found also for an implicit MX
	Hosts     []MX      // in the order in which to try them: by preference, at random inside one (RFC 5321 5.1)
	Implicit  bool      // the domain has no MX record and stands for itself; whether it has an address is not known yet
	Null      bool      // the domain takes no mail (RFC 7505)
	Canonical string    // the domain after CNAMEs
	Secure    bool      // validated by DNSSEC
}

// MX asks who takes mail for domain.
func (r *Resolver) MX(ctx context.Context, domain string) (MXs, error) {
	a, err := r.lookup(ctx, domain, dns.TypeMX)
	if err != nil {
		return MXs{}, err
	}
	m := MXs{Existence: a.existence, Canonical: a.name, Secure: a.secure}
	for _, rr := range a.records {
		mx, ok := rr.(*dns.MX)
		if !ok {
			continue
		}
		if bare(mx.Mx) == "" {
			m.Null = true
			continue
		}
		m.Hosts = append(m.Hosts, MX{bare(mx.Mx), mx.Preference})
	}
	switch {
	case m.Null && len(m.Hosts) > 0:
		m.Null = false // RFC 7505 3: not a null MX when it is not alone; the root is no host to try
	case m.Existence == NoData, m.Existence == NoDomain && len(r.hosts.find(domain)) > 0:
		m.Existence, m.Implicit, m.Hosts = Found, true, []MX{{Host: a.name}} // RFC 5321 5.1
	}
	rand.Shuffle(len(m.Hosts), func(i, j int) { m.Hosts[i], m.Hosts[j] = m.Hosts[j], m.Hosts[i] })
	slices.SortStableFunc(m.Hosts, func(a, b MX) int { return int(a.Pref) - int(b.Pref) })
	return m, nil
}

// Addresses says where a host is.
type Addresses struct {
	Existence Existence
	Addrs     []netip.Addr // as the answers gave them: IPv6 before IPv4
	Canonical string       // the host after CNAMEs
	Secure    bool         // both answers were validated by DNSSEC
}

// Addrs asks for the addresses of host. An address literal is its own address. When one family has an answer and the
// other fails, the answer is used.
func (r *Resolver) Addrs(ctx context.Context, host string) (Addresses, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return Addresses{Existence: Found, Addrs: []netip.Addr{a.Unmap()}, Canonical: host}, nil
	}
	if found := r.hosts.find(host); len(found) > 0 {
		canon, _ := r.hosts.canonical(host)
		return Addresses{Existence: Found, Addrs: slices.Clone(found), Canonical: canon}, nil
	}
	type result struct {
		a   answer
		err error
	}
	six := make(chan result, 1)
	go func() {
		a, err := r.lookup(ctx, host, dns.TypeAAAA)
		six <- result{a, err}
	}()
	v4, err4 := r.lookup(ctx, host, dns.TypeA)
	s := <-six
	v6, err6 := s.a, s.err
	all := Addresses{Secure: true, Canonical: bare(host)}
	for _, half := range []result{{v6, err6}, {v4, err4}} {
		if half.err != nil || (half.a.existence != Found && all.Existence == Found) {
			continue
		}
		for _, rr := range half.a.records {
			if a, ok := addrOf(rr); ok {
				all.Addrs = append(all.Addrs, a)
			}
		}
		all.Existence = half.a.existence
		all.Canonical = half.a.name
		all.Secure = all.Secure && half.a.secure
	}
	switch {
	case len(all.Addrs) > 0:
		all.Existence = Found
		return all, nil
	case err4 != nil:
		return Addresses{}, err4
	case err6 != nil && v4.existence != NoDomain: // NXDOMAIN holds for every type (RFC 8020)
		return Addresses{}, err6
	}
	return all, nil
}

// TXT asks for the text records of name; the strings of one record are joined (RFC 7208 3.3).
func (r *Resolver) TXT(ctx context.Context, name string) ([]string, Existence, error) {
	a, err := r.lookup(ctx, name, dns.TypeTXT)
	if err != nil {
		return nil, Unknown, err
	}
	return texts(a.records), a.existence, nil
}

// PTR asks for the names of an address: hosts(5) first, then the DNS.
func (r *Resolver) PTR(ctx context.Context, addr netip.Addr) ([]string, Existence, error) {
	addr = addr.Unmap().WithZone("")
	if names := r.hosts.reverse(addr); len(names) > 0 {
		return slices.Clone(names), Found, nil
	}
	reverse, err := dns.ReverseAddr(addr.String())
	if err != nil {
		return nil, NoDomain, nil
	}
	a, err := r.lookup(ctx, reverse, dns.TypePTR)
	if err != nil {
		return nil, Unknown, err
	}
	return texts(a.records), a.existence, nil
}

// TLSA is one promise about a host's key (RFC 6698 2.1).
type TLSA struct {
	Usage, Selector, Matching uint8
	Data                      []byte
}

// TLSAs are the promises for one port of a host. Only Secure ones mean anything (RFC 7672 2.1.1).
type TLSAs struct {
	Existence Existence
	Records   []TLSA
	Secure    bool
}

// TLSA asks for the keys promised for a TCP port of host.
func (r *Resolver) TLSA(ctx context.Context, port uint16, host string) (TLSAs, error) {
	a, err := r.lookup(ctx, "_"+strconv.Itoa(int(port))+"._tcp."+host, dns.TypeTLSA)
	if err != nil {
		return TLSAs{}, err
	}
	t := TLSAs{Existence: a.existence, Secure: a.secure}
	for _, rr := range a.records {
		if x, ok := rr.(*dns.TLSA); ok {
			if data, err := hex.DecodeString(x.Certificate); err == nil {
				t.Records = append(t.Records, TLSA{x.Usage, x.Selector, x.MatchingType, data})
			}
		}
	}
	return t, nil
}

// SecureAlias reports whether host is an alias and the record that says so was validated by DNSSEC, wherever it leads.
func (r *Resolver) SecureAlias(ctx context.Context, host string) (bool, error) {
	name, ok := clean(host)
	if !ok {
		return false, nil
	}
	a, err := r.question(ctx, key{name, dns.TypeCNAME})
	return a.existence == Found && a.secure, err
}

// Lookup asks for any type that a map of the rules may name ("A", "MX", "TXT", "PTR", ...) and returns the values as
// text, in sendmail's forms: names without a final dot, an MX as its host only, sorted by preference.
// found is false when there is no such name or no such record; err means "not now". An unknown type is an error, too.
func (r *Resolver) Lookup(ctx context.Context, name, typ string) (values []string, found bool, err error) {
	qtype, ok := dns.StringToType[strings.ToUpper(typ)]
	if !ok {
		return nil, false, fmt.Errorf("dns: type %q is not known", typ)
	}
	if qtype == dns.TypeA || qtype == dns.TypeAAAA {
		for _, a := range r.hosts.find(name) {
			if a.Is4() == (qtype == dns.TypeA) {
				values = append(values, a.String())
			}
		}
		if len(values) > 0 {
			return values, true, nil
		}
	}
	a, err := r.lookup(ctx, name, qtype)
	if err != nil {
		return nil, false, err
	}
	if qtype == dns.TypeMX {
		a.records = slices.Clone(a.records)
		slices.SortStableFunc(a.records, func(a, b dns.RR) int { return int(a.(*dns.MX).Preference) - int(b.(*dns.MX).Preference) })
	}
	if qtype == dns.TypeCNAME && a.aliased { // the question was about the chain's first link, not about its end
		return []string{a.name}, true, nil
	}
	values = texts(a.records)
	return values, len(values) > 0, nil
}

// Canonical returns the name that a host or domain is really called: the first name of its line in hosts(5), or the
// end of its CNAME chain. A name counts as existing when it has an address or an MX (sendmail's $[ $]).
func (r *Resolver) Canonical(ctx context.Context, name string) (canonical string, found bool, err error) {
	if c, ok := r.hosts.canonical(name); ok {
		return c, true, nil
	}
	var failed error
	for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeMX} {
		a, err := r.lookup(ctx, name, qtype)
		switch {
		case err != nil:
			failed = err // one broken type does not hide what another one says
		case a.existence == Found:
			return a.name, true, nil
		case a.existence == NoDomain:
			return "", false, nil
		}
	}
	return "", false, failed
}

// texts renders records as values without owner, time and type.
func texts(records []dns.RR) []string {
	var values []string
	for _, rr := range records {
		switch rr := rr.(type) {
		case *dns.A:
			values = append(values, rr.A.String())
		case *dns.AAAA:
			values = append(values, rr.AAAA.String())
		case *dns.MX:
			values = append(values, bare(rr.Mx))
		case *dns.TXT:
			values = append(values, unescape(strings.Join(rr.Txt, "")))
		case *dns.PTR:
			values = append(values, bare(rr.Ptr))
		case *dns.NS:
			values = append(values, bare(rr.Ns))
		case *dns.CNAME:
			values = append(values, bare(rr.Target))
		case *dns.SRV:
			values = append(values, bare(rr.Target))
		case *dns.AFSDB:
			values = append(values, bare(rr.Hostname))
		default:
			values = append(values, strings.TrimPrefix(rr.String(), rr.Header().String()))
		}
	}
	return values
}

// unescape undoes the presentation form in which miekg/dns keeps strings: \X and \DDD (RFC 1035 5.1).
func unescape(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			out = append(out, s[i])
			continue
		}
		if i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 10, 8); err == nil {
				out = append(out, byte(n))
				i += 3
				continue
			}
		}
		i++
		out = append(out, s[i])
	}
	return string(out)
}
