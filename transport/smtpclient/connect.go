package smtpclient

import (
	"context"
	"net"
	"net/netip"
	"time"
)

// attemptDelay is the head start of each address before the next one is tried beside it (RFC 8305 5).
const attemptDelay = 250 * time.Millisecond

// interleave orders addresses for a race: the preferred family first, then one of each in turn (RFC 8305 4). The order
// inside a family, and a slow mark at the end of the list, are kept.
func interleave(list []hop, prefer string) []hop {
	var six, four []hop
	for _, h := range list {
		if h.addr.Is4() {
			four = append(four, h)
		} else {
			six = append(six, h)
		}
	}
	if len(six) == 0 || len(four) == 0 {
		return list
	}
	first, second := six, four
	if prefer == "4" || (prefer == "" && list[0].addr.Is4()) {
		first, second = four, six
	}
	mixed := make([]hop, 0, len(list))
	for i := range max(len(first), len(second)) {
		if i < len(first) {
			mixed = append(mixed, first[i])
		}
		if i < len(second) {
			mixed = append(mixed, second[i])
		}
	}
	return mixed
}

// race connects to the first address that answers. Each gets a head start before the next, and a failure starts the
// next at once (RFC 8305 5). failed tells what became of those that failed before.
func (c *Client) race(ctx context.Context, list []hop) (conn net.Conn, won hop, failed map[netip.AddrPort]error) {
	type result struct {
		i    int
		conn net.Conn
		err  error
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan result)
	done := make(chan struct{})
	defer close(done)
	start := func(i int) {
		go func() {
			conn, err := c.dial(ctx, list[i])
			select {
			case results <- result{i, conn, err}:
			case <-done:
				if conn != nil {
					conn.Close() // a second connection that nobody needs
				}
			}
		}()
	}
	failed = map[netip.AddrPort]error{}
	begun, open := 1, 1
	start(0)
	timer := time.NewTimer(attemptDelay)
	defer timer.Stop()
	for open > 0 || begun < len(list) {
		next := false
		select {
		case r := <-results:
			open--
			if r.err == nil {
				for i := range begun {
					if _, dead := failed[list[i].at()]; !dead && i < r.i {
						c.memory.lostRace(list[i], time.Now())
					}
				}
				return r.conn, list[r.i], failed
			}
			failed[list[r.i].at()] = r.err
			next = true
		case <-timer.C:
			next = true
		}
		if next && begun < len(list) && ctx.Err() == nil {
			start(begun)
			begun++
			open++
			timer.Reset(attemptDelay)
		} else if ctx.Err() != nil {
			begun = len(list)
		}
	}
	return nil, hop{}, failed
}

// dial connects to one address.
func (c *Client) dial(ctx context.Context, h hop) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, c.conf.Timeouts.Connect)
	defer cancel()
	switch {
	case h.socket != "":
		return c.conf.Dial(ctx, "unix", h.socket)
	case c.conf.ConnectTo != "":
		return c.conf.Dial(ctx, "tcp", c.conf.ConnectTo)
	}
	return c.conf.Dial(ctx, "tcp", h.at().String())
}

// dialer connects from the configured source addresses.
func dialer(source4, source6 netip.Addr) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		var d net.Dialer
		if at, err := netip.ParseAddrPort(address); err == nil && network == "tcp" {
			source := source6
			if at.Addr().Is4() {
				source = source4
			}
			if source.IsValid() {
				d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(source, 0))
			}
		}
		return d.DialContext(ctx, network, address)
	}
}
