package table

import (
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

// hostsFile is a hosts file (hosts(5)), read when it is first asked for and again when it has changed; it looks for that
// once a second at most.
type hostsFile struct {
	path string
	now  atomic.Pointer[hostsContent]
}

type hostsContent struct {
	stamp  string
	asked  time.Time
	lines  [][]string     // words: address, names
	byName map[string]int // names and their beginnings up to a dot, in lower case
	byAddr map[netip.Addr]int
}

// content returns the file as it is now; a file that cannot be read is empty.
func (h *hostsFile) content() *hostsContent {
	c := h.now.Load()
	now := time.Now()
	if c != nil && now.Sub(c.asked) < time.Second {
		return c
	}
	stamp := ""
	if info, err := os.Stat(h.path); err == nil {
		stamp = info.ModTime().String() + " " + info.Name()
	}
	if c != nil && c.stamp == stamp {
		fresh := *c
		fresh.asked = now
		h.now.Store(&fresh)
		return &fresh
	}
	c = &hostsContent{stamp: stamp, asked: now, byName: map[string]int{}, byAddr: map[netip.Addr]int{}}
	data, _ := os.ReadFile(h.path)
	for line := range strings.Lines(string(data)) {
		if i := strings.IndexByte(line, '#'); i >= 0 {
			line = line[:i]
		}
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		n := len(c.lines)
		c.lines = append(c.lines, f)
		if a, err := netip.ParseAddr(f[0]); err == nil {
			if _, there := c.byAddr[a]; !there {
				c.byAddr[a] = n
			}
		}
		for _, name := range f[1:] {
			name = strings.ToLower(name)
			for i := 1; i <= len(name); i++ {
				if i == len(name) || name[i] == '.' {
					if _, there := c.byName[name[:i]]; !there {
						c.byName[name[:i]] = n
					}
				}
			}
		}
	}
	h.now.Store(c)
	return c
}

// named returns the line with a name, or with one that begins so up to a dot; nil when there is none.
func (h *hostsFile) named(name string) []string {
	c := h.content()
	if n, ok := c.byName[strings.ToLower(name)]; ok {
		return c.lines[n]
	}
	return nil
}

// address returns the line with an address; nil when there is none.
func (h *hostsFile) address(a netip.Addr) []string {
	c := h.content()
	if n, ok := c.byAddr[a]; ok {
		return c.lines[n]
	}
	return nil
}
