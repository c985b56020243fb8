package testsite

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"strings"
	"sync"
)

// Delivery is one message that a Sink got.
type Delivery struct {
	Hello      string
	From       string   // argument of MAIL, with its parameters: "<a@b> SIZE=12 BODY=8BITMIME"
	Recipients []string // arguments of the RCPTs that were accepted
	Data       []byte   // as sent, dots removed, with CRLF line ends
}

// Sink is an SMTP host that records what it gets.
type Sink struct {
	listener net.Listener
	mu       sync.Mutex
	reply    func(line string) string
	got      []Delivery
	conns    map[net.Conn]bool
}

// StartSink listens on addr (ADDR:PORT).
func StartSink(addr string) (*Sink, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	s := &Sink{listener: l, conns: map[net.Conn]bool{}}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns[c] = true
			s.mu.Unlock()
			go s.session(c)
		}
	}()
	return s, nil
}

// Answer makes reply answer command lines ("RCPT TO:<a@b>", "." for the end of the data); where it returns nothing, the
// answer is as usual.
func (s *Sink) Answer(reply func(line string) string) {
	s.mu.Lock()
	s.reply = reply
	s.mu.Unlock()
}

// Addr is where it listens.
func (s *Sink) Addr() string { return s.listener.Addr().String() }

// Close ends it and its connections.
func (s *Sink) Close() {
	s.listener.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.Close()
	}
}

// Deliveries are the messages so far.
func (s *Sink) Deliveries() []Delivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Delivery(nil), s.got...)
}

// For are the messages so far that have this recipient.
func (s *Sink) For(addr string) []Delivery {
	var all []Delivery
	for _, d := range s.Deliveries() {
		for _, r := range d.Recipients {
			if strings.HasPrefix(strings.ToLower(r), "<"+strings.ToLower(addr)+">") {
				all = append(all, d)
			}
		}
	}
	return all
}

// session is one client. It holds the client to CRLF line ends: what ends in LF alone is recorded as it came.
func (s *Sink) session(c net.Conn) {
	defer func() {
		c.Close()
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
	}()
	in := bufio.NewReaderSize(c, 64<<10)
	say := func(usual, line string) bool {
		answer := usual
		s.mu.Lock()
		reply := s.reply
		s.mu.Unlock()
		if reply != nil {
			if other := reply(line); other != "" {
				answer = other
			}
		}
		fmt.Fprintf(c, "%s\r\n", answer)
		return answer[0] == '2' || answer[0] == '3'
	}
	if !say("220 sink.test ESMTP", "") {
		return
	}
	var d Delivery
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
		verb, rest, _ := strings.Cut(line, " ")
		switch strings.ToUpper(verb) {
		case "EHLO":
			d = Delivery{Hello: rest}
			say("250-sink.test\r\n250-ENHANCEDSTATUSCODES\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SIZE 100000000\r\n250 DSN", line)
		case "HELO", "LHLO":
			d = Delivery{Hello: rest}
			say("250 sink.test", line)
		case "MAIL":
			if say("250 2.1.0 ok", line) {
				_, d.From, _ = strings.Cut(line, ":")
				d.Recipients = nil
			}
		case "RCPT":
			if say("250 2.1.5 ok", line) {
				_, to, _ := strings.Cut(line, ":")
				d.Recipients = append(d.Recipients, to)
			}
		case "DATA":
			if len(d.Recipients) == 0 {
				say("503 5.5.1 no recipients", "")
				continue
			}
			if !say("354 go on", line) {
				continue
			}
			data, err := readData(in)
			if err != nil {
				return
			}
			d.Data = data
			s.mu.Lock()
			s.got = append(s.got, d)
			n := len(s.got)
			s.mu.Unlock()
			if !say(fmt.Sprintf("250 2.0.0 recorded as %d", n), ".") {
				s.mu.Lock()
				s.got = s.got[:n-1]
				s.mu.Unlock()
			}
			d = Delivery{Hello: d.Hello}
		case "RSET":
			d = Delivery{Hello: d.Hello}
			say("250 2.0.0 ok", line)
		case "NOOP":
			say("250 2.0.0 ok", line)
		case "QUIT":
			say("221 2.0.0 bye", line)
			return
		default:
			say("500 5.5.1 what?", line)
		}
	}
}

// readData reads up to CRLF.CRLF and takes the stuffed dots away (RFC 5321 4.5.2).
func readData(in *bufio.Reader) ([]byte, error) {
	var data bytes.Buffer
	for begin := true; ; {
		part, err := in.ReadSlice('\n')
		if err != nil && err != bufio.ErrBufferFull {
			return nil, err
		}
		if begin && string(part) == ".\r\n" {
			return data.Bytes(), nil
		}
		if begin && len(part) > 0 && part[0] == '.' {
			part = part[1:]
		}
		data.Write(part)
		begin = err == nil && bytes.HasSuffix(data.Bytes(), []byte("\r\n"))
	}
}
