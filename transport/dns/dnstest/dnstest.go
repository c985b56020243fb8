// Package dnstest is a DNS server for tests and trials. Zone text flows in (its format is dns.Zone's: a master file
// with lines that make it fail), and answers flow out over UDP and TCP on one loopback port.
package dnstest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	mdns "github.com/miekg/dns"

	"waybill/transport/dns"
)

// Server is a running server.
type Server struct {
	addr    string
	queries atomic.Int64
	servers []*mdns.Server
	stop    chan struct{}
	zone    *dns.Zone
	answer  func(q *mdns.Msg) *mdns.Msg // in place of zone
}

// Serve answers from zone text on addr ("127.0.0.1:0": a port of the kernel's choice), over UDP and TCP, and returns
// the address to ask and a function that stops it.
func Serve(zone, addr string) (at string, stop func(), err error) {
	s, err := Start(zone, addr)
	if err != nil {
		return "", nil, err
	}
	return s.Addr(), s.Close, nil
}

// Start is Serve for those who want to count the questions.
func Start(zone, addr string) (*Server, error) {
	z, err := dns.ParseZone(zone)
	if err != nil {
		return nil, err
	}
	return run(&Server{zone: z}, addr)
}

// start serves what answer says, without faults.
func start(answer func(q *mdns.Msg) *mdns.Msg, addr string) (*Server, error) {
	return run(&Server{answer: answer}, addr)
}

func run(s *Server, addr string) (*Server, error) {
	udp, tcp, err := listen(addr)
	if err != nil {
		return nil, fmt.Errorf("dnstest: %s: %w", addr, err)
	}
	s.addr, s.stop = udp.LocalAddr().String(), make(chan struct{})
	for _, server := range []*mdns.Server{{PacketConn: udp}, {Listener: tcp}} {
		started := make(chan struct{})
		server.Handler = s
		server.NotifyStartedFunc = func() { close(started) }
		s.servers = append(s.servers, server)
		go server.ActivateAndServe()
		<-started
	}
	return s, nil
}

// listen finds one port that is free for both protocols.
func listen(addr string) (net.PacketConn, net.Listener, error) {
	var lc net.ListenConfig
	for tries := 0; ; tries++ {
		udp, err := lc.ListenPacket(context.Background(), "udp", addr)
		if err != nil {
			return nil, nil, err
		}
		tcp, err := lc.Listen(context.Background(), "tcp", udp.LocalAddr().String())
		if err == nil {
			return udp, tcp, nil
		}
		udp.Close()
		if tries == 20 {
			return nil, nil, err
		}
	}
}

// Addr is the ADDR:PORT to ask.
func (s *Server) Addr() string { return s.addr }

// Queries is the number of questions that came so far.
func (s *Server) Queries() int { return int(s.queries.Load()) }

// Close stops the server.
func (s *Server) Close() {
	close(s.stop)
	for _, server := range s.servers {
		if err := server.Shutdown(); err != nil && !errors.Is(err, net.ErrClosed) {
			continue // it never ran
		}
	}
}

// ServeDNS implements miekg's Handler.
func (s *Server) ServeDNS(w mdns.ResponseWriter, q *mdns.Msg) {
	s.queries.Add(1)
	if s.answer != nil {
		m := s.answer(q)
		if _, udp := w.LocalAddr().(*net.UDPAddr); udp {
			m.Truncate(4096)
		}
		w.WriteMsg(m)
		return
	}
	m, fault := s.zone.Answer(q)
	if fault.Delay > 0 {
		select {
		case <-time.After(fault.Delay):
		case <-s.stop:
			return
		}
	}
	if fault.Drop {
		return
	}
	if _, udp := w.LocalAddr().(*net.UDPAddr); udp {
		size := mdns.MinMsgSize
		if opt := q.IsEdns0(); opt != nil {
			size = int(opt.UDPSize())
		}
		if fault.Lie {
			forged := m.Copy()
			forged.Question[0].Name = "forged.invalid."
			w.WriteMsg(forged)
			forged.Question[0].Name, forged.Id = m.Question[0].Name, m.Id+1
			w.WriteMsg(forged)
		}
		m.Truncate(size)
		if fault.Truncate {
			m.Truncated, m.Answer = true, nil
		}
	}
	w.WriteMsg(m)
}
