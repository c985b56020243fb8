package smtpserver

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"waybill/transport/smtp"
)

// Server accepts connections. One Server may serve several listeners; its limits hold over all of them.
type Server struct {
	given    Config // as New was told, without defaults: what roles begin with
	cfg      Config
	backend  Backend
	commands map[string]command

	connRates, messageRates, rcptRates, authRates *rates

	tasks chan func() // for goroutines that wait for the next connection

	mu        sync.Mutex
	conns     map[*conn]struct{}
	perClient map[netip.Prefix]int
	listeners map[net.Listener]struct{}
	stopping  bool
	done      sync.WaitGroup
}

// New returns a Server that has no listener yet. An error says what is wrong with cfg.
func New(cfg Config, backend Backend) (*Server, error) {
	given := cfg
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	s := &Server{given: given, cfg: cfg, backend: backend, commands: make(map[string]command),
		conns: make(map[*conn]struct{}), perClient: make(map[netip.Prefix]int), listeners: make(map[net.Listener]struct{})}
	s.connRates, s.messageRates, s.rcptRates = newRates(time.Minute), newRates(time.Minute), newRates(time.Minute)
	s.authRates = newRates(10 * time.Minute)
	s.tasks = make(chan func())
	for _, c := range commands() {
		s.commands[c.verb] = c
	}
	return s, nil
}

// ErrStopped is what Serve returns after Shutdown.
var ErrStopped = errors.New("smtpserver: stopped")

// Role is what one listener does in a way of its own: the port for submission, the one for LMTP.
type Role struct {
	Name        string        // for the Session: Client.Role
	ImplicitTLS bool          // TLS begins at once (RFC 8314 3.3: 465)
	Change      func(*Config) // makes the configuration of the listener out of the server's; nil: it is the same
}

// Serve accepts connections from ln until Shutdown, or until ln fails for good. It closes ln. ctx is the parent of
// what the Sessions get; ending it closes connections in the middle of whatever they do: use Shutdown for a stop that
// loses nothing.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	return s.serve(ctx, ln, &s.cfg, Role{})
}

// ServeTLS is Serve for a port where TLS begins at once.
func (s *Server) ServeTLS(ctx context.Context, ln net.Listener) error {
	return s.ServeAs(ctx, ln, Role{ImplicitTLS: true})
}

// ServeAs is Serve for a listener with a role. Limits on numbers and rates of connections stay those of the server, over
// all its listeners.
func (s *Server) ServeAs(ctx context.Context, ln net.Listener, role Role) error {
	cfg := s.given
	if role.Change != nil {
		role.Change(&cfg)
	}
	err := cfg.setDefaults()
	if err == nil && role.ImplicitTLS && cfg.TLS == nil {
		err = errors.New("smtpserver: no TLS configuration")
	}
	if err != nil {
		ln.Close()
		return err
	}
	return s.serve(ctx, ln, &cfg, role)
}

func (s *Server) serve(ctx context.Context, ln net.Listener, cfg *Config, role Role) error {
	defer ln.Close()
	s.mu.Lock()
	if s.stopping {
		s.mu.Unlock()
		return ErrStopped
	}
	s.listeners[ln] = struct{}{}
	s.mu.Unlock()
	pause := time.Duration(0)
	pace := pace{limit: s.cfg.TotalConnRate}
	for {
		nc, err := ln.Accept()
		if err != nil {
			s.mu.Lock()
			stopping := s.stopping
			s.mu.Unlock()
			var ne net.Error
			switch {
			case stopping:
				return ErrStopped
			case errors.Is(err, net.ErrClosed):
				return err
			case errors.As(err, &ne):
				// out of descriptors, or a client that is gone already: not the listener's end
				pause = min(max(2*pause, 5*time.Millisecond), time.Second)
				s.cfg.Log.Warn("accept", "listener", ln.Addr().String(), "err", err)
				select {
				case <-time.After(pause):
					continue
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			return err
		}
		pause = 0
		if d := pace.wait(time.Now()); d > 0 {
			select {
			case <-time.After(d):
			case <-ctx.Done():
			}
		}
		s.accept(ctx, nc, cfg, role)
	}
}

// accept serves one connection, or says why not.
func (s *Server) accept(ctx context.Context, nc net.Conn, cfg *Config, role Role) {
	client := &Client{Remote: addrPort(nc.RemoteAddr()), Local: addrPort(nc.LocalAddr()), LMTP: cfg.LMTP, Role: role.Name}
	if cfg.Proxy != nil && client.Remote.IsValid() && cfg.Proxy(client.Remote.Addr()) {
		go func() {
			_ = nc.SetReadDeadline(time.Now().Add(proxyTimeout))
			from, to, ok, err := readProxy(nc)
			if err != nil {
				s.cfg.Log.Warn("proxy", "peer", client.Remote.Addr().String(), "err", err)
				_ = nc.Close()
				return
			}
			if ok {
				client.Remote, client.Local = from, to
			}
			s.admitAndServe(ctx, nc, client, cfg, role)
		}()
		return
	}
	s.admitAndServe(ctx, nc, client, cfg, role)
}

// proxyTimeout is how long a trusted balancer may take for its header.
const proxyTimeout = 10 * time.Second

func (s *Server) admitAndServe(ctx context.Context, nc net.Conn, client *Client, cfg *Config, role Role) {
	c, refusal := s.admit(ctx, nc, client, cfg)
	if refusal != nil {
		s.cfg.Log.Info("connection refused", "client", client.Remote.Addr().String(), "reply", refusal.String())
		_ = nc.SetDeadline(time.Now().Add(time.Second))
		if !role.ImplicitTLS {
			_, _ = nc.Write(refusal.Append(nil, false))
		}
		_ = nc.Close()
		return
	}
	c.implicitTLS = role.ImplicitTLS
	s.start(func() {
		defer s.leave(c)
		defer c.w.giveBack()
		defer nc.Close()
		_ = c.serve()
		if c.verb != "QUIT" || c.client.TLS != nil || c.w.br.Buffered() > 0 { // behind QUIT nothing comes (RFC 5321 4.1.1.10)
			linger(nc)
		}
	})
}

// workerIdle is how long a goroutine waits for another connection.
const workerIdle = time.Second

// start runs f in a goroutine that has served another connection, if one waits: its stack has grown already, which for
// short connections is a tenth of the work.
func (s *Server) start(f func()) {
	select {
	case s.tasks <- f:
		return
	default:
	}
	go func() {
		idle := time.NewTimer(workerIdle)
		defer idle.Stop()
		for {
			f()
			f = nil
			idle.Reset(workerIdle)
			select {
			case f = <-s.tasks:
			case <-idle.C:
				return
			}
		}
	}()
}

// ServeConn serves one client on rw and returns when it is gone: sendmail -bs on standard input and output, LMTP on a
// pipe, a socket that somebody else accepted. Limits on the number of connections do not apply. Deadlines hold where
// rw has the methods of net.Conn for them; rw is not closed.
func (s *Server) ServeConn(ctx context.Context, rw io.ReadWriter, client Client) error {
	client.LMTP = s.cfg.LMTP
	c := newConn(ctx, s, &s.cfg, rw, &client)
	s.mu.Lock()
	if s.stopping {
		s.mu.Unlock()
		return ErrStopped
	}
	s.conns[c] = struct{}{}
	s.done.Add(1)
	s.mu.Unlock()
	defer s.leave(c)
	defer c.w.giveBack()
	return c.serve()
}

// admit counts the connection, or says why there are too many.
func (s *Server) admit(ctx context.Context, nc net.Conn, client *Client, cfg *Config) (*conn, *smtp.Reply) {
	c := newConn(ctx, s, cfg, nc, client)
	s.mu.Lock()
	defer s.mu.Unlock()
	client.Rate = s.connRates.add(c.group, 1, time.Now())
	client.Connections = s.perClient[c.group] + 1
	var refusal *smtp.Reply
	switch {
	case !c.trusted && s.cfg.ConnRate > 0 && client.Rate > s.cfg.ConnRate:
		refusal = smtp.NewReply(421, "4.7.0", s.cfg.Hostname+" has had too many connections from you, try again later")
	case s.stopping:
		refusal = smtp.NewReply(421, "4.3.2", s.cfg.Hostname+" is shutting down")
	case s.cfg.MaxSessionsPerClient >= 0 && !c.trusted && client.Connections > s.cfg.MaxSessionsPerClient:
		refusal = smtp.NewReply(421, "4.7.0", s.cfg.Hostname+" has too many connections from you, try again later")
	case s.cfg.MaxSessions >= 0 && len(s.conns) >= s.cfg.MaxSessions && !s.makeRoom(time.Now()):
		refusal = smtp.NewReply(421, "4.3.2", s.cfg.Hostname+" has too many connections, try again later")
	}
	if refusal != nil {
		c.cancel()
		return nil, refusal
	}
	s.perClient[c.group]++
	c.counted = c.group // XCLIENT may change who the client is
	s.conns[c] = struct{}{}
	s.done.Add(1)
	return c, nil
}

// makeRoom sends the client away that has waited longest between transactions, if that is longer than idleEnough: when
// all places are taken, those who use none of theirs leave first. The caller holds the lock.
func (s *Server) makeRoom(now time.Time) bool {
	var longest *conn
	since := now.Add(-s.cfg.IdleEnough)
	if s.cfg.IdleEnough < 0 {
		return false
	}
	for c := range s.conns {
		if at, idle := c.w.idleSince(); idle && !c.trusted && at.Before(since) {
			longest, since = c, at
		}
	}
	if longest == nil {
		return false
	}
	longest.w.oust()
	return true
}

func (s *Server) leave(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	if c.counted.IsValid() {
		if s.perClient[c.counted]--; s.perClient[c.counted] == 0 {
			delete(s.perClient, c.counted)
		}
	}
	s.done.Done()
}

// Sessions is the number of connections that are open.
func (s *Server) Sessions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// Shutdown stops the server without losing anything: listeners are closed, connections between transactions get 421,
// a transaction that has begun is finished first. It returns when the last connection is gone. When ctx ends before,
// the connections that are left are cut, and the error of ctx is returned.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.stopping = true
	for ln := range s.listeners {
		_ = ln.Close()
	}
	for c := range s.conns {
		c.w.stop()
	}
	s.mu.Unlock()
	gone := make(chan struct{})
	go func() { s.done.Wait(); close(gone) }()
	select {
	case <-gone:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	for c := range s.conns {
		c.cut()
	}
	s.mu.Unlock()
	select {
	case <-gone:
	case <-time.After(time.Second): // a Session does not look at its context
	}
	return ctx.Err()
}

// linger lets a client read our last words: closing a socket with unread octets in it makes the kernel throw away
// what we sent. It waits no longer than a second for more, five in all, and reads no more than a flood's worth.
func linger(nc net.Conn) {
	half, ok := nc.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	end := time.Now().Add(5 * time.Second)
	buf := make([]byte, 4<<10)
	for left := 4 << 20; left > 0; {
		wait := time.Now().Add(time.Second)
		if wait.After(end) {
			wait = end
		}
		_ = nc.SetReadDeadline(wait)
		n, err := nc.Read(buf)
		if err != nil {
			return
		}
		left -= n
	}
}

func addrPort(a net.Addr) netip.AddrPort {
	if t, ok := a.(*net.TCPAddr); ok {
		ap := t.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	return netip.AddrPort{}
}

// clientGroup is what counts as one client: an IPv4 address, an IPv6 /64.
func clientGroup(a netip.Addr) netip.Prefix {
	bits := a.BitLen()
	if a.Is6() {
		bits = 64
	}
	p, _ := a.WithZone("").Prefix(bits)
	return p
}
