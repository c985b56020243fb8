package dnstest

import (
	"crypto"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	mdns "github.com/miekg/dns"
)

// Signed is the authoritative server of one zone signed with DNSSEC (RFC 4033, 4034, 4035): each answer has its
// signatures, and each "does not exist" its NSEC records. A validating resolver is to be put in front of it.
type Signed struct {
	*Server
	origin  string
	key     *mdns.DNSKEY
	private crypto.Signer
	records map[string]map[uint16][]mdns.RR // by lower-case name
	names   []string                        // in canonical order (RFC 4034 6.1)
	forge   map[string]string               // name to what is wrong with its signatures: "forged", "expired", "missing"
	cuts    map[string]bool                 // delegations without DS: what lies below is not signed
}

// StartSigned serves a zone. text is a master file with full names; origin is the zone's name. A line
//
//	!forged NAME    !expired NAME    !missing NAME
//
// spoils the signatures of a name's records, and a name below origin that has NS records is a delegation without DS to
// this same server, which answers for it without signatures.
func StartSigned(origin, text, addr string) (*Signed, error) {
	origin = mdns.Fqdn(origin)
	z := &Signed{origin: origin, records: map[string]map[uint16][]mdns.RR{}, forge: map[string]string{}, cuts: map[string]bool{}}
	z.key = &mdns.DNSKEY{Hdr: z.header(origin, mdns.TypeDNSKEY), Flags: mdns.ZONE | mdns.SEP, Protocol: 3, Algorithm: mdns.ECDSAP256SHA256}
	private, err := z.key.Generate(256)
	if err != nil {
		return nil, err
	}
	z.private = private.(crypto.Signer)
	soa := fmt.Sprintf("%s 300 IN SOA ns.%s root.%s 1 7200 3600 86400 60\n%s 300 IN NS ns.%s\nns.%s 300 IN A 127.0.0.1\n", origin, origin, origin, origin, origin, origin)
	var master strings.Builder
	master.WriteString(soa)
	for line := range strings.SplitSeq(text, "\n") {
		if word := strings.Fields(line); len(word) == 2 && strings.HasPrefix(word[0], "!") {
			z.forge[mdns.Fqdn(strings.ToLower(word[1]))] = word[0][1:]
			continue
		}
		master.WriteString(line + "\n")
	}
	parser := mdns.NewZoneParser(strings.NewReader(master.String()), ".", "")
	parser.SetDefaultTTL(300)
	z.add(z.key)
	for rr, ok := parser.Next(); ok; rr, ok = parser.Next() {
		z.add(rr)
	}
	if err := parser.Err(); err != nil {
		return nil, fmt.Errorf("dnstest: %w", err)
	}
	for name := range z.records {
		if !z.belowCut(name) {
			z.names = append(z.names, name)
		}
	}
	sort.Slice(z.names, func(i, j int) bool { return canonicalLess(z.names[i], z.names[j]) })
	z.Server, err = start(z.answer, addr)
	return z, err
}

// Anchor is the DS record that a resolver must trust.
func (z *Signed) Anchor() string {
	return strings.ReplaceAll(z.key.ToDS(mdns.SHA256).String(), "\t", " ")
}

func (z *Signed) header(name string, rrtype uint16) mdns.RR_Header {
	return mdns.RR_Header{Name: name, Rrtype: rrtype, Class: mdns.ClassINET, Ttl: 300}
}

func (z *Signed) add(rr mdns.RR) {
	name := strings.ToLower(rr.Header().Name)
	if z.records[name] == nil {
		z.records[name] = map[uint16][]mdns.RR{}
	}
	t := rr.Header().Rrtype
	z.records[name][t] = append(z.records[name][t], rr)
	if t == mdns.TypeNS && name != z.origin {
		z.cuts[name] = true
	}
}

// cut is the delegation that name is or lies below; empty: none.
func (z *Signed) cut(name string) string {
	for cut := range z.cuts {
		if mdns.IsSubDomain(cut, name) {
			return cut
		}
	}
	return ""
}

func (z *Signed) belowCut(name string) bool { c := z.cut(name); return c != "" && c != name }

func (z *Signed) answer(q *mdns.Msg) *mdns.Msg {
	m := new(mdns.Msg)
	m.SetReply(q)
	m.Authoritative = true
	m.SetEdns0(4096, true)
	name, qtype := strings.ToLower(q.Question[0].Name), q.Question[0].Qtype
	if !mdns.IsSubDomain(z.origin, name) {
		m.Rcode = mdns.RcodeRefused
		return m
	}
	if cut := z.cut(name); cut != "" {
		z.below(m, cut, name, qtype)
		return m
	}
	for range 8 {
		if rrs := z.records[name][qtype]; len(rrs) > 0 {
			m.Answer = append(m.Answer, z.sign(rrs)...)
			return m
		}
		alias := z.records[name][mdns.TypeCNAME]
		if len(alias) == 0 {
			break
		}
		m.Answer = append(m.Answer, z.sign(alias)...)
		name = strings.ToLower(alias[0].(*mdns.CNAME).Target)
		if !mdns.IsSubDomain(z.origin, name) || z.cut(name) != "" {
			return m // the resolver goes on elsewhere
		}
	}
	m.Ns = z.sign(z.records[z.origin][mdns.TypeSOA])
	if slices.Contains(z.names, name) {
		m.Ns = append(m.Ns, z.nsec(name)...) // RFC 4035 3.1.3.1: the name is there, the type is not
		return m
	}
	for _, other := range z.names { // an empty non-terminal exists (RFC 4592 2.2.2)
		if mdns.IsSubDomain(name, other) {
			m.Ns = append(m.Ns, z.nsec(z.before(name))...)
			return m
		}
	}
	m.Rcode = mdns.RcodeNameError // RFC 4035 3.1.3.2: neither the name nor a wildcard that would stand for it
	m.Ns = append(m.Ns, z.nsec(z.before(name))...)
	encloser := name
	for !slices.ContainsFunc(z.names, func(n string) bool { return mdns.IsSubDomain(encloser, n) }) {
		_, encloser, _ = strings.Cut(encloser, ".")
	}
	if star := z.before("*." + encloser); star != z.before(name) {
		m.Ns = append(m.Ns, z.nsec(star)...)
	}
	return m
}

// below answers for a delegation: about its DS as the parent, signed, about the rest as the child, unsigned.
func (z *Signed) below(m *mdns.Msg, cut, name string, qtype uint16) {
	if name == cut && qtype == mdns.TypeDS {
		m.Ns = append(z.sign(z.records[z.origin][mdns.TypeSOA]), z.nsec(cut)...) // no DS (RFC 4035 3.1.4.1)
		return
	}
	m.Answer = z.records[name][qtype]
	if len(m.Answer) == 0 {
		soa := &mdns.SOA{Hdr: z.header(cut, mdns.TypeSOA), Ns: "ns." + z.origin, Mbox: "root." + z.origin, Serial: 1, Refresh: 7200, Retry: 3600, Expire: 86400, Minttl: 60}
		m.Ns = []mdns.RR{soa}
		if z.records[name] == nil {
			m.Rcode = mdns.RcodeNameError
		}
	}
}

// before is the name whose NSEC record covers a name that is not there.
func (z *Signed) before(name string) string {
	i := sort.Search(len(z.names), func(i int) bool { return !canonicalLess(z.names[i], name) })
	return z.names[(i+len(z.names)-1)%len(z.names)]
}

// nsec makes and signs the NSEC record of a name (RFC 4034 4).
func (z *Signed) nsec(name string) []mdns.RR {
	i := slices.Index(z.names, name)
	types := []uint16{mdns.TypeRRSIG, mdns.TypeNSEC}
	for t := range z.records[name] {
		types = append(types, t)
	}
	slices.Sort(types)
	return z.sign([]mdns.RR{&mdns.NSEC{Hdr: mdns.RR_Header{Name: name, Rrtype: mdns.TypeNSEC, Class: mdns.ClassINET, Ttl: 60}, NextDomain: z.names[(i+1)%len(z.names)], TypeBitMap: types}})
}

// sign returns the records with their signature (RFC 4034 3).
func (z *Signed) sign(rrs []mdns.RR) []mdns.RR {
	wrong := z.forge[strings.ToLower(rrs[0].Header().Name)]
	if wrong == "missing" {
		return rrs
	}
	now := time.Now()
	sig := &mdns.RRSIG{Hdr: z.header(rrs[0].Header().Name, mdns.TypeRRSIG), Algorithm: z.key.Algorithm, KeyTag: z.key.KeyTag(), SignerName: z.origin,
		Inception: uint32(now.Add(-48 * time.Hour).Unix()), Expiration: uint32(now.Add(48 * time.Hour).Unix())}
	if wrong == "expired" {
		sig.Expiration = uint32(now.Add(-24 * time.Hour).Unix())
	}
	sig.Hdr.Ttl = rrs[0].Header().Ttl
	if err := sig.Sign(z.private, rrs); err != nil {
		panic(err) // of a test
	}
	if wrong == "forged" {
		sig.Signature = "AAAA" + sig.Signature[4:]
	}
	return append(slices.Clone(rrs), sig)
}

// canonicalLess: RFC 4034 6.1: label by label from the right.
func canonicalLess(a, b string) bool {
	x, y := mdns.SplitDomainName(a), mdns.SplitDomainName(b)
	slices.Reverse(x)
	slices.Reverse(y)
	return slices.Compare(x, y) < 0
}
