package dns

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Zone is a small world of names, read from text: the fake behind Static and dnstest. It answers as one server that
// knows everything: what is not in it does not exist.
//
// The text is a master file (RFC 1035 5.1) whose origin is the root and whose default TTL is 300, with "*" wildcards
// (RFC 4592), and with lines of our own that make it fail:
//
//	!servfail NAME     answer SERVFAIL          !refused NAME    answer REFUSED
//	!drop NAME         never answer             !truncate NAME   cut UDP answers off, so that TCP is needed
//	!delay TIME NAME   answer late              !lie NAME        over UDP send a forged answer first
//	!secure NAME       set the AD bit
//
// NAME stands for itself and all names below it; "." for everything.
type Zone struct {
	records map[string][]dns.RR // by lower-case name with final dot
	faults  map[string]Fault
}

// Fault is what goes wrong when a name is asked.
type Fault struct {
	Rcode    int // answer with this instead
	Drop     bool
	Truncate bool
	Lie      bool
	Secure   bool
	Delay    time.Duration
}

// ParseZone reads zone text. Errors name the line.
func ParseZone(text string) (*Zone, error) {
	z := &Zone{records: map[string][]dns.RR{}, faults: map[string]Fault{}}
	var master strings.Builder
	number := 0
	for line := range strings.SplitSeq(text, "\n") {
		number++
		if strings.HasPrefix(strings.TrimSpace(line), "!") {
			if err := z.fault(strings.Fields(strings.TrimSpace(line)[1:])); err != nil {
				return nil, fmt.Errorf("dns: zone line %d: %w", number, err)
			}
			line = "" // the parser still counts it
		}
		master.WriteString(line + "\n")
	}
	parser := dns.NewZoneParser(strings.NewReader(master.String()), ".", "")
	parser.SetDefaultTTL(300)
	for rr, ok := parser.Next(); ok; rr, ok = parser.Next() {
		name := strings.ToLower(rr.Header().Name)
		z.records[name] = append(z.records[name], rr)
	}
	if err := parser.Err(); err != nil {
		return nil, fmt.Errorf("dns: zone: %w", err)
	}
	return z, nil
}

func (z *Zone) fault(words []string) error {
	if len(words) < 2 {
		return errors.New("a fault needs a name")
	}
	name := dns.Fqdn(strings.ToLower(words[len(words)-1]))
	f := z.faults[name]
	switch kind := words[0]; {
	case kind == "delay" && len(words) == 3:
		d, err := time.ParseDuration(words[1])
		if err != nil {
			return err
		}
		f.Delay = d
	case len(words) != 2:
		return errors.New("a fault has one name")
	case kind == "servfail":
		f.Rcode = dns.RcodeServerFailure
	case kind == "refused":
		f.Rcode = dns.RcodeRefused
	case kind == "drop":
		f.Drop = true
	case kind == "truncate":
		f.Truncate = true
	case kind == "lie":
		f.Lie = true
	case kind == "secure":
		f.Secure = true
	default:
		return fmt.Errorf("fault %q is not known", kind)
	}
	z.faults[name] = f
	return nil
}

// Answer answers q, and says what should go wrong on the way.
func (z *Zone) Answer(q *dns.Msg) (*dns.Msg, Fault) {
	m := new(dns.Msg)
	m.SetReply(q)
	m.RecursionAvailable = true
	if len(q.Question) != 1 {
		m.Rcode = dns.RcodeFormatError
		return m, Fault{}
	}
	name := strings.ToLower(q.Question[0].Name)
	fault := z.faultOf(name)
	m.AuthenticatedData = fault.Secure
	if fault.Rcode != 0 {
		m.Rcode = fault.Rcode
		return m, fault
	}
	for chain := 0; chain < 20; chain++ {
		records, exists := z.find(name)
		if !exists {
			m.Rcode = dns.RcodeNameError
			break
		}
		next := ""
		for _, rr := range records {
			c, alias := rr.(*dns.CNAME)
			if rr.Header().Rrtype == q.Question[0].Qtype || alias {
				m.Answer = append(m.Answer, rr)
			}
			if alias && q.Question[0].Qtype != dns.TypeCNAME {
				next = strings.ToLower(c.Target)
			}
		}
		if next == "" {
			break
		}
		name = next
		end := z.faultOf(name) // a chain is as bad as its end
		m.AuthenticatedData = m.AuthenticatedData && end.Secure
		if end.Rcode != 0 {
			m.Rcode, m.Answer = end.Rcode, nil
			return m, fault
		}
	}
	if len(m.Answer) == 0 || m.Rcode == dns.RcodeNameError {
		m.Ns = []dns.RR{&dns.SOA{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: 60},
			Ns: "ns.invalid.", Mbox: "postmaster.invalid.", Minttl: 60}}
	}
	return m, fault
}

func (z *Zone) faultOf(name string) Fault {
	for {
		if f, ok := z.faults[name]; ok || name == "." {
			return f
		}
		name = parent(name)
	}
}

// find returns the records of name, through wildcards, and whether the name exists.
func (z *Zone) find(name string) ([]dns.RR, bool) {
	if records, ok := z.records[name]; ok {
		return records, true
	}
	for other := range z.records {
		if strings.HasSuffix(other, "."+name) {
			return nil, true // an empty non-terminal (RFC 4592 2.2.2)
		}
	}
	for up := name; up != "."; {
		up = parent(up)
		star := "*." + strings.TrimPrefix(up, ".")
		if wild, ok := z.records[star]; ok {
			records := make([]dns.RR, len(wild))
			for i, rr := range wild {
				records[i] = dns.Copy(rr)
				records[i].Header().Name = name
			}
			return records, true
		}
		if _, ok := z.records[up]; ok {
			return nil, false // the closest encloser has no wildcard (RFC 4592 3.3.1)
		}
	}
	return nil, false
}

func parent(name string) string {
	if _, up, ok := strings.Cut(name, "."); ok && up != "" {
		return up
	}
	return "."
}

// exchange lets a Zone stand in for servers. A delay is not waited for, and a drop is an error at once.
func (z *Zone) exchange(_ context.Context, q *dns.Msg) (*dns.Msg, bool, error) {
	m, fault := z.Answer(q)
	if fault.Drop {
		return nil, false, errors.New("no answer")
	}
	return m, true, nil
}
