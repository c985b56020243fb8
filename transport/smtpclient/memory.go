package smtpclient

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"waybill/transport"
)

// memory is the host status: which addresses could not be reached lately, so that a thousand messages for a dead host
// do not wait for it a thousand times, and which family lost the race to a host, so that it is not raced again for a
// while (RFC 8305 4). After the first failure an address is left alone for a second, and after each further one for
// twice as long, up to most. One success clears it.
type memory struct {
	most time.Duration // 0: nothing is remembered

	mu     sync.Mutex
	byAddr map[netip.AddrPort]*mark
}

type mark struct {
	host  string
	fails int
	since time.Time // when it was tried last
	until time.Time // not before
	why   verdict
	slow  time.Time // lost a race: comes last until then
}

// Limits of the memory.
const (
	maxMarks = 10000
	slowFor  = 10 * time.Minute
)

func (h hop) at() netip.AddrPort { return netip.AddrPortFrom(h.addr, h.port) }

func (m *memory) failed(h hop, why verdict, now time.Time) {
	if m.most <= 0 || h.socket != "" || why.status.Outcome() == transport.Failed { // a "no" is said anew each time
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	x := m.mark(h)
	x.fails++
	pause := m.most
	if x.fails < 20 {
		pause = min(m.most, time.Second<<(x.fails-1))
	}
	x.since, x.until, x.why = now, now.Add(pause), why
}

func (m *memory) mark(h hop) *mark {
	x := m.byAddr[h.at()]
	if x == nil {
		if len(m.byAddr) >= maxMarks {
			for old := range m.byAddr { // any one: the memory is a help, not a record
				delete(m.byAddr, old)
				break
			}
		}
		x = &mark{host: h.name}
		m.byAddr[h.at()] = x
	}
	return x
}

func (m *memory) reached(h hop, now time.Time) {
	if h.socket != "" {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	x := m.mark(h)
	x.fails, x.since, x.until, x.why = 0, now, time.Time{}, verdict{}
}

func (m *memory) lostRace(h hop, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mark(h).slow = now.Add(slowFor)
}

// usable splits list into those to try, the slow ones last, and a verdict about those that are left alone.
func (m *memory) usable(list []hop, now time.Time) (try []hop, down *verdict) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var slow []hop
	for _, h := range list {
		x := m.byAddr[h.at()]
		switch {
		case x == nil || h.socket != "":
			try = append(try, h)
		case now.Before(x.until):
			v := x.why
			down = &v
		case now.Before(x.slow):
			slow = append(slow, h)
		default:
			try = append(try, h)
		}
	}
	return append(try, slow...), down
}

// HostStatus is what is remembered about one address (sendmail's hoststat).
type HostStatus struct {
	Host     string
	Addr     netip.AddrPort
	Failures int       // in a row; 0: it was reached when it was tried last
	Last     time.Time // when that was
	Until    time.Time // the address is left alone until then
	Why      string    // why it failed
}

// Hosts lists the addresses that were tried, by host.
func (c *Client) Hosts() []HostStatus {
	m := &c.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []HostStatus
	for addr, x := range maps.All(m.byAddr) {
		if x.since.IsZero() { // it lost a race, and nothing more is known
			continue
		}
		s := HostStatus{Host: x.host, Addr: addr, Failures: x.fails, Last: x.since, Until: x.until}
		if x.fails > 0 {
			s.Why = x.why.status.Text()
		}
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b HostStatus) int {
		if n := strings.Compare(a.Host, b.Host); n != 0 {
			return n
		}
		return a.Addr.Compare(b.Addr)
	})
	return list
}

// ForgetHosts forgets all host status (sendmail's purgestat).
func (c *Client) ForgetHosts() {
	c.memory.mu.Lock()
	defer c.memory.mu.Unlock()
	clear(c.memory.byAddr)
}
