package mtasts

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"waybill/transport/dns"
	"waybill/transport/identity"
)

// Resolver is what a Store asks of the DNS; *dns.Resolver is one.
type Resolver interface {
	TXT(ctx context.Context, name string) ([]string, dns.Existence, error)
	Addrs(ctx context.Context, host string) (dns.Addresses, error)
}

// Config sets up a Store.
type Config struct {
	Dir       string                                                               // where policies are kept; created if need be; empty: in memory only
	Resolver  Resolver                                                             // required
	TLSConfig *tls.Config                                                          // roots for the download; default: the system's
	Timeout   time.Duration                                                        // of one download; default 10s (RFC 8461 3.3 suggests a minute; a message waits)
	Dial      func(ctx context.Context, network, address string) (net.Conn, error) // default: net.Dialer
	Log       *slog.Logger
}

// Store knows policies. It is safe for concurrent use.
type Store struct {
	conf Config
	http *http.Client
	log  *slog.Logger

	mu      sync.Mutex
	known   map[string]Policy
	failed  map[string]failure
	waiting map[string]chan struct{} // a download is under way
}

// failure is a download that did not work: it is not repeated at once.
type failure struct {
	id    string
	until time.Time
}

const (
	retryFetch = 5 * time.Minute // RFC 8461 3.3: wait at least five minutes between failed attempts
	maxKnown   = 10000
)

// New returns a Store and reads what is kept in conf.Dir. A file that cannot be read is ignored and logged.
func New(conf Config) (*Store, error) {
	if conf.Resolver == nil {
		return nil, errors.New("mtasts: no resolver")
	}
	if conf.Timeout <= 0 {
		conf.Timeout = 10 * time.Second
	}
	if conf.Dial == nil {
		conf.Dial = new(net.Dialer).DialContext
	}
	s := &Store{conf: conf, log: conf.Log, known: map[string]Policy{}, failed: map[string]failure{}, waiting: map[string]chan struct{}{}}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.http = &http.Client{
		Timeout:       conf.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // RFC 8461 3.3: never followed
		Transport: &http.Transport{TLSClientConfig: conf.TLSConfig, DialContext: s.dial, DisableKeepAlives: true,
			TLSHandshakeTimeout: conf.Timeout, MaxResponseHeaderBytes: 16 << 10},
	}
	if conf.Dir == "" {
		return s, nil
	}
	return s, s.load()
}

// Policy returns the policy of domain; ok is false where it has none. What is on disk is used when the DNS or the web
// server cannot be asked, until it is too old (RFC 8461 3.3).
func (s *Store) Policy(ctx context.Context, domain string) (p Policy, ok bool) {
	domain, named := dns.ToASCII(strings.ToLower(strings.TrimSuffix(domain, ".")))
	if !named || !validMX(domain) || strings.HasPrefix(domain, ".") || strings.HasPrefix(domain, "*") {
		return Policy{}, false
	}
	old, cached := s.cached(domain)
	records, _, err := s.conf.Resolver.TXT(ctx, "_mta-sts."+domain)
	id, announced := recordID(records)
	if err != nil || !announced || (cached && id == old.ID) {
		return old, cached && old.Mode != None
	}
	if p, ok := s.refresh(ctx, domain, id); ok {
		return p, p.Mode != None
	}
	return old, cached && old.Mode != None
}

func (s *Store) cached(domain string) (Policy, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.known[domain]
	if ok && time.Now().After(p.Until) {
		delete(s.known, domain)
		if s.conf.Dir != "" {
			os.Remove(filepath.Join(s.conf.Dir, domain))
		}
		ok = false
	}
	return p, ok
}

// refresh downloads a policy, once for all who want it at the same time.
func (s *Store) refresh(ctx context.Context, domain, id string) (Policy, bool) {
	for {
		s.mu.Lock()
		if f := s.failed[domain]; f.id == id && time.Now().Before(f.until) {
			s.mu.Unlock()
			return Policy{}, false
		}
		if p, ok := s.known[domain]; ok && p.ID == id {
			s.mu.Unlock()
			return p, true
		}
		other := s.waiting[domain]
		if other == nil {
			break
		}
		s.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return Policy{}, false
		}
	}
	done := make(chan struct{})
	s.waiting[domain] = done
	s.mu.Unlock()

	p, err := s.fetch(ctx, domain)

	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.waiting, domain)
	close(done)
	if err != nil {
		s.log.Info("MTA-STS policy cannot be read", "domain", domain, "err", err)
		if ctx.Err() == nil {
			makeRoom(s.failed)
			s.failed[domain] = failure{id, time.Now().Add(retryFetch)}
		}
		return Policy{}, false
	}
	p.ID, p.Until = id, time.Now().Add(p.MaxAge)
	makeRoom(s.known)
	s.known[domain] = p
	delete(s.failed, domain)
	if err := s.save(domain, p); err != nil {
		s.log.Warn("MTA-STS policy cannot be kept", "domain", domain, "err", err)
	}
	return p, true
}

func makeRoom[V any](m map[string]V) {
	for k := range m {
		if len(m) < maxKnown {
			return
		}
		delete(m, k)
	}
}

// fetch downloads the policy file (RFC 8461 3.3).
func (s *Store) fetch(ctx context.Context, domain string) (Policy, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://mta-sts."+domain+"/.well-known/mta-sts.txt", nil)
	if err != nil {
		return Policy{}, err
	}
	resp, err := s.http.Do(req)
	if err != nil {
		return Policy{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return Policy{}, fmt.Errorf("web server answered %d", resp.StatusCode)
	}
	if kind, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type")); err != nil || kind != "text/plain" {
		return Policy{}, errors.New("policy is not text/plain")
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxPolicy+1))
	if err != nil {
		return Policy{}, err
	}
	return Parse(string(text))
}

// dial connects to the web server through our own resolver.
func (s *Store) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	a, err := s.conf.Resolver.Addrs(ctx, host)
	if err != nil {
		return nil, err
	}
	err = fmt.Errorf("%s has no address", host)
	for _, addr := range a.Addrs[:min(len(a.Addrs), 4)] {
		var c net.Conn
		if c, err = s.conf.Dial(ctx, network, net.JoinHostPort(addr.String(), port)); err == nil {
			return c, nil
		}
	}
	return nil, err
}

// save writes a policy: a line with its id, a line with the time until which it holds, and its text.
func (s *Store) save(domain string, p Policy) error {
	if s.conf.Dir == "" {
		return nil
	}
	text := p.ID + "\n" + p.Until.UTC().Format(time.RFC3339) + "\n" + strings.Join(p.Text, "\n") + "\n"
	if err := s.makeDir(); err != nil {
		return err
	}
	f, err := os.CreateTemp(s.conf.Dir, ".new-")
	if err != nil {
		return err
	}
	if err = identity.Leave(f); err == nil {
		_, err = f.WriteString(text)
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(s.conf.Dir, domain))
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// makeDir makes the directory with the first policy. Not before: the one above it may not be there yet, and is not ours.
func (s *Store) makeDir() error {
	err := os.Mkdir(s.conf.Dir, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return identity.LeaveDirectory(s.conf.Dir, 0)
}

func (s *Store) load() error {
	entries, err := os.ReadDir(s.conf.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("mtasts: %w", err)
	}
	for _, e := range entries[:min(len(entries), maxKnown)] {
		if strings.HasPrefix(e.Name(), ".") || !e.Type().IsRegular() {
			continue
		}
		file := filepath.Join(s.conf.Dir, e.Name())
		p, err := readKept(file)
		if err != nil {
			s.log.Warn("MTA-STS policy on disk is damaged", "file", file, "err", err)
			continue
		}
		s.known[e.Name()] = p
	}
	return nil
}

func readKept(file string) (Policy, error) {
	f, err := os.Open(file)
	if err != nil {
		return Policy{}, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxPolicy+200))
	if err != nil {
		return Policy{}, err
	}
	id, rest, _ := strings.Cut(string(data), "\n")
	until, text, _ := strings.Cut(rest, "\n")
	when, err := time.Parse(time.RFC3339, until)
	if err != nil {
		return Policy{}, errors.New("second line is not a time")
	}
	p, err := Parse(text)
	p.ID, p.Until = id, when
	return p, err
}
