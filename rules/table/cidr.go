package table

import (
	"bytes"
	"fmt"
	"io"
	"net/netip"
	"sort"
	"strings"

	"waybill/rules/prog"
)

// prefixes is the content of a table whose keys are addresses and prefixes; the longest prefix that holds the address
// answers.
type prefixes struct {
	name  string
	sizes []int // lengths of prefix in use, longest first; IPv4 and IPv6 share the numbers
	nets  map[int][]netEntry
}

type netEntry struct {
	net   netip.Prefix
	value string
	line  int
}

func (p *prefixes) lookup(key string, _ []string) (Result, bool) {
	a, err := parseClient(key)
	if err != nil {
		return Result{}, false
	}
	for _, size := range p.sizes {
		net, err := a.Prefix(size)
		if err != nil {
			continue // longer than the address has bits
		}
		list := p.nets[size]
		i := sort.Search(len(list), func(i int) bool { return !list[i].net.Addr().Less(net.Addr()) })
		if i < len(list) && list[i].net == net {
			return Result{Value: list[i].value, Pos: prog.Pos{File: p.name, Line: list[i].line}}, true
		}
	}
	return Result{}, false
}

// parseClient reads an address as mail programs write it: bare, in brackets, or with the tag "IPv6:".
func parseClient(s string) (netip.Addr, error) {
	s = strings.TrimSuffix(strings.TrimPrefix(s, "["), "]")
	if len(s) > 5 && strings.EqualFold(s[:5], "ipv6:") {
		s = s[5:]
	}
	a, err := netip.ParseAddr(s)
	return a.Unmap(), err
}

// loadPrefixes reads lines of prefix and value.
func loadPrefixes(r io.Reader, name string) (content, []Warning, error) {
	p := &prefixes{name: name, nets: map[int][]netEntry{}}
	var warnings []Warning
	err := eachLine(r, func(n int, line []byte) error {
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			return nil
		}
		i := bytes.IndexAny(line, " \t")
		if i < 0 {
			i = len(line)
		}
		word := string(line[:i])
		net, err := netip.ParsePrefix(word)
		if err != nil {
			var a netip.Addr
			if a, err = parseClient(word); err == nil {
				net = netip.PrefixFrom(a, a.BitLen())
			}
		}
		if err != nil {
			warnings = append(warnings, Warning{prog.Pos{File: name, Line: n}, fmt.Sprintf("%q is neither an address nor a prefix", word)})
			return nil
		}
		if net.Masked() != net {
			warnings = append(warnings, Warning{prog.Pos{File: name, Line: n}, fmt.Sprintf("%s has bits behind its length; taken as %s", word, net.Masked())})
		}
		net = net.Masked()
		p.nets[net.Bits()] = append(p.nets[net.Bits()], netEntry{net, string(bytes.TrimSpace(line[i:])), n})
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	for size, list := range p.nets {
		sort.SliceStable(list, func(i, j int) bool { return list[i].net.Addr().Less(list[j].net.Addr()) })
		p.sizes = append(p.sizes, size)
	}
	sort.Sort(sort.Reverse(sort.IntSlice(p.sizes)))
	return p, warnings, nil
}
