package dns

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// servers asks real servers: fixed ones, or those that a resolv.conf names at the moment.
type servers struct {
	fixed   []string      // ADDR:PORT
	file    string        // resolv.conf(5); used when fixed is empty
	timeout time.Duration // 0: as the file says, or 3s
	tries   int           // 0: as the file says, or 2
	trustAD bool

	mu      sync.Mutex
	looked  time.Time // when the file was last looked at
	changed time.Time // its modification time
	read    resolvConf
	silent  map[string]time.Time // servers that did not answer lately: asked last until then
}

type resolvConf struct {
	servers []string
	trustAD bool
	timeout time.Duration
	tries   int
}

// Defaults of Config.Timeout and Config.Tries.
const (
	defaultTimeout = 3 * time.Second
	defaultTries   = 2
)

// avoidSilent is how long a server that did not answer stands behind the others.
const avoidSilent = 30 * time.Second

// inOrder returns the servers in the order to ask: those that did not answer lately last.
func (s *servers) inOrder(list []string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.silent) == 0 || len(list) < 2 {
		return list
	}
	now := time.Now()
	var first, last []string
	for _, server := range list {
		if now.Before(s.silent[server]) {
			last = append(last, server)
		} else {
			first = append(first, server)
		}
	}
	return append(first, last...)
}

func (s *servers) answered(server string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ok {
		delete(s.silent, server)
		return
	}
	if s.silent == nil {
		s.silent = map[string]time.Time{}
	}
	s.silent[server] = time.Now().Add(avoidSilent)
}

const lookEvery = 5 * time.Second // how often a watched file's time is looked at, when anybody asks anything

// exchange asks each server in turn, round after round, until one gives an answer that says something about the name.
// SERVFAIL, REFUSED and the like make the next server's turn; the last such answer is returned when no server does
// better, and the caller takes it as temporary.
func (s *servers) exchange(ctx context.Context, q *dns.Msg) (*dns.Msg, bool, error) {
	c := s.current()
	list := c.servers
	var bad *dns.Msg
	var last error
	for range c.tries {
		for _, server := range s.inOrder(list) {
			if err := context.Cause(ctx); err != nil {
				return nil, false, err
			}
			m, err := s.once(ctx, q, server, c.timeout)
			s.answered(server, err == nil)
			if err != nil {
				last = fmt.Errorf("server %s: %w", server, err)
				continue
			}
			if m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError {
				bad = m
				continue
			}
			return m, c.trustAD || onLoopback(server), nil
		}
		if bad != nil {
			return bad, false, nil // somebody answered: asking again at once gives the same
		}
	}
	return nil, false, last
}

// once asks one server over UDP, and over TCP when the answer was cut off (RFC 7766 5) or does not fit.
func (s *servers) once(ctx context.Context, q *dns.Msg, server string, timeout time.Duration) (*dns.Msg, error) {
	q = q.Copy()
	q.Id = dns.Id() // a new random id for each try, and a new port with the new socket (RFC 5452 9.2)
	m, err := over(ctx, "udp", q, server, timeout)
	if err == nil && m.Rcode == dns.RcodeFormatError && q.IsEdns0() != nil {
		q.Extra = nil // a server from before EDNS (RFC 6891 7)
		m, err = over(ctx, "udp", q, server, timeout)
	}
	if err == nil && m.Truncated {
		m, err = over(ctx, "tcp", q, server, timeout)
		if err == nil && m.Truncated {
			err = errors.New("answer over TCP is cut off")
		}
	}
	return m, err
}

func over(ctx context.Context, network string, q *dns.Msg, server string, timeout time.Duration) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var d net.Dialer
	c, err := d.DialContext(ctx, network, server)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	deadline, _ := ctx.Deadline()
	if err := c.SetDeadline(deadline); err != nil {
		return nil, err
	}
	co := &dns.Conn{Conn: c, UDPSize: udpSize}
	if err := co.WriteMsg(q); err != nil {
		return nil, err
	}
	for {
		m, err := co.ReadMsg()
		if err == nil && answers(m, q) {
			return m, nil
		}
		if network == "tcp" && err == nil {
			return nil, errors.New("answer to another question")
		}
		var netErr net.Error
		if err != nil && (m == nil || network == "tcp" || errors.As(err, &netErr)) {
			return nil, err
		}
		// UDP: not ours, late or forged. The true answer may still come before the deadline (RFC 5452 9.1).
	}
}

// answers reports whether m answers q: same id, same question (RFC 5452 9.1).
func answers(m, q *dns.Msg) bool {
	if !m.Response || m.Id != q.Id || m.Opcode != dns.OpcodeQuery {
		return false
	}
	if len(m.Question) == 0 { // some servers answer FORMERR and NOTIMP without the question
		return m.Rcode == dns.RcodeFormatError || m.Rcode == dns.RcodeNotImplemented
	}
	return len(m.Question) == 1 && m.Question[0].Qtype == q.Question[0].Qtype &&
		m.Question[0].Qclass == q.Question[0].Qclass && strings.EqualFold(unescaped(m.Question[0].Name), unescaped(q.Question[0].Name))
}

func onLoopback(server string) bool {
	a, err := netip.ParseAddrPort(server)
	return err == nil && a.Addr().IsLoopback()
}

// current returns the servers to ask and how, reading the file again when it changed.
func (s *servers) current() resolvConf {
	c := resolvConf{servers: s.fixed}
	if len(s.fixed) == 0 {
		c = s.fromFile()
	}
	c.trustAD = c.trustAD || s.trustAD
	c.timeout = cmp.Or(s.timeout, c.timeout, defaultTimeout)
	c.tries = cmp.Or(s.tries, c.tries, defaultTries)
	return c
}

func (s *servers) fromFile() resolvConf {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); s.looked.IsZero() || now.Sub(s.looked) >= lookEvery {
		s.looked = now
		info, err := os.Stat(s.file)
		if err == nil && !info.ModTime().Equal(s.changed) {
			if f, err := os.Open(s.file); err == nil {
				s.read = parseResolvConf(bufio.NewScanner(f))
				s.changed = info.ModTime()
				f.Close()
			}
		}
	}
	c := s.read
	if len(c.servers) == 0 {
		c.servers = []string{"127.0.0.1:53"} // resolv.conf(5)
	}
	return c
}

func parseResolvConf(lines *bufio.Scanner) (c resolvConf) {
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) < 2 {
			continue
		}
		switch words[0] {
		case "nameserver":
			if addr, err := serverAddr(words[1]); err == nil && len(c.servers) < 3 { // MAXNS
				c.servers = append(c.servers, addr)
			}
		case "options":
			for _, o := range words[1:] {
				name, value, _ := strings.Cut(o, ":")
				n, _ := strconv.Atoi(value)
				switch {
				case o == "trust-ad":
					c.trustAD = true
				case name == "timeout" && n > 0: // the caps are those of resolv.conf(5)
					c.timeout = time.Duration(min(n, 30)) * time.Second
				case name == "attempts" && n > 0:
					c.tries = min(n, 5)
				}
			}
		}
	}
	return c
}

// serverAddr reads ADDR or ADDR:PORT.
func serverAddr(s string) (string, error) {
	if a, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return netip.AddrPortFrom(a, 53).String(), nil
	}
	a, err := netip.ParseAddrPort(s)
	if err != nil {
		return "", fmt.Errorf("dns: server %q is not ADDR or ADDR:PORT", s)
	}
	return a.String(), nil
}

// unescaped is a name without the backslashes that the library puts before some characters of answers, such as an
// apostrophe.
func unescaped(name string) string {
	if strings.IndexByte(name, '\\') < 0 {
		return name
	}
	var b strings.Builder
	for i := 0; i < len(name); i++ {
		if name[i] == '\\' && i+1 < len(name) {
			if n, err := strconv.ParseUint(name[i+1:min(i+4, len(name))], 10, 8); err == nil && i+3 < len(name) { // \DDD
				b.WriteByte(byte(n))
				i += 3
				continue
			}
			i++
		}
		b.WriteByte(name[i])
	}
	return b.String()
}
