package table

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// Resolver asks DNS. An error means "not now". Whoever wires the program together adapts its resolver to this.
type Resolver interface {
	// Query returns the records of one type ("A", "MX", "CNAME", "PTR", "TXT" ...) that a name has, with the CNAME
	// records that led there. exists is false when the name itself does not exist (NXDOMAIN).
	Query(ctx context.Context, name, typ string) (records []Record, exists bool, err error)
}

// Record is one record of DNS. Value is its data as text: an address, a name without trailing dot, "10 mx.example.org"
// for MX, the joined strings for TXT.
type Record struct {
	Name, Type, Value string
	First             string // of TXT: its first string
}

var errNoResolver = errors.New("no resolver is configured")

// maxChain is how many CNAMEs are followed.
const maxChain = 10

// host makes a name canonical: it finds names that have an address or an MX in DNS, and follows CNAMEs; or finds them
// in the hosts file. The order is that of the service switch.
type host struct {
	*flags
	env      Env
	services []string
	hosts    *hostsFile // that of the configuration
	system   *hostsFile // that of the machine, which knows the names of addresses
}

func newHost(f *flags, env Env) (*host, error) {
	if env.Hosts == "" {
		env.Hosts = "/etc/hosts"
	}
	if env.told == nil {
		env.told = &told{}
	}
	return &host{flags: f, env: env, hosts: &hostsFile{path: env.Hosts}, system: &hostsFile{path: env.SystemHosts()}, services: services(env.Services, "hosts", []string{"dns", "files"})}, nil
}

// services reads what a service switch file says about one service.
func services(file, service string, standard []string) []string {
	if file == "" {
		return standard
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return standard
	}
	for line := range strings.Lines(string(data)) {
		if i := strings.IndexByte(line, '#'); i >= 0 {
			line = line[:i]
		}
		if f := strings.Fields(line); len(f) > 1 && f[0] == service {
			return f[1:]
		}
	}
	return standard
}

// Lookup answers with the canonical name and a dot behind it (or what -a says).
func (h *host) Lookup(ctx context.Context, key string, args []string) (Result, bool, error) {
	name, found, err := key, false, error(nil)
	if strings.HasPrefix(key, "[") {
		name, found, err = h.ofAddress(ctx, key)
	} else {
		name, found, err = h.Canonical(ctx, key)
	}
	if err != nil && Status(err) == 0 { // a loop of CNAMEs is told once for each spelling of a name
		if h.env.told.again(key) {
			err = nil
		}
		return Result{}, false, err
	}
	if err != nil && !found {
		return h.failed(key, err)
	}
	if !found {
		return Result{}, false, nil
	}
	suffix := h.suffix
	if !h.set['a'] && (h.env.Native || h.def.Pos.Line == 0) { // one that a K line declares adds only what -a says
		suffix = "."
	}
	if !h.env.Native { // a name is a value like any other
		name = Expand(name, key, args)
	}
	return Result{Value: name + suffix}, true, nil
}

// Miss is the status of a lookup of a literal that has no closing bracket: sendmail calls that no error.
func (h *host) Miss(key string) int {
	if strings.HasPrefix(key, "[") {
		end := strings.IndexByte(key, ']')
		if end < 0 {
			return 0
		}
		if _, err := parseClient(key[:end+1]); err != nil {
			if inner := key[1:end]; oldAddress(inner) {
				return statusNoHost
			}
			return h.env.told.last(key)
		}
	}
	return 68
}

// oldAddress reports whether a text is an IPv4 address in one of the old ways: "1.2.3" is 1.2.0.3 (inet_aton(3)).
func oldAddress(text string) bool {
	parts := strings.Split(text, ".")
	for i, p := range parts {
		bits := 8
		if i == len(parts)-1 {
			bits = 8 * (5 - len(parts))
		}
		if _, err := strconv.ParseUint(p, 10, max(bits, 1)); err != nil || len(parts) > 4 {
			return false
		}
	}
	return true
}

// Canonical makes a name canonical, without a dot at the end. A name that is not found comes back as it is; after a
// CNAME that leads nowhere, the last name of the chain does.
func (h *host) Canonical(ctx context.Context, key string) (string, bool, error) {
	last, trouble := key, error(nil)
	for _, service := range h.services {
		switch service {
		case "dns":
			name, found, err := h.inDNS(ctx, key)
			status := statusNoHost // also where the name is found: it was looked for
			if err != nil && Status(err) != 0 {
				status = statusNotNow
			}
			h.env.told.failed(status)
			if found {
				return name, true, nil
			}
			last = name
			if err != nil {
				trouble = err
			}
		case "files":
			if name, found := h.inFile(strings.TrimSuffix(key, ".")); found {
				return name, true, nil
			}
		}
	}
	if trouble == nil {
		h.env.told.failed(statusNoHost)
	}
	if trouble == nil {
		h.env.told.failed(statusNoHost)
	}
	return last, false, trouble
}

// domain is the one that is tried behind names that are not found.
func (h *host) domain() string {
	if h.env.Domain != "" {
		return h.env.Domain
	}
	if h.env.Macro != nil {
		return h.env.Macro("m")
	}
	return ""
}

// inDNS looks a name up in DNS, as it is and in the own domain.
func (h *host) inDNS(ctx context.Context, key string) (string, bool, error) {
	if h.env.Resolver == nil {
		return key, false, errNoResolver
	}
	name := strings.TrimSuffix(key, ".")
	if !possible(name) {
		return name, false, nil
	}
	tries := []string{name}
	if d := h.domain(); d != "" && !strings.HasSuffix(key, ".") {
		if strings.IndexByte(name, '.') < 0 {
			tries = []string{name + "." + d, name}
		} else {
			tries = append(tries, name+"."+d)
		}
	}
	last, trouble := name, error(nil)
	for _, t := range tries {
		cname, found, err := h.chase(ctx, t)
		if found {
			return cname, true, nil
		}
		if err != nil {
			trouble = err
			last = cname
			break
		}
	}
	return last, false, trouble
}

// possible reports whether DNS can have a name at all (RFC 1035 2.3.4).
func possible(name string) bool {
	if name == "" || len(name) > 253 {
		return false
	}
	for _, label := range strings.Split(name, ".") {
		if label == "" || len(label) > 63 {
			return false
		}
	}
	return true
}

// chase follows CNAMEs from a name to one that has an address or an MX.
func (h *host) chase(ctx context.Context, name string) (string, bool, error) {
	seen := map[string]bool{}
	for range maxChain {
		if seen[strings.ToLower(name)] {
			break
		}
		seen[strings.ToLower(name)] = true
		next, found, err := h.step(ctx, name)
		switch {
		case err != nil:
			err = fmt.Errorf("host %s: %w", name, err)
			return name, false, &Complaint{Say: name + ": Name server timeout", Err: err, Again: true}
		case next != "" && h.env.KeepAliases:
			return name, true, nil
		case next != "" && seen[strings.ToLower(next)]:
			return name, false, &Complaint{Say: "DNS failure: CNAME loop for " + name, Err: &Trouble{Status: 0, Err: errors.New("CNAME loop at " + name)}, Again: true}
		case next != "":
			name = next
		default:
			return name, found, nil
		}
	}
	return name, false, nil
}

// step looks for one name: it is an alias (next), or it is found, or it is not.
func (h *host) step(ctx context.Context, name string) (next string, found bool, err error) {
	for _, typ := range []string{"A", "AAAA", "MX"} {
		records, exists, err := h.env.Resolver.Query(ctx, name, typ)
		if err != nil {
			return "", false, err
		}
		if !exists && len(records) == 0 {
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

// inFile looks a name up in the hosts file. The canonical name is the first one of the line that has a dot, else the first
// with the own domain behind it (SEMANTICS fact 45).
func (h *host) inFile(name string) (string, bool) {
	f := h.hosts.named(name, h.domain())
	if f == nil {
		return "", false
	}
	for _, full := range f[1:] {
		if strings.IndexByte(full, '.') >= 0 {
			return full, true
		}
	}
	if h.env.Macro != nil {
		if d := h.env.Macro("m"); d != "" {
			return f[1] + "." + d, true
		}
	}
	return f[1], true
}

// ofAddress finds the name of an address literal.
func (h *host) ofAddress(ctx context.Context, key string) (string, bool, error) {
	end := strings.IndexByte(key, ']')
	if end < 0 {
		return key, false, nil
	}
	a, err := parseClient(key[:end+1])
	if err != nil {
		return key, false, nil
	}
	if f := h.system.address(a); f != nil {
		return f[1], true, nil
	}
	if h.env.Resolver == nil {
		return key, false, errNoResolver
	}
	records, exists, err := h.env.Resolver.Query(ctx, reverse(a), "PTR")
	if !exists {
		h.env.told.failed(statusNoHost)
	}
	if err != nil {
		h.env.told.failed(statusNotNow)
		return key, false, &Complaint{Say: key + ": Name server timeout", Err: fmt.Errorf("host %s: %w", key, err), Again: true}
	}
	for _, r := range records {
		if r.Type == "PTR" {
			return strings.TrimSuffix(r.Value, "."), true, nil
		}
	}
	return key, false, nil
}

// reverse is the name under which DNS has the name of an address (RFC 1035 3.5, RFC 3596 2.5).
func reverse(a netip.Addr) string {
	var b strings.Builder
	if a.Is4() {
		q := a.As4()
		for i := 3; i >= 0; i-- {
			fmt.Fprintf(&b, "%d.", q[i])
		}
		return b.String() + "in-addr.arpa"
	}
	q := a.As16()
	for i := 15; i >= 0; i-- {
		fmt.Fprintf(&b, "%x.%x.", q[i]&15, q[i]>>4)
	}
	return b.String() + "ip6.arpa"
}

// MX returns the mail exchangers of a name in their order, each with a dot behind it; null tells of a null MX
// (RFC 7505). A name without MX is its own (RFC 5321 5.1).
func (h *host) MX(ctx context.Context, name string) (hosts []string, null bool, err error) {
	return h.exchangers(ctx, name, !strings.HasSuffix(name, "."))
}

// exchangers looks for a name without dots in the domain of this host first if search is set.
func (h *host) exchangers(ctx context.Context, name string, search bool) (hosts []string, null bool, err error) {
	literal := strings.HasPrefix(name, "[")
	if literal { // an address, or a name whose MX records do not count
		inner, ok := inLiteral(name)
		if !ok || inner == "" {
			return nil, false, nil
		}
		if _, err := parseClient(inner); err == nil && strings.Count(inner, ":") != 1 || isDotted(inner) { // no IPv6:1.2.3.4
			return []string{name}, false, nil
		}
		name = inner
	}
	if !slices.Contains(h.services, "dns") {
		return nil, false, nil
	}
	bare := strings.TrimSuffix(name, ".")
	tries := []string{bare}
	if d := h.domain(); search && d != "" && strings.IndexByte(bare, '.') < 0 {
		tries = []string{bare + "." + d, bare}
	}
	if h.env.Resolver == nil {
		return nil, false, errNoResolver
	}
	if search {
		h.env.told.failed(statusNoHost)
	}
	for _, t := range tries {
		if !possible(t) {
			h.env.told.failed(statusSoftware)
			continue
		}
		var records []Record
		if literal {
			name, found, err := h.chase(ctx, t)
			if found || err != nil {
				return []string{name + "."}, false, err
			}
			continue
		}
		var exists bool
		if records, exists, err = h.env.Resolver.Query(ctx, t, "MX"); err != nil {
			h.env.told.failed(statusNotNow)
			return nil, false, err
		}
		switch {
		case !exists:
			h.env.told.failed(statusNoHost)
		case len(records) == 0: // an alias is an answer, wherever it leads
			h.env.told.failed(statusUnavailable)
		}
		type exchanger struct {
			pref int
			name string
		}
		var list []exchanger
		alias := false
		for _, r := range records {
			alias = alias || r.Type == "CNAME"
			if r.Type != "MX" {
				continue
			}
			p, n, _ := strings.Cut(r.Value, " ")
			pref, _ := strconv.Atoi(p)
			list = append(list, exchanger{pref, strings.TrimSuffix(n, ".")})
		}
		if len(list) == 1 && list[0].name == "" {
			return nil, true, nil
		}
		sort.SliceStable(list, func(i, j int) bool { return list[i].pref < list[j].pref })
		for _, e := range list {
			hosts = append(hosts, e.name+".")
		}
		if hosts != nil || alias {
			return hosts, false, nil
		}
		for _, typ := range []string{"A", "AAAA"} {
			records, _, err := h.env.Resolver.Query(ctx, t, typ)
			if err != nil {
				return nil, false, err
			}
			for _, r := range records {
				if r.Type == typ {
					return []string{t + "."}, false, nil
				}
			}
		}
	}
	if n, ok := h.inFile(bare); ok {
		return []string{n + "."}, false, nil
	}
	return nil, false, nil
}

// bestMX is the class bestmx: the mail exchangers of a name, the best one, or all of them with -z. It does not search: names
// have to be whole, or in the hosts file.
type bestMX struct{ *host }

func (b bestMX) Lookup(ctx context.Context, key string, _ []string) (Result, bool, error) {
	hosts, _, err := b.exchangers(ctx, key, false)
	if err != nil {
		return b.failed(key, err)
	}
	if len(hosts) == 0 {
		return Result{}, false, nil
	}
	if b.match {
		return Result{Value: key + b.suffix}, true, nil
	}
	if b.delim == "" {
		hosts = hosts[:1]
	}
	return Result{Value: strings.Join(hosts, b.delim) + b.suffix}, true, nil
}

// Hit is the status of a lookup that found something: sendmail shows the resolver's error where only the hosts file helped.
func (b bestMX) Hit(key string) int {
	key = strings.TrimSuffix(key, ".")
	if _, ok := b.inFile(key); ok && b.env.Resolver != nil {
		if _, exists, err := b.env.Resolver.Query(context.Background(), key, "MX"); err == nil && !exists {
			return 68
		}
	}
	return 0
}

// Miss is the status of a lookup that found nothing: that a name has no mail exchangers is no error for sendmail.
func (b bestMX) Miss(key string) int {
	if strings.HasPrefix(key, "[") {
		return 0
	}
	if _, null, err := b.exchangers(context.Background(), key, false); null && err == nil {
		return 69
	}
	if !slices.Contains(b.services, "dns") {
		return 0
	}
	if bare := strings.TrimSuffix(key, "."); bare != "" && !possible(bare) {
		return 0
	} else if b.env.Resolver != nil && bare != "" {
		if _, exists, err := b.env.Resolver.Query(context.Background(), bare, "MX"); err == nil && exists {
			return 0
		}
	}
	return 68
}
