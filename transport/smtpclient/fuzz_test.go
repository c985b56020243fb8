package smtpclient

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"waybill/transport"
)

func FuzzParseHost(f *testing.F) {
	for _, s := range []string{"a", "a:b,c", "[192.0.2.1]:587", "[IPv6:::1]", "[a]:b:25,c", "a::", ",", "[", "a:70000"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		groups, err := parseHost(s)
		if err != nil {
			return
		}
		for _, g := range groups {
			if len(g) == 0 {
				t.Fatalf("%q: empty group", s)
			}
			for _, x := range g {
				if x.name == "" {
					t.Fatalf("%q: target without a name", s)
				}
			}
		}
	})
}

func FuzzPeerReplies(f *testing.F) {
	f.Add("220 a\r\n250-a\r\n250 PIPELINING\r\n250 ok\r\n250 ok\r\n354 go\r\n250 2.0.0 ok\r\n221 bye\r\n")
	f.Add("220 a\r\n500 no\r\n250 a\r\n250 ok\r\n550 5.1.1 no\r\n250 ok\r\n")
	f.Add("220-a\r\n221 b\r\n")
	f.Add("220 a\r\n250-a\r\n250-SIZE 99999999999999999999\r\n250 STARTTLS\r\n220 go\r\n250 injected\r\n")
	f.Fuzz(func(t *testing.T, replies string) {
		c, err := New(Config{Hello: "client.example", Timeouts: Timeouts{time.Second, time.Second, time.Second, time.Second, time.Second, time.Second, time.Second, time.Second, time.Second},
			Dial: func(context.Context, string, string) (net.Conn, error) {
				return &canned{in: strings.NewReader(replies)}, nil
			}})
		if err != nil {
			t.Fatal(err)
		}
		got := c.Deliver(t.Context(), request("[192.0.2.1]", "x\n", "a@x", "b@x"))
		c.Close()
		for _, s := range got {
			if s.Code() == "4.3.5" {
				t.Errorf("internal error: %s", s.Text())
			}
			if s.Outcome() == transport.Relayed && strings.Count(replies, "354") == 0 {
				t.Errorf("relayed without 354: %q", replies)
			}
			if strings.ContainsAny(s.Text()+s.Reply, "\r\n\x00\x1b") {
				t.Errorf("control characters in %q", s.Text())
			}
		}
	})
}

// canned is a connection on which everything was said beforehand.
type canned struct {
	net.Conn
	in *strings.Reader
}

func (c *canned) Read(p []byte) (int, error)       { return c.in.Read(p) }
func (c *canned) Write(p []byte) (int, error)      { return len(p), nil }
func (c *canned) Close() error                     { return nil }
func (c *canned) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (c *canned) SetDeadline(time.Time) error      { return nil }
func (c *canned) SetReadDeadline(time.Time) error  { return nil }
func (c *canned) SetWriteDeadline(time.Time) error { return nil }
