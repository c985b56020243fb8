package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"waybill/cmd/internal/testsite"
)

// smtp measures both ends of SMTP: relaying, many destinations, and clients that do nothing.
func smtp(ctx context.Context, bin, dir string, n int) error {
	if err := relay(ctx, bin, dir, n); err != nil {
		return fmt.Errorf("relay: %w", err)
	}
	if err := destinations(ctx, bin, dir, 5*n); err != nil {
		return fmt.Errorf("destinations: %w", err)
	}
	if err := crowd(ctx, bin, dir, min(1000, max(20, n/2))); err != nil {
		return fmt.Errorf("idle clients: %w", err)
	}
	return nil
}

// counter is an SMTP host that counts.
type counter struct {
	net.Listener
	conns, messages atomic.Int64
}

func (c *counter) serve() {
	for {
		conn, err := c.Accept()
		if err != nil {
			return
		}
		c.conns.Add(1)
		go c.session(conn)
	}
}

func (c *counter) session(conn net.Conn) {
	defer conn.Close()
	in, out := bufio.NewReader(conn), bufio.NewWriter(conn)
	out.WriteString("220 counter.test\r\n")
	for data := false; ; {
		if in.Buffered() == 0 && out.Flush() != nil {
			return
		}
		line, err := in.ReadSlice('\n')
		switch {
		case err != nil && err != bufio.ErrBufferFull:
			return
		case data:
			if string(line) == ".\r\n" {
				data = false
				c.messages.Add(1)
				out.WriteString("250 ok\r\n")
			}
		case strings.HasPrefix(string(line), "DATA"):
			data = true
			out.WriteString("354 go\r\n")
		case strings.HasPrefix(string(line), "EHLO"):
			out.WriteString("250-counter.test\r\n250 PIPELINING\r\n")
		case strings.HasPrefix(string(line), "QUIT"):
			out.WriteString("221 bye\r\n")
			out.Flush()
			return
		default:
			out.WriteString("250 ok\r\n")
		}
	}
}

// client is a connection of ours.
type client struct {
	net.Conn
	in *bufio.Reader
}

func dial(to string) (*client, error) {
	conn, err := net.DialTimeout("tcp", to, 10*time.Second)
	if err != nil {
		return nil, err
	}
	conn.SetDeadline(time.Now().Add(2 * time.Minute))
	c := &client{conn, bufio.NewReader(conn)}
	return c, errors.Join(c.say("", "220"), c.say("EHLO bench.example.test", "250"))
}

func (c *client) say(line, want string) error {
	if line != "" {
		if _, err := c.Write([]byte(line + "\r\n")); err != nil {
			return err
		}
	}
	for {
		l, err := c.in.ReadString('\n')
		if err != nil {
			return err
		}
		if len(l) < 4 || !strings.HasPrefix(l, want) {
			return fmt.Errorf("%s: %q", line, l)
		}
		if l[3] == ' ' {
			return nil
		}
	}
}

func (c *client) send(to, body string) error {
	return errors.Join(c.say("MAIL FROM:<a@bench.example.test>", "250"), c.say("RCPT TO:<"+to+">", "250"), c.say("DATA", "354"), c.say(body+"\r\n.", "250"))
}

// destinations sends n messages to a tenth as many domains, each with an MX host of its own, and counts connections.
func destinations(ctx context.Context, bin, dir string, n int) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	host := &counter{Listener: l}
	go host.serve()
	defer host.Close()
	domains := max(1, n/10)
	var zone strings.Builder
	for i := range domains {
		fmt.Fprintf(&zone, "d%d.test. MX 10 mx.d%d.test.\nmx.d%d.test. A 127.0.0.1\n", i, i, i)
	}
	dns, stop, err := testsite.ServeDNS(zone.String())
	if err != nil {
		return err
	}
	defer stop()
	addrs, port, err := testsite.Ports(1)
	if err != nil {
		return err
	}
	s, err := testsite.Layout(testsite.Options{
		Bin: bin, Dir: filepath.Join(dir, "destinations"), Host: "bench.example.test", Addr: fmt.Sprintf("%s:%d", addrs[0], port), Resolver: dns,
		SMTPPort: l.Addr().(*net.TCPAddr).Port, Settings: "set retry 1s\nset deliveries 100\n",
	})
	if err != nil {
		return err
	}
	if err := s.Start(ctx); err != nil {
		return err
	}
	defer s.Kill()
	start := time.Now()
	var next atomic.Int64
	var all sync.WaitGroup
	errs := make(chan error, 20)
	body := "Subject: x\r\n\r\n" + strings.Repeat("The quick brown fox jumps over the lazy dog.\r\n", 20)
	for range 20 {
		all.Go(func() {
			c, err := dial(s.Addr)
			for err == nil {
				i := next.Add(1) - 1
				if i >= int64(n) {
					c.Close()
					return
				}
				err = c.send(fmt.Sprintf("u@d%d.test", i%int64(domains)), body)
			}
			errs <- err
		})
	}
	all.Wait()
	select {
	case err := <-errs:
		return err
	default:
	}
	if err := testsite.Wait(ctx, func() bool { return host.messages.Load() >= int64(n) }); err != nil {
		return fmt.Errorf("%d of %d messages arrived: %w", host.messages.Load(), n, err)
	}
	took := time.Since(start)
	fmt.Printf("\nOutgoing, %d messages to %d domains:\n  %d connections, %.1f messages on each, %.0f messages/s\n", n, domains, host.conns.Load(), float64(n)/float64(host.conns.Load()), float64(n)/took.Seconds())
	verdict(host.conns.Load()*5 <= int64(n), "at least 5 messages to a connection")
	return s.Stop()
}

// residentMemory is what a process has in memory now (VmRSS of proc(5)).
func residentMemory(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	line, _, _ := strings.Cut(rest, "kB")
	kb, err := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
	return kb << 10, err
}

// crowd opens idle connections, and slow ones, and looks at the memory of the daemon and at how long a normal client
// takes.
func crowd(ctx context.Context, bin, dir string, n int) error {
	s, err := relaySite(ctx, bin, filepath.Join(dir, "crowd"), "127.0.0.1:9", "queue")
	if err != nil {
		return err
	}
	defer s.Kill()
	time.Sleep(500 * time.Millisecond)
	idle, err := residentMemory(s.PID())
	if err != nil {
		return err
	}
	normal := func() (time.Duration, error) {
		var times []time.Duration
		for range 20 {
			start := time.Now()
			c, err := dial(s.Addr)
			if err == nil {
				err = errors.Join(c.send("bob@bench.example.test", "Subject: x\r\n"), c.say("QUIT", "221"))
				c.Close()
			}
			if err != nil {
				return 0, err
			}
			times = append(times, time.Since(start))
		}
		return median(times), nil
	}
	before, err := normal()
	if err != nil {
		return err
	}
	var clients []*client
	defer func() {
		for _, c := range clients {
			c.Close()
		}
	}()
	for range n {
		c, err := dial(s.Addr)
		if err != nil {
			return err
		}
		clients = append(clients, c)
	}
	full, err := residentMemory(s.PID())
	if err != nil {
		return err
	}
	end := make(chan struct{})
	var slow sync.WaitGroup
	for i := range n / 5 { // the slow ones: an octet at a time, in a command or in a message
		c, err := dial(s.Addr)
		if err != nil {
			return err
		}
		if i%2 == 0 {
			if err := errors.Join(c.say("MAIL FROM:<a@bench.example.test>", "250"), c.say("RCPT TO:<bob@bench.example.test>", "250"), c.say("DATA", "354")); err != nil {
				return err
			}
		}
		slow.Go(func() {
			defer c.Close()
			for {
				select {
				case <-end:
					return
				case <-time.After(200 * time.Millisecond):
					c.Write([]byte("x"))
				}
			}
		})
	}
	during, err := normal()
	close(end)
	slow.Wait()
	if err != nil {
		return err
	}
	fmt.Printf("\nClients that do nothing:\n  %-28s %6.1f MB\n  %-28s %6.1f MB\n", "daemon without clients", mb(idle), fmt.Sprintf("with %d idle clients", n), mb(full))
	verdict(idle < 25<<20, "an idle daemon below 25 MB")
	verdict(full < 80<<20, "with 1,000 idle clients below 80 MB")
	fmt.Printf("  %-28s %6.1f ms\n  %-28s %6.1f ms\n", "a message, nobody else there", ms(before), fmt.Sprintf("with %d idle, %d slow", n, n/5), ms(during))
	verdict(during-before < 50*time.Millisecond, "at most 50 ms more")
	for _, c := range clients {
		c.Close()
	}
	clients = nil
	return s.Stop()
}
