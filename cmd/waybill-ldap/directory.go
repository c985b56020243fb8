package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	neturl "net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/go-ldap/ldap/v3"

	"waybill/rules/table"
)

// Limits of one lookup.
const (
	maxEntries  = 1000             // that are followed
	maxValue    = 90_000           // octets of an answer
	searchTime  = 30 * time.Second // where -l says nothing
	connectTime = 30 * time.Second // where -c says nothing
)

// errNotFound says that the directory has nothing.
var errNotFound = errors.New("not found")

// directory is a directory, with the connection to it.
type directory struct {
	name string
	spec *table.LDAP
	conn *ldap.Conn
}

// between finds the white space that people put between the parts of a filter, which the library does not know.
var between = regexp.MustCompile(`([&|!)])[ \t]+([()])`)

func newDirectory(name string, spec *table.LDAP) *directory {
	own := *spec
	own.Filter = between.ReplaceAllString(between.ReplaceAllString(spec.Filter, "$1$2"), "$1$2")
	spec = &own
	return &directory{name: name, spec: spec}
}

func (d *directory) close() {
	if d.conn != nil {
		d.conn.Close()
		d.conn = nil
	}
}

// urls are where the directory is, in the order in which it is tried.
func (d *directory) urls() []string {
	if d.spec.URI != "" {
		return strings.Fields(strings.ReplaceAll(d.spec.URI, ",", " "))
	}
	var list []string
	for _, h := range append(slices.Clone(d.spec.Hosts), "localhost")[:max(len(d.spec.Hosts), 1)] {
		if _, _, err := net.SplitHostPort(h); err != nil {
			port := d.spec.Port
			if port == 0 {
				port = 389
			}
			h = net.JoinHostPort(strings.Trim(h, "[]"), strconv.Itoa(port))
		}
		list = append(list, "ldap://"+h)
	}
	return list
}

// connect opens the connection and says who we are, where that is not done yet.
func (d *directory) connect() error {
	if d.conn != nil && !d.conn.IsClosing() {
		return nil
	}
	d.close()
	why := error(nil)
	for _, url := range d.urls() {
		conn, err := d.dial(url)
		if err != nil {
			why = err
			continue
		}
		if err := d.bind(conn); err != nil {
			conn.Close()
			why = err
			continue
		}
		d.conn = conn
		return nil
	}
	return fmt.Errorf("ldap_init/ldap_bind failed to %s in map %s: %s", d.spec.Server(), d.name, reason(why))
}

func (d *directory) dial(url string) (*ldap.Conn, error) {
	limit := d.spec.Connect
	if limit == 0 {
		limit = connectTime
	}
	options := []ldap.DialOpt{ldap.DialWithDialer(&net.Dialer{Timeout: limit})}
	if strings.HasPrefix(url, "ldaps:") {
		conf, err := tlsConfig()
		if err != nil {
			return nil, err
		}
		options = append(options, ldap.DialWithTLSConfig(conf))
	}
	if path, ok := strings.CutPrefix(url, "ldapi://"); ok { // a Unix socket, its name written as the host of a URL
		if plain, err := neturl.PathUnescape(path); err == nil {
			url = "ldapi://" + plain
		}
	}
	conn, err := ldap.DialURL(url, options...)
	if err == nil {
		limit := d.spec.Time
		if limit == 0 {
			limit = searchTime
		}
		conn.SetTimeout(limit + 5*time.Second) // the server is told of limit; this is for one that does not answer
	}
	return conn, err
}

// tlsConfig trusts the system's authorities, or those in the file that LDAPTLS_CACERT or TLS_CACERT of ldap.conf names.
func tlsConfig() (*tls.Config, error) {
	file := os.Getenv("LDAPTLS_CACERT")
	if file == "" {
		conf, _ := os.ReadFile("/etc/ldap/ldap.conf")
		for line := range strings.Lines(string(conf)) {
			if f := strings.Fields(line); len(f) == 2 && strings.EqualFold(f[0], "TLS_CACERT") {
				file = f[1]
			}
		}
	}
	if file == "" {
		return &tls.Config{}, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s has no certificates", file)
	}
	return &tls.Config{RootCAs: pool}, nil
}

// bind says who we are. The password is the first line of the file of -P.
func (d *directory) bind(conn *ldap.Conn) error {
	switch {
	case d.spec.Method == "krbv4":
		return errors.New("the method krbv4 is not supported")
	case d.spec.Bind == "" || d.spec.Method == "none":
		return nil // version 3 needs no bind for nobody
	}
	secret, err := os.ReadFile(d.spec.Secret)
	if err != nil {
		return err
	}
	password, _, _ := strings.Cut(string(secret), "\n")
	return conn.Bind(d.spec.Bind, strings.TrimRight(password, "\r"))
}

// reason is an error of the library in the words that sendmail has for it.
func reason(err error) string {
	var e *ldap.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "Transport endpoint is not connected"
	case errors.Is(err, syscall.ENOENT):
		return "No such file or directory"
	case !errors.As(err, &e):
		return err.Error()
	}
	switch e.ResultCode {
	case ldap.LDAPResultNoSuchObject:
		return "No such object"
	case ldap.LDAPResultInvalidCredentials:
		return "Invalid credentials"
	case ldap.ErrorFilterCompile:
		return "Bad search filter"
	case ldap.ErrorNetwork:
		return "Can't contact LDAP server"
	case ldap.LDAPResultSizeLimitExceeded:
		return "Size limit exceeded"
	case ldap.LDAPResultTimeLimitExceeded:
		return "Time limit exceeded"
	case ldap.LDAPResultInsufficientAccessRights:
		return "Insufficient access"
	case ldap.LDAPResultInvalidDNSyntax:
		return "Invalid DN syntax"
	case ldap.LDAPResultUnavailable:
		return "Server is unavailable"
	case ldap.LDAPResultUnwillingToPerform:
		return "Server is unwilling to perform"
	case ldap.LDAPResultBusy:
		return "Server is busy"
	}
	if text, ok := ldap.LDAPResultCodeMap[e.ResultCode]; ok {
		return text
	}
	return e.Error()
}

// filter puts the key and, with -K, the arguments into the filter of -k.
func (d *directory) filter(key string, args []string) string {
	var b strings.Builder
	f := d.spec.Filter
	for i := 0; i < len(f); i++ {
		c := f[i]
		if c != '%' || i+1 == len(f) {
			b.WriteByte(c)
			continue
		}
		i++
		switch c = f[i]; {
		case c == '%':
			b.WriteByte('%')
		case c == 's': // as it is: what has a meaning in a filter keeps it
			b.WriteString(key)
		case c == '0':
			b.WriteString(ldap.EscapeFilter(key))
		case c >= '1' && c <= '9' && d.spec.Multiple:
			if n := int(c - '1'); n < len(args) {
				b.WriteString(ldap.EscapeFilter(args[n]))
			}
		default:
			b.WriteByte('%')
			b.WriteByte(c)
		}
	}
	text := b.String()
	if !strings.HasPrefix(strings.TrimSpace(text), "(") { // -k uid=%0
		text = "(" + text + ")"
	}
	return text
}

// search is a question to the directory.
type search struct {
	kind   string // NORMAL: the one of the map; FILTER, URL, DN: one that an entry led to
	base   string
	scope  string
	filter string
	values []table.LDAPValue
}

// key tells whether two searches are the same.
func (s search) key() string { return s.kind + "\x00" + s.base + "\x00" + s.filter }

// lookup asks for a key, and for what the answers lead to.
func (d *directory) lookup(key string, args []string) (string, error) {
	if err := d.connect(); err != nil {
		return "", err
	}
	first := search{"NORMAL", d.spec.Base, d.spec.Scope, d.filter(key, args), d.spec.Values}
	a := &answer{spec: d.spec, asked: map[string]bool{}, entries: map[string]bool{}}
	for next := []search{first}; len(next) > 0; {
		s := next[0]
		next = next[1:]
		if a.asked[s.key()] {
			continue
		}
		a.asked[s.key()] = true
		entries, err := d.search(s)
		if err != nil {
			return "", d.failed(key, err)
		}
		if d.spec.One && s.kind == "NORMAL" && len(entries) > 1 {
			return "", errNotFound
		}
		for _, e := range entries {
			next = append(next, a.take(e, s)...)
		}
		if len(a.asked) > maxEntries || len(a.entries) > maxEntries || a.size > maxValue {
			return "", fmt.Errorf("Error getting LDAP results, map=%s, name=%s: Size limit exceeded", d.name, key)
		}
		if len(a.values) > 0 && (d.spec.One || d.spec.Delimiter == "") {
			break // one value is enough
		}
		slices.SortStableFunc(next, func(a, b search) int { return order[a.kind] - order[b.kind] })
	}
	switch {
	case len(a.values) == 0:
		return "", errNotFound
	case d.spec.Delimiter == "":
		return a.values[0], nil
	}
	return strings.Join(a.values, d.spec.Delimiter), nil
}

// order is the one in which sendmail follows what it has found.
var order = map[string]int{"FILTER": 1, "URL": 2, "DN": 3}

// failed says in sendmail's words why there is no answer. When the connection is gone, the next lookup makes another.
func (d *directory) failed(key string, err error) error {
	why := reason(err)
	if why == "Bad search filter" {
		return fmt.Errorf("Error in ldap_search in map %s: %s", d.name, why)
	}
	if ldap.IsErrorWithCode(err, ldap.ErrorNetwork) || ldap.IsErrorWithCode(err, ldap.LDAPResultUnavailable) {
		d.close()
	}
	return fmt.Errorf("Error getting LDAP results, map=%s, name=%s: %s", d.name, key, why)
}

var scopes = map[string]int{"base": ldap.ScopeBaseObject, "one": ldap.ScopeSingleLevel, "sub": ldap.ScopeWholeSubtree}

var derefs = map[string]int{"": ldap.NeverDerefAliases, "never": ldap.NeverDerefAliases, "always": ldap.DerefAlways, "search": ldap.DerefInSearching, "find": ldap.DerefFindingBaseObj}

// search asks the directory once; when the connection has gone while nobody asked, on another one.
func (d *directory) search(s search) ([]*ldap.Entry, error) {
	var attributes []string
	for _, v := range s.values {
		attributes = append(attributes, v.Name)
	}
	if attributes != nil {
		attributes = append(attributes, "objectClass")
	}
	limit := d.spec.Time
	if limit == 0 {
		limit = searchTime
	}
	request := ldap.NewSearchRequest(s.base, scopes[s.scope], derefs[d.spec.Deref], d.spec.Limit, int(limit/time.Second), false, s.filter, attributes, nil)
	result, err := d.conn.Search(request)
	if ldap.IsErrorWithCode(err, ldap.ErrorNetwork) {
		d.close()
		if err := d.connect(); err != nil {
			return nil, err
		}
		result, err = d.conn.Search(request)
	}
	if err != nil {
		return nil, err
	}
	return result.Entries, nil
}

// answer collects values.
type answer struct {
	spec    *table.LDAP
	values  []string
	size    int
	asked   map[string]bool
	entries map[string]bool // names of those that were seen
}

// take takes the values of an entry, and returns what it leads to.
func (a *answer) take(e *ldap.Entry, s search) (next []search) {
	if a.entries[e.DN] {
		return nil
	}
	a.entries[e.DN] = true
	classes := e.GetEqualFoldAttributeValues("objectClass")
	for _, attr := range e.Attributes {
		v, wanted := wants(s.values, attr.Name, classes)
		if !wanted {
			continue
		}
		if a.spec.NamesOnly {
			a.add(attr.Name)
			continue
		}
		for _, value := range attr.Values {
			switch v.Kind {
			case "DN":
				next = append(next, search{"DN", value, "base", "(objectClass=*)", a.spec.Values})
			case "FILTER":
				next = append(next, search{"FILTER", a.spec.Base, a.spec.Scope, value, a.spec.Values})
			case "URL":
				if u, ok := parseURL(value, a.spec); ok {
					next = append(next, u)
				}
			default:
				if a.spec.Separator != "" {
					value = attr.Name + a.spec.Separator + value
				}
				a.add(value)
			}
		}
	}
	return next
}

func (a *answer) add(value string) {
	a.values = append(a.values, value)
	a.size += len(value) + 1
}

// wants tells what an attribute of an entry with some object classes is for.
func wants(values []table.LDAPValue, name string, classes []string) (table.LDAPValue, bool) {
	if values == nil {
		return table.LDAPValue{Name: name, Kind: "NORMAL"}, !strings.EqualFold(name, "objectClass")
	}
	for _, v := range values {
		if !strings.EqualFold(v.Name, name) {
			continue
		}
		if v.Classes == nil {
			return v, true
		}
		for _, c := range v.Classes {
			if slices.ContainsFunc(classes, func(has string) bool { return strings.EqualFold(has, c) }) {
				return v, true
			}
		}
	}
	return table.LDAPValue{}, false
}
