package smtpserver

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
)

// The PROXY protocol, versions 1 and 2 (haproxy.org, proxy-protocol.txt): a load balancer that we trust says, before
// anything else, from where a connection came to it. The header is read octet-exactly, because TLS may follow.

var (
	proxySignature = []byte("\r\n\r\n\x00\r\nQUIT\n") // of version 2
	errProxy       = errors.New("bad PROXY header")
)

const (
	maxProxyLine = 107     // of version 1, with CRLF
	maxProxyData = 4 << 10 // of version 2, behind its 16 octets
)

// readProxy returns the addresses of the connection that is being passed on. ok is false where the balancer speaks for
// itself (a health check), or does not know.
func readProxy(r io.Reader) (from, to netip.AddrPort, ok bool, err error) {
	head := make([]byte, 12, 16) // no header of either version is shorter
	if _, err := io.ReadFull(r, head); err != nil {
		return from, to, false, fmt.Errorf("%w: %w", errProxy, err)
	}
	if bytes.Equal(head, proxySignature) {
		return readProxy2(r, head[:16])
	}
	if !bytes.HasPrefix(head, []byte("PROXY ")) {
		return from, to, false, errProxy
	}
	line := head
	for !bytes.HasSuffix(line, []byte("\r\n")) {
		var one [1]byte
		if len(line) == maxProxyLine {
			return from, to, false, errProxy
		}
		if _, err := io.ReadFull(r, one[:]); err != nil {
			return from, to, false, fmt.Errorf("%w: %w", errProxy, err)
		}
		line = append(line, one[0])
	}
	return parseProxy1(string(line[:len(line)-2]))
}

func parseProxy1(line string) (from, to netip.AddrPort, ok bool, err error) {
	word := strings.Split(line, " ")
	if len(word) >= 2 && word[1] == "UNKNOWN" {
		return from, to, false, nil
	}
	if len(word) != 6 || word[1] != "TCP4" && word[1] != "TCP6" {
		return from, to, false, errProxy
	}
	end := func(addr, port string) netip.AddrPort {
		a, err := netip.ParseAddr(addr)
		n, perr := strconv.ParseUint(port, 10, 16)
		if err != nil || perr != nil || a.Zone() != "" || a.Is4() != (word[1] == "TCP4") {
			return netip.AddrPort{}
		}
		return netip.AddrPortFrom(a.Unmap(), uint16(n))
	}
	from, to = end(word[2], word[4]), end(word[3], word[5])
	if !from.IsValid() || !to.IsValid() {
		return netip.AddrPort{}, netip.AddrPort{}, false, errProxy
	}
	return from, to, true, nil
}

func readProxy2(r io.Reader, head []byte) (from, to netip.AddrPort, ok bool, err error) {
	if _, err := io.ReadFull(r, head[12:]); err != nil {
		return from, to, false, fmt.Errorf("%w: %w", errProxy, err)
	}
	length := int(binary.BigEndian.Uint16(head[14:]))
	if head[12]>>4 != 2 || length > maxProxyData {
		return from, to, false, errProxy
	}
	data := make([]byte, length)
	if _, err := io.ReadFull(r, data); err != nil {
		return from, to, false, fmt.Errorf("%w: %w", errProxy, err)
	}
	size := 0
	switch {
	case head[12]&15 == 0: // LOCAL
		return from, to, false, nil
	case head[12]&15 != 1: // PROXY
		return from, to, false, errProxy
	case head[13] == 0x11: // TCP over IPv4
		size = 4
	case head[13] == 0x21: // TCP over IPv6
		size = 16
	default:
		return from, to, false, nil
	}
	if length < 2*size+4 {
		return from, to, false, errProxy
	}
	a, _ := netip.AddrFromSlice(data[:size])
	b, _ := netip.AddrFromSlice(data[size : 2*size])
	ports := data[2*size:]
	from = netip.AddrPortFrom(a.Unmap(), binary.BigEndian.Uint16(ports))
	to = netip.AddrPortFrom(b.Unmap(), binary.BigEndian.Uint16(ports[2:]))
	return from, to, true, nil
}
