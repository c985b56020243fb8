package uucp

import (
	"context"
	"slices"
	"strings"

	"waybill/transport"
	"waybill/transport/envelope"
	"waybill/transport/fromline"
	"waybill/transport/readdress"
)

// AddressForm is how addresses look at the other end. Old, new, uudom and dom are the forms of sendmail's mailers uucp-old
// (uucp), uucp-new (suucp), uucp-uudom and uucp-dom. Of alice at here.example, node here, a neighbour gets:
//
//	       From line                                   From field          users
//	bang   From alice DATE remote from here            as it was           as the rules have them
//	old    From alice DATE remote from here            here!alice          paths, each a job of his own
//	new    From alice DATE remote from here            here!alice          paths
//	uudom  From here.example!alice DATE                alice@here.example  as the rules have them
//	dom    From alice@here.example DATE                alice@here.example  as the rules have them
type AddressForm uint8

const (
	FormBang AddressForm = iota // every rmail understands the envelope, and the header keeps its domains
	FormOld
	FormNew
	FormUUDom
	FormDom
)

// AddressForms are the names of the forms in the configuration, in their order.
func AddressForms() []string { return []string{"bang", "old", "new", "uudom", "dom"} }

// paths reports whether all addresses are paths, of the header as well.
func (f AddressForm) paths() bool { return f == FormOld || f == FormNew }

// readdressed is the request with the addresses of the message's header in the form that the site gets.
func (t *UUCP) readdressed(ctx context.Context, site string, req *transport.Request) (*transport.Request, error) {
	if t.conf.Address == FormBang {
		return req, nil
	}
	body, err := readdress.Body(ctx, req.Body, func(_ context.Context, a readdress.Address) (string, error) {
		if t.conf.Address.paths() {
			return t.fromHere(site, a.Text), nil
		}
		return t.domain(site, a.Text), nil
	})
	if err != nil {
		return nil, err
	}
	out := *req
	out.Body = body
	return &out, nil
}

// sender is how our sender is known at a site.
func (t *UUCP) sender(site string, a envelope.Address) envelope.Address {
	switch {
	case a.Null():
		return a
	case t.conf.Address == FormBang:
		return envelope.Address(t.path(string(a)))
	case t.conf.Address.paths():
		return envelope.Address(t.fromHere(site, string(a)))
	}
	text := t.domain(site, string(a))
	if local, domain := envelope.Address(text).Split(); t.conf.Address == FormUUDom && domain != "" {
		text = domain + "!" + local
	}
	return envelope.Address(text)
}

// fromLine is the first line of the message. "remote from" is the first site of the sender's path where addresses are
// paths: us, or the neighbour itself for mail that came from there.
func (t *UUCP) fromLine(site string, a envelope.Address) string {
	sender, remote := t.sender(site, a), t.conf.Node
	switch {
	case t.conf.Address == FormUUDom, t.conf.Address == FormDom:
		remote = ""
	case t.conf.Address.paths() && !sender.Null():
		if first, rest, ok := strings.Cut(string(sender), "!"); ok {
			sender, remote = envelope.Address(rest), first
		}
	}
	return fromline.Line(sender, t.conf.Now(), remote)
}

// user is a recipient's name on the command line, before it is quoted.
func (t *UUCP) user(r transport.Recipient) string {
	if t.conf.Address.paths() {
		return t.path(r.User)
	}
	return r.User
}

// path is an address as a path: "dom!user", and "user" alone when the domain is ours. In "a!b@c" the domain is the first
// on the way, as sendmail has it. Source routes (RFC 5321 appendix C) stay as they are.
func (t *UUCP) path(text string) string {
	if strings.HasPrefix(text, "@") {
		return text
	}
	local, domain := envelope.Address(text).Split()
	if domain == "" || t.isOurs(domain) {
		return local
	}
	if site := strings.TrimSuffix(strings.ToLower(domain), ".uucp"); !strings.Contains(site, ".") {
		domain = domain[:len(site)]
	}
	if strings.EqualFold(domain, t.conf.Node) {
		return local
	}
	return domain + "!" + local
}

// fromHere is an address as a path that begins here, or at the site itself for what is there.
func (t *UUCP) fromHere(site, text string) string {
	if strings.HasPrefix(text, "@") {
		return text
	}
	path := t.path(text)
	first, rest, more := strings.Cut(path, "!")
	if more && strings.EqualFold(first, t.conf.Node) { // it has our name already
		first, rest, more = strings.Cut(rest, "!")
		path = first
		if more {
			path += "!" + rest
		}
	}
	if more && strings.EqualFold(first, site) {
		return throughSite(path, rest)
	}
	return t.conf.Node + "!" + path
}

// throughSite is a path that begins at the site it is sent to: the site's own name is needed for its own users alone.
func throughSite(path, rest string) string {
	if strings.Contains(rest, "!") {
		return rest
	}
	return path
}

// domain is an address with a domain: plain names are ours, and users of our neighbours are reached through us. Paths that
// begin elsewhere stay as they are.
func (t *UUCP) domain(site, text string) string {
	local, domain := envelope.Address(text).Split()
	if strings.HasPrefix(text, "@") || text == "" {
		return text
	}
	path := local
	if domain != "" {
		name := strings.TrimSuffix(strings.ToLower(domain), ".uucp")
		if len(name) == len(domain) || strings.Contains(name, ".") {
			return text
		}
		path = domain[:len(name)] + "!" + local
	}
	first, rest, more := strings.Cut(path, "!")
	switch {
	case !more:
	case strings.EqualFold(first, site):
		return throughSite(path, rest)
	case !t.isNeighbour(first) && !strings.EqualFold(first, t.conf.Node):
		return path
	}
	if t.conf.Host == "" {
		return path
	}
	return path + "@" + t.conf.Host
}

func (t *UUCP) isOurs(domain string) bool {
	return strings.EqualFold(domain, t.conf.Host) || slices.ContainsFunc(t.conf.Local, func(d string) bool { return strings.EqualFold(d, domain) })
}

// isNeighbour is about headers, where a list that cannot be read now is no reason to wait.
func (t *UUCP) isNeighbour(name string) bool {
	sites, _ := t.sites()
	return slices.ContainsFunc(sites, func(s string) bool { return strings.EqualFold(s, name) })
}
