package dns

import (
	"bufio"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"
)

// hostsFile is hosts(5): "ADDRESS NAME ALIAS...", "#" begins a comment. It is read again when it changes. A file that
// cannot be read is empty.
type hostsFile struct {
	file string // empty: none

	mu      sync.Mutex
	looked  time.Time
	changed time.Time
	addrs   map[string][]netip.Addr // by lower-case name
	canon   map[string]string       // name or alias -> first name of its line
	names   map[netip.Addr][]string
}

func (h *hostsFile) refresh() {
	now := time.Now()
	if h.file == "" || (!h.looked.IsZero() && now.Sub(h.looked) < lookEvery) {
		return
	}
	h.looked = now
	info, err := os.Stat(h.file)
	if err != nil || info.ModTime().Equal(h.changed) {
		return
	}
	f, err := os.Open(h.file)
	if err != nil {
		return
	}
	defer f.Close()
	h.changed = info.ModTime()
	h.parse(bufio.NewScanner(f))
}

func (h *hostsFile) parse(lines *bufio.Scanner) {
	h.addrs, h.canon, h.names = map[string][]netip.Addr{}, map[string]string{}, map[netip.Addr][]string{}
	for lines.Scan() {
		text, _, _ := strings.Cut(lines.Text(), "#")
		words := strings.Fields(text)
		if len(words) < 2 {
			continue
		}
		addr, err := netip.ParseAddr(words[0])
		if err != nil {
			continue
		}
		addr = addr.WithZone("")
		for _, name := range words[1:] {
			name = bare(name)
			h.addrs[name] = append(h.addrs[name], addr)
			if h.canon[name] == "" {
				h.canon[name] = bare(words[1])
			}
			h.names[addr] = append(h.names[addr], name)
		}
	}
}

// find returns the addresses of name. "localhost" and names below it are always the loopback (RFC 6761 6.3).
func (h *hostsFile) find(name string) []netip.Addr {
	name = bare(name)
	h.mu.Lock()
	h.refresh()
	found := h.addrs[name]
	h.mu.Unlock()
	if len(found) == 0 && (name == "localhost" || strings.HasSuffix(name, ".localhost")) {
		return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}
	}
	return found
}

// canonical returns the first name of the line that lists name.
func (h *hostsFile) canonical(name string) (string, bool) {
	name = bare(name)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.refresh()
	c, ok := h.canon[name]
	if !ok && name == "localhost" {
		return name, true
	}
	return c, ok
}

// reverse returns the names of addr.
func (h *hostsFile) reverse(addr netip.Addr) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.refresh()
	return h.names[addr]
}
