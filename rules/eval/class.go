package eval

import (
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"

	"waybill/rules/addr"
)

// class is a class of words; its set is replaced as a whole.
type class struct {
	name string
	idx  int // in a World
	set  atomic.Pointer[classSet]
}

// classSet is the content of a class.
type classSet struct {
	words   map[string]struct{} // folded
	first   [256]bool           // octets that begin a word
	single  [256]bool           // words of one octet
	max     int                 // octets
	sizes   uint64              // a bit for each length below 64 that a word has
	nets    map[netip.Prefix]struct{}
	lengths []int // of the networks, each once: those of IPv4 as they are, those of IPv6 plus 100
}

func newClassSet(words []string) *classSet {
	s := &classSet{}
	if len(words) > 0 {
		s.words = make(map[string]struct{}, len(words))
	}
	for _, w := range words {
		if w == "" {
			continue
		}
		f := addr.Fold(w)
		s.words[f] = struct{}{}
		if len(f) == 1 {
			s.single[f[0]] = true
		}
		s.first[f[0]] = true
		if f[0] >= 'a' && f[0] <= 'z' {
			s.first[f[0]&^0x20] = true
		}
		s.max = max(s.max, len(f))
		if len(f) < 64 {
			s.sizes |= 1 << len(f)
		}
		if strings.IndexByte(w, ':') < 0 && (w[0] < '0' || w[0] > '9' || w[len(w)-1] < '0' || w[len(w)-1] > '9') {
			continue // no address: trying takes longer than all the rest
		}
		if p, err := netip.ParsePrefix(w); err == nil {
			s.network(p.Masked())
		} else if a, err := netip.ParseAddr(w); err == nil {
			s.network(netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()))
		}
	}
	return s
}

func (s *classSet) network(p netip.Prefix) {
	if s.nets == nil {
		s.nets = map[netip.Prefix]struct{}{}
	}
	s.nets[p] = struct{}{}
	n := p.Bits()
	if p.Addr().Is6() {
		n += 100
	}
	if !slices.Contains(s.lengths, n) {
		s.lengths = append(s.lengths, n)
	}
}

// holds reports whether an address lies in one of the class's networks. It takes as long as there are different lengths
// of networks, however many there are.
func (s *classSet) holds(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	for _, n := range s.lengths {
		if a.Is6() != (n >= 100) {
			continue
		}
		bits := n
		if bits >= 100 {
			bits -= 100
		}
		if p, err := a.Prefix(bits); err == nil {
			if _, ok := s.nets[p]; ok {
				return true
			}
		}
	}
	return false
}

// SetClass replaces the words of a class. Runs that are under way may see either. It reports whether the program
// mentions the class at all.
func (e *Engine) SetClass(name string, words []string) bool {
	c, ok := e.classes[name]
	if ok {
		c.set.Store(newClassSet(words))
	}
	return ok
}

// World is the words of all classes at one moment.
type World struct{ sets []*classSet }

// World returns what the classes hold now, for the States of questions that belong together.
func (e *Engine) World() *World {
	w := &World{sets: make([]*classSet, len(e.classes))}
	for _, c := range e.classes {
		w.sets[c.idx] = c.set.Load()
	}
	return w
}

// With returns a World in which a class of the engine holds these words.
func (w *World) With(e *Engine, class string, words []string) *World {
	sets := slices.Clone(w.sets)
	if c := e.classes[class]; c != nil {
		sets[c.idx] = newClassSet(words)
	}
	return &World{sets}
}

// words are the words of a class that count for this run.
func (m *machine) words(c *class) *classSet {
	if w := m.st.World; w != nil {
		return w.sets[c.idx]
	}
	return c.set.Load()
}

// InClass reports whether a word is a member of a class.
func (e *Engine) InClass(name, word string) bool {
	c, ok := e.classes[name]
	if !ok {
		return false
	}
	_, ok = c.set.Load().words[addr.Fold(word)]
	return ok
}
