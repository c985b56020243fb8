package app

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"waybill/transport/smtpserver"
)

// port is one listener and what it does.
type port struct {
	net.Listener
	role smtpserver.Role
}

// listen opens the listeners that the settings name, or takes them over from whoever started us: a socket that was
// passed on and has the address of a setting is that listener; the others have the role that their name says, or that
// their port is for.
func (s *site) listen() ([]port, error) {
	passed, err := passedOn()
	if err != nil {
		return nil, err
	}
	wanted := s.wanted()
	ports, err := open(wanted, passed)
	if err == nil {
		for _, p := range passed {
			if p.taken {
				continue
			}
			role, ok := s.roles()[roleOf(p)]
			if !ok || s.cf != nil {
				role = smtpserver.Role{Name: p.name}
			}
			ports = append(ports, port{p.Listener, role})
		}
		for _, p := range ports {
			if s.cf == nil && err == nil {
				err = s.checkRole(p.role.Name)
			}
		}
	}
	if err != nil {
		for _, p := range ports {
			p.Close()
		}
	}
	return ports, err
}

// want is an address to listen on: ADDR:PORT, *:PORT, or the path of a Unix socket.
type want struct {
	addr     string
	role     smtpserver.Role
	optional bool // it may fail (sendmail's modifier O)
}

func (s *site) wanted() []want {
	if s.cf != nil {
		return s.cf.wanted()
	}
	var list []want
	roles := s.roles()
	for _, w := range []struct {
		addrs []string
		role  string
	}{
		{s.settings.Listen, roleSMTP}, {s.settings.ListenTLS, roleSMTPS}, {s.settings.Get("listen-submission"), roleSubmission},
		{s.settings.Get("listen-submissions"), roleSubmissions}, {s.settings.Get("listen-lmtp"), roleLMTP},
	} {
		for _, addr := range w.addrs {
			list = append(list, want{addr: addr, role: roles[w.role]})
		}
	}
	return list
}

func open(wanted []want, passed []*inherited) ([]port, error) {
	var ports []port
	for _, w := range wanted {
		network, address := "tcp", w.addr
		switch {
		case strings.HasPrefix(address, "/"):
			network = "unix"
		case strings.HasPrefix(address, "*:"):
			address = address[1:]
		}
		l := find(passed, network, address)
		if l == nil {
			if network == "unix" {
				if err := removeSocket(address); err != nil {
					return ports, err
				}
			}
			var err error
			listener := net.ListenConfig{KeepAlive: -1} // every wait for a client has its own time: probes cost four system calls a connection
			l, err = listener.Listen(context.Background(), network, address)
			if err != nil && w.optional {
				continue
			}
			if err != nil {
				return ports, cannotListen(address, err)
			}
		}
		ports = append(ports, port{l, w.role})
	}
	return ports, nil
}

// cannotListen says what an administrator can do about it.
func cannotListen(address string, err error) error {
	why := ""
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		why = ": another program has this port, \"ss -ltnp\" shows which"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		why = ": this host has no such address"
	case errors.Is(err, syscall.EACCES):
		why = ": ports below 1024 are opened by root, by systemd (waybill.socket), or with CAP_NET_BIND_SERVICE"
	}
	return fmt.Errorf("cannot listen on %s%s (%w)", address, why, err)
}

// removeSocket removes what a daemon that was killed left. Nothing but a socket is removed.
func removeSocket(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode()&os.ModeSocket == 0:
		return fmt.Errorf("%s is there and is no socket", path)
	}
	return os.Remove(path)
}

// inherited is a listener that was passed on.
type inherited struct {
	net.Listener
	name  string // as LISTEN_FDNAMES says
	taken bool
}

// passedOn are the sockets that systemd, or another that speaks its protocol, has opened for us (sd_listen_fds(3)): the
// descriptors from 3 on. The variables are cleared: they are not for programs that we start.
func passedOn() ([]*inherited, error) {
	pid, count, names := os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDS"), strings.Split(os.Getenv("LISTEN_FDNAMES"), ":")
	for _, v := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		os.Unsetenv(v)
	}
	n, err := strconv.Atoi(count)
	if count == "" || pid != strconv.Itoa(os.Getpid()) {
		return nil, nil
	}
	if err != nil || n < 0 || n > 1000 {
		return nil, fmt.Errorf("LISTEN_FDS: %q is no number of sockets", count)
	}
	const first = 3 // SD_LISTEN_FDS_START
	var list []*inherited
	for i := range n {
		syscall.CloseOnExec(first + i)
		file := os.NewFile(uintptr(first+i), "LISTEN_FDS")
		l, err := net.FileListener(file)
		file.Close() // FileListener has a descriptor of its own
		if err != nil {
			return nil, fmt.Errorf("LISTEN_FDS: descriptor %d: %w", first+i, err)
		}
		in := &inherited{Listener: l}
		if i < len(names) {
			in.name = names[i]
		}
		list = append(list, in)
	}
	return list, nil
}

// find takes the listener with this address out of those that were passed on.
func find(passed []*inherited, network, address string) net.Listener {
	for _, p := range passed {
		if !p.taken && sameAddress(p.Addr(), network, address) {
			p.taken = true
			return p.Listener
		}
	}
	return nil
}

func sameAddress(a net.Addr, network, address string) bool {
	if a.Network() != network {
		return false
	}
	if network == "unix" {
		return a.String() == address
	}
	have, err := netip.ParseAddrPort(a.String())
	host, number, werr := net.SplitHostPort(address)
	if err != nil || werr != nil || number != strconv.Itoa(int(have.Port())) {
		return false
	}
	if host == "" {
		return have.Addr().IsUnspecified()
	}
	want, err := netip.ParseAddr(host)
	return err == nil && want.Unmap() == have.Addr().Unmap()
}

// roleOf is what a listener that no setting knows is for.
func roleOf(p *inherited) string {
	for _, role := range []string{roleSMTP, roleSMTPS, roleSubmission, roleSubmissions, roleLMTP} {
		if p.name == role {
			return role
		}
	}
	if p.Addr().Network() == "unix" {
		return roleLMTP
	}
	_, number, _ := net.SplitHostPort(p.Addr().String())
	return cmp.Or(map[string]string{"587": roleSubmission, "465": roleSubmissions, "24": roleLMTP}[number], roleSMTP)
}

// certificate is a pair of PEM files, read again when one of them has changed.
type certificate struct {
	cert, key string

	mu     sync.Mutex
	looked time.Time
	stamps [2]time.Time
	pair   *tls.Certificate
}

// lookAgain is how often the files are looked at, when somebody wants TLS.
const lookAgain = 5 * time.Second

func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pair != nil && time.Since(c.looked) < lookAgain {
		return c.pair, nil
	}
	c.looked = time.Now()
	var stamps [2]time.Time
	for i, file := range []string{c.cert, c.key} {
		if info, err := os.Stat(file); err == nil {
			stamps[i] = info.ModTime()
		}
	}
	if c.pair != nil && stamps == c.stamps {
		return c.pair, nil
	}
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	switch {
	case err == nil:
		c.pair, c.stamps = &pair, stamps
	case c.pair == nil:
		return nil, err
	} // otherwise half of a new pair is there: the old one serves until the other half has come
	return c.pair, nil
}
