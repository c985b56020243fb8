package smtpclient

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"waybill/transport"
	"waybill/transport/dns"
	"waybill/transport/smtp"
	"waybill/transport/sysexits"
)

// hop is one place to connect to.
type hop struct {
	name   string     // for people, EHLO checks and certificates: the MX host, or "[192.0.2.1]"
	addr   netip.Addr // not valid for a socket
	port   uint16
	socket string // path of a Unix socket instead
}

func (h hop) String() string {
	switch {
	case h.socket != "":
		return h.socket
	case !h.addr.IsValid() || strings.HasPrefix(h.name, "["):
		return h.name
	}
	return h.name + " [" + h.addr.String() + "]"
}

// verbose is how sendmail -v writes it: a name has its final dot.
func (h hop) verbose() string {
	if h.socket != "" || strings.HasPrefix(h.name, "[") {
		return h.name
	}
	return h.name + "."
}

// target is one element of a host list.
type target struct {
	name string     // a domain or a host
	addr netip.Addr // of a literal
	noMX bool       // "[name]"
	bare bool       // a literal without brackets
	port uint16     // 0: the transport's
}

// parseHost reads the host of a decision: "domain", "[name]" (no MX), "[192.0.2.1]", "[IPv6:2001:db8::1]"; several of
// them joined by "," have the same preference, and by ":" the next is tried when the one before failed (sendmail's
// forms). An element that is a number is the port of the one before it, which no host name can be.
func parseHost(s string) ([][]target, error) {
	var groups [][]target
	sep := byte(':')
	for s != "" {
		end := strings.IndexAny(s, ":,")
		if s[0] == '[' {
			if end = strings.IndexByte(s, ']'); end < 0 {
				return nil, errors.New("no closing bracket")
			}
			end++
			if end < len(s) && s[end] != ':' && s[end] != ',' {
				return nil, errors.New("text after a bracket")
			}
		}
		if end < 0 {
			end = len(s)
		}
		word := s[:end]
		last := len(groups) - 1
		if n, err := strconv.ParseUint(word, 10, 16); err == nil && sep == ':' && last >= 0 && n > 0 {
			groups[last][len(groups[last])-1].port = uint16(n)
		} else {
			t, err := parseTarget(word)
			if err != nil {
				return nil, err
			}
			if sep == ',' && last >= 0 {
				groups[last] = append(groups[last], t)
			} else {
				groups = append(groups, []target{t})
			}
		}
		s = s[end:]
		if s != "" {
			sep, s = s[0], s[1:]
			if s == "" {
				return nil, errors.New("empty host at the end of a list")
			}
		}
	}
	if len(groups) == 0 {
		return nil, errors.New("no host")
	}
	return groups, nil
}

// named takes addresses without brackets for the names that they are for sendmail: nobody has them.
func named(groups [][]target) {
	for _, group := range groups {
		for i, t := range group {
			if t.bare {
				group[i] = target{name: strings.Trim(t.name, "[]"), port: t.port}
			}
		}
	}
}

func parseTarget(word string) (target, error) {
	if !strings.HasPrefix(word, "[") {
		if word == "" || word == "." {
			return target{}, errors.New("empty host in a list")
		}
		if a, err := netip.ParseAddr(word); err == nil {
			return target{name: "[" + word + "]", addr: a, bare: true}, nil
		}
		return target{name: strings.ToLower(strings.TrimSuffix(word, "."))}, nil
	}
	if a, ok := smtp.ParseLiteral(word); ok {
		return target{name: word, addr: a}, nil
	}
	inside := strings.TrimSuffix(strings.TrimPrefix(word, "["), "]")
	if a, err := netip.ParseAddr(inside); err == nil {
		return target{name: word, addr: a.WithZone("")}, nil
	}
	if inside == "" || inside == "." || strings.ContainsAny(inside, "[]:") {
		return target{}, errors.New("bad address literal")
	}
	return target{name: strings.ToLower(strings.TrimSuffix(inside, ".")), noMX: true}, nil
}

// exchange is a host to try, not yet looked up.
type exchange struct {
	target
	pref   uint16
	mx     bool   // it came from the DNS, not from the decision
	domain string // the domain or host that the decision named
	secure bool   // its MX records were validated by DNSSEC
}

// exchanges turns one group of a host list into hosts in order. The verdict is about the elements that lead nowhere.
func (c *Client) exchanges(ctx context.Context, group []target) ([]exchange, *verdict) {
	var list []exchange
	var trouble *verdict
	for _, t := range group {
		if t.addr.IsValid() || t.noMX || c.conf.NoMX || c.conf.LMTP {
			list = append(list, exchange{target: t, domain: t.name})
			continue
		}
		m, err := c.conf.Resolver.MX(ctx, t.name)
		switch {
		case err != nil:
			trouble = worse(trouble, notNow(t.name))
		case m.Null: // RFC 7505 4.2
			trouble = worse(trouble, never(refused("5.1.10", t.name+" takes no mail (null MX)", sysexits.Unavailable)))
		case m.Existence == dns.NoDomain:
			trouble = worse(trouble, never(refused("5.1.2", "Host unknown (Name server: "+t.name+": host not found)", sysexits.NoHost)))
		}
		for _, mx := range m.Hosts {
			list = append(list, exchange{target{name: mx.Host, port: t.port}, mx.Pref, true, t.name, m.Secure})
		}
	}
	if len(group) > 1 {
		rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		slices.SortStableFunc(list, func(a, b exchange) int { return int(a.pref) - int(b.pref) })
	}
	isOwn := func(x exchange) bool { return c.conf.OwnName != nil && x.mx && x.port == 0 && c.conf.OwnName(x.name) }
	if own := slices.IndexFunc(list, isOwn); own >= 0 {
		// RFC 5321 5.1: we are in the list. Only hosts that are better than we are may be tried.
		pref := list[own].pref
		list = slices.DeleteFunc(list, func(x exchange) bool { return x.pref >= pref })
		if len(list) == 0 {
			v := c.loop(group[0].name)
			trouble = worse(trouble, &v)
		}
	}
	return list, trouble
}

// hops looks up the addresses of a host.
func (c *Client) hops(ctx context.Context, x exchange) ([]hop, dns.Addresses, *verdict) {
	port := x.port
	if port == 0 {
		port = c.conf.Port
	}
	if x.addr.IsValid() {
		return []hop{{name: x.name, addr: x.addr.Unmap(), port: port}}, dns.Addresses{}, nil
	}
	a, err := c.conf.Resolver.Addrs(ctx, x.name)
	if err != nil {
		return nil, a, notNow(x.name)
	}
	if len(a.Addrs) == 0 && c.conf.Sendmail {
		return nil, a, never(refused("5.1.2", "Host unknown (Name server: "+x.name+".: host not found)", sysexits.NoHost))
	}
	if len(a.Addrs) == 0 { // RFC 3463 X.4.4 "unable to route"
		return nil, a, never(refused("5.4.4", "Host unknown (Name server: "+x.name+": no address)", sysexits.NoHost))
	}
	list := make([]hop, len(a.Addrs))
	for i, addr := range a.Addrs {
		list[i] = hop{name: x.name, addr: addr, port: port}
	}
	return list, a, nil
}

// own reports whether h is ourselves.
func (c *Client) own(h hop) bool {
	return c.conf.OwnAddr != nil && h.addr.IsValid() && c.conf.OwnAddr(netip.AddrPortFrom(h.addr, h.port))
}

func notNow(name string) *verdict {
	st := transport.NewStatus(transport.Deferred, "4.4.3", "Name server: "+name+": host name lookup failure")
	st.Exit = sysexits.TempFail
	return &verdict{status: st, next: true}
}

func never(st transport.Status) *verdict { return &verdict{status: st, next: true} }

// loop is a domain whose mail we would have to give to ourselves.
func loop(name string) verdict {
	return verdict{status: refused("5.4.6", "mail for "+name+" loops back to me (MX problem?)", sysexits.Software), next: true}
}

// loop is the same where the DNS says so, in sendmail's words if they are asked for.
func (c *Client) loop(name string) verdict {
	if !c.conf.Sendmail {
		return loop(name)
	}
	st := refused("5.3.5", "Local configuration error", sysexits.Software)
	st.Remote = name
	st.Transcript = []string{"554 5.0.0 MX list for " + name + ". points back to " + c.conf.Hello, "554 5.3.5 Local configuration error"}
	return verdict{status: st, next: true}
}

// worse keeps the verdict that leaves more hope: "not now" wins over "no".
func worse(old, new *verdict) *verdict {
	if old != nil && (old.status.Outcome() == transport.Deferred || new.status.Outcome() == transport.Failed) {
		return old
	}
	return new
}
