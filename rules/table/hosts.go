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
	byName map[string]int // numbers of lines, from 1, by names in lower case
	byAddr map[netip.Addr]int
	ends   endings // of names
}

// content returns the file as it is now; a file that cannot be read is empty.
func (h *hostsFile) content() *hostsContent {
	c := h.now.Load()
	if c != nil && time.Since(c.asked) < time.Second { // takes half the time of time.Now: nearly every address comes by here
		return c
	}
	now := time.Now()
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
			if name = strings.ToLower(name); c.byName[name] == 0 {
				c.byName[name] = n + 1
				c.ends.add(len(name), name[len(name)-1])
			}
		}
	}
	h.now.Store(c)
	return c
}

// named returns the line with a name; nil when there is none. A name that ends where the own domain begins is completed
// by the rest of that: mx.conform is mx.conform.test where the domain is conform.test.
func (h *hostsFile) named(name, domain string) []string {
	c := h.content()
	if name == "" {
		return nil
	}
	n := 0
	if !c.ends.lack(len(name), name[len(name)-1]) {
		n = c.byName[strings.ToLower(name)]
	}
	dot := strings.IndexByte(domain, '.')
	if at := len(name) - dot; n == 0 && dot >= 0 && dot+1 < len(domain) && at > 0 && name[at-1] == '.' && strings.EqualFold(name[at:], domain[:dot]) {
		n = c.byName[strings.ToLower(name+domain[dot:])]
	}
	if n == 0 {
		return nil
	}
	return c.lines[n-1]
}

// address returns the line with an address; nil when there is none.
func (h *hostsFile) address(a netip.Addr) []string {
	c := h.content()
	if n, ok := c.byAddr[a]; ok {
		return c.lines[n]
	}
	return nil
}
