// Package dns answers the questions that mail asks: which hosts take mail for a domain, which addresses a host has,
// which names an address has, which keys a host promises (TLSA), and what a TXT record says. Names flow in, and a
// three-valued result flows out: found, does not exist (told apart: no such name, or a name without such records), or
// an error, which always means "not now". It asks the servers of resolv.conf(5), or those it is given, over UDP and,
// where an answer was cut off, TCP (RFC 1035, RFC 6891, RFC 7766), and reads hosts(5) for addresses.
//
// It is the only package that knows miekg/dns. A Zone is the fake beside it: Static answers from zone text in memory,
// and the package dnstest serves the same text on real sockets.
package dns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// Existence says what the DNS told us about a name. It is meaningful only beside a nil error.
type Existence uint8

const (
	Unknown  Existence = iota // nothing was learned; goes with an error
	Found                     // there are records of the type
	NoData                    // the name exists, or may exist, but has no record of the type (RFC 2308 2.2)
	NoDomain                  // the name does not exist (RFC 2308 2.1, RFC 8020), or cannot be a name at all
)

var existenceWords = [...]string{"unknown", "found", "no data", "no such domain"}

func (e Existence) String() string { return existenceWords[e] }

// ErrTemporary is wrapped by every error of a lookup: the answer may be different later.
var ErrTemporary = errors.New("temporary failure in name resolution")

// Limits on what an answer may make us do.
const (
	maxChain   = 10   // CNAMEs followed for one question (RFC 1034 5.2.2 asks for a limit)
	maxRecords = 400  // records looked at in one answer
	udpSize    = 1232 // EDNS buffer: fits an IPv6 packet without fragments (DNS flag day 2020)
)

// Config sets up a Resolver. The zero Config asks the servers of /etc/resolv.conf.
type Config struct {
	Servers    []string      // ADDR or ADDR:PORT, asked in this order; empty: those of ResolvConf
	ResolvConf string        // default "/etc/resolv.conf"; read again when it changes
	Hosts      string        // default "/etc/hosts"; "-" reads none. "localhost" is known without it
	Timeout    time.Duration // for one question to one server; default: as ResolvConf says, or 3s
	Tries      int           // rounds over all servers; default: as ResolvConf says, or 2
	CacheSize  int           // answers kept; default 10000, negative: no cache
	MaxTTL     time.Duration // an answer is not kept longer; default 1h
	MaxNegTTL  time.Duration // a "does not exist" is not kept longer; default 5m (RFC 2308 5 allows 3h)
	// TrustAD says that the AD bit of an answer may be believed: the server validates DNSSEC and the way to it is
	// secure. Servers on a loopback address are believed always, and so is "options trust-ad" in ResolvConf.
	TrustAD bool
	Log     *slog.Logger // lookups that fail, at debug level; nil: none
}

// Resolver looks names up. It is safe for concurrent use.
type Resolver struct {
	conf  Config
	log   *slog.Logger
	ask   exchanger
	hosts *hostsFile
	cache *cache

	mu       sync.Mutex
	inFlight map[key]*flight
}

// exchanger asks one question. trusted means that the AD bit of the answer may be believed. An error means that nobody
// answered.
type exchanger interface {
	exchange(ctx context.Context, q *dns.Msg) (answer *dns.Msg, trusted bool, err error)
}

// New returns a Resolver. A ResolvConf that cannot be read leaves the server on 127.0.0.1, as resolv.conf(5) says.
func New(conf Config) (*Resolver, error) {
	setDefaults(&conf)
	servers := &servers{timeout: max(conf.Timeout, 0), tries: max(conf.Tries, 0), trustAD: conf.TrustAD}
	for _, s := range conf.Servers {
		addr, err := serverAddr(s)
		if err != nil {
			return nil, err
		}
		servers.fixed = append(servers.fixed, addr)
	}
	if len(servers.fixed) == 0 {
		servers.file = conf.ResolvConf
	}
	return newResolver(conf, servers), nil
}

// Static returns a Resolver that answers from zone alone: no sockets, no hosts file.
func Static(zone *Zone) *Resolver {
	conf := Config{Hosts: "-", CacheSize: -1}
	setDefaults(&conf)
	return newResolver(conf, zone)
}

func setDefaults(c *Config) {
	if c.ResolvConf == "" {
		c.ResolvConf = "/etc/resolv.conf"
	}
	if c.Hosts == "" {
		c.Hosts = "/etc/hosts"
	}
	if c.CacheSize == 0 {
		c.CacheSize = 10000
	}
	if c.MaxTTL <= 0 {
		c.MaxTTL = time.Hour
	}
	if c.MaxNegTTL <= 0 {
		c.MaxNegTTL = 5 * time.Minute
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
}

func newResolver(conf Config, ask exchanger) *Resolver {
	r := &Resolver{conf: conf, log: conf.Log, ask: ask, inFlight: map[key]*flight{}}
	if conf.CacheSize > 0 {
		r.cache = newCache(conf.CacheSize)
	}
	file := conf.Hosts
	if file == "-" {
		file = ""
	}
	r.hosts = &hostsFile{file: file}
	return r
}

// answer is what a question came to: the records of the wanted type at the end of the CNAME chain.
type answer struct {
	existence Existence
	name      string // the name at the end of the chain, lower case, without a final dot
	aliased   bool   // there was a chain
	records   []dns.RR
	secure    bool // every step was validated by DNSSEC
	ttl       time.Duration
}

// lookup follows the chain of CNAMEs from name to records of one type.
func (r *Resolver) lookup(ctx context.Context, name string, qtype uint16) (answer, error) {
	ascii, ok := clean(name)
	if !ok {
		return answer{existence: NoDomain, name: name}, nil
	}
	whole := answer{name: ascii, secure: true}
	for chain := 0; ; {
		step, err := r.question(ctx, key{whole.name, qtype})
		if err != nil {
			return answer{name: ascii}, err
		}
		whole.secure = whole.secure && step.secure
		whole.records = nil
		// The answer section may hold the whole chain, part of it, or only its first link.
		end, links, err := followChain(step.records, whole.name, maxChain-chain)
		if err != nil {
			return answer{name: ascii}, fmt.Errorf("dns: %s %s: %w: %w", ascii, dns.TypeToString[qtype], err, ErrTemporary)
		}
		chain += links
		whole.aliased = whole.aliased || links > 0
		whole.name = end
		for _, rr := range step.records {
			if rr.Header().Rrtype == qtype && equalName(rr.Header().Name, end) {
				whole.records = append(whole.records, rr)
			}
		}
		switch {
		case len(whole.records) > 0:
			whole.existence = Found
			return whole, nil
		case step.existence == NoDomain: // of the last name of the chain (RFC 6604 3)
			whole.existence = NoDomain
			return whole, nil
		case links == 0:
			whole.existence = NoData
			return whole, nil
		}
	}
}

// followChain walks the CNAMEs in records from name, and returns where they end and how many there were.
func followChain(records []dns.RR, name string, limit int) (string, int, error) {
	for links := 0; ; links++ {
		next := ""
		for _, rr := range records {
			if c, ok := rr.(*dns.CNAME); ok && equalName(c.Hdr.Name, name) {
				next = bare(c.Target)
				break
			}
		}
		if next == "" {
			return name, links, nil
		}
		if links >= limit {
			return "", links, errors.New("more CNAMEs than anybody needs")
		}
		name = next
	}
}

// A flight is a question that is under way, for all who ask it meanwhile.
type flight struct {
	done chan struct{}
	ans  answer
	err  error
}

type key struct {
	name  string
	qtype uint16
}

// question asks one question, through the cache, once for all who ask it at the same time.
func (r *Resolver) question(ctx context.Context, k key) (answer, error) {
	if a, err, ok := r.cache.get(k, time.Now()); ok {
		return a, err
	}
	r.mu.Lock()
	f := r.inFlight[k]
	if f == nil {
		f = &flight{done: make(chan struct{})}
		r.inFlight[k] = f
		// The question outlives the one who asked it first: others may wait for it. Its time is bounded by the servers.
		go r.fly(context.WithoutCancel(ctx), k, f)
	}
	r.mu.Unlock()
	select {
	case <-f.done:
		return f.ans, f.err
	case <-ctx.Done():
		return answer{}, fmt.Errorf("dns: %s %s: %w: %w", k.name, dns.TypeToString[k.qtype], context.Cause(ctx), ErrTemporary)
	}
}

func (r *Resolver) fly(ctx context.Context, k key, f *flight) {
	f.ans, f.err = r.send(ctx, k)
	r.cache.put(k, f.ans, f.err, time.Now())
	if f.err != nil {
		r.log.Debug("lookup failed", "name", k.name, "type", dns.TypeToString[k.qtype], "err", f.err)
	}
	r.mu.Lock()
	delete(r.inFlight, k)
	r.mu.Unlock()
	close(f.done)
}

func (r *Resolver) send(ctx context.Context, k key) (answer, error) {
	q := new(dns.Msg)
	q.SetQuestion(dns.Fqdn(escaped(k.name)), k.qtype) // random id
	q.RecursionDesired = true
	q.AuthenticatedData = true // "tell me whether it is validated", without the signatures (RFC 6840 5.7)
	q.SetEdns0(udpSize, false)
	m, trusted, err := r.ask.exchange(ctx, q)
	if err != nil {
		return answer{}, fmt.Errorf("dns: %s %s: %w: %w", k.name, dns.TypeToString[k.qtype], err, ErrTemporary)
	}
	a := answer{secure: trusted && m.AuthenticatedData, ttl: r.conf.MaxTTL, records: m.Answer}
	if len(a.records) > maxRecords {
		a.records = a.records[:maxRecords]
	}
	for _, rr := range a.records {
		a.ttl = min(a.ttl, time.Duration(rr.Header().Ttl)*time.Second)
	}
	switch {
	case m.Rcode == dns.RcodeNameError:
		a.existence = NoDomain
	case m.Rcode != dns.RcodeSuccess:
		return answer{}, fmt.Errorf("dns: %s %s: server answered %s: %w", k.name, dns.TypeToString[k.qtype], dns.RcodeToString[m.Rcode], ErrTemporary)
	case len(a.records) == 0:
		a.existence = NoData
	default:
		a.existence = Found
	}
	if a.existence != Found {
		a.ttl = min(a.ttl, negativeTTL(m, r.conf.MaxNegTTL))
	}
	return a, nil
}

// negativeTTL is how long "does not exist" may be kept: the smaller of the SOA's TTL and its minimum (RFC 2308 5);
// without an SOA not at all.
func negativeTTL(m *dns.Msg, most time.Duration) time.Duration {
	for _, rr := range m.Ns {
		if soa, ok := rr.(*dns.SOA); ok {
			return min(most, time.Duration(min(soa.Hdr.Ttl, soa.Minttl))*time.Second)
		}
	}
	return 0
}

// clean brings a name into the form that is asked: lower case, no final dot. What cannot be a name is refused here and
// never reaches a server.
func clean(name string) (string, bool) {
	name, ok := printable(name)
	return name, ok && !strings.ContainsAny(name, odd)
}

// odd are characters that no host has in its name, but that DNS can be asked for (RFC 2181 11).
const odd = ` \"();@$`

// printable is clean for a question of the rules: it may have any characters that can be printed.
func printable(name string) (string, bool) {
	name, ok := ToASCII(bare(name))
	if !ok || name == "" || len(name) > 253 || name[len(name)-1] == '\\' { // RFC 1035 2.3.4
		return "", false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 {
			return "", false
		}
	}
	for i := 0; i < len(name); i++ {
		if c := name[i]; c < ' ' || c >= 0x7f {
			return "", false
		}
	}
	return name, true
}

// escaped is a name with its odd characters as the library wants them (RFC 1035 5.1). A backslash protects the next
// character already.
func escaped(name string) string {
	if !strings.ContainsAny(name, odd) {
		return name
	}
	var b strings.Builder
	for i := 0; i < len(name); i++ {
		switch c := name[i]; {
		case c == '\\' && i+1 < len(name) && (name[i+1] < '0' || name[i+1] > '9'):
			i++
			fmt.Fprintf(&b, "\\%03d", name[i])
		case strings.IndexByte(odd, c) >= 0:
			fmt.Fprintf(&b, "\\%03d", c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

func bare(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

func equalName(a, b string) bool { return bare(unescaped(a)) == bare(unescaped(b)) }

func addrOf(rr dns.RR) (netip.Addr, bool) {
	switch rr := rr.(type) {
	case *dns.A:
		a, ok := netip.AddrFromSlice(rr.A)
		return a.Unmap(), ok
	case *dns.AAAA:
		a, ok := netip.AddrFromSlice(rr.AAAA)
		return a, ok
	}
	return netip.Addr{}, false
}
