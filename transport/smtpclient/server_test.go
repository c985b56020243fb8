package smtpclient

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"waybill/transport/envelope"
	"waybill/transport/smtp"
	"waybill/transport/smtpserver"
)

// ourServer is our own other end.
type ourServer struct {
	mu       sync.Mutex
	sessions int
	got      []string
	bodies   []string
}

func (o *ourServer) NewSession(_ context.Context, c *smtpserver.Client) (smtpserver.Session, *smtp.Reply) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sessions++
	return &ourSession{o: o, client: c}, nil
}

type ourSession struct {
	o      *ourServer
	client *smtpserver.Client
	text   []string
}

func (s *ourSession) Mail(_ context.Context, from smtpserver.MailFrom) *smtp.Reply {
	s.text = []string{fmt.Sprintf("from %s body=%s utf8=%v ret=%s envid=%s tls=%v auth=%s requiretls=%v", from.Addr, from.Body, from.UTF8, from.Ret, from.EnvID, s.client.TLS != nil, s.client.Auth, from.RequireTLS)}
	return nil
}

func (s *ourSession) Rcpt(_ context.Context, to smtpserver.RcptTo) *smtp.Reply {
	if strings.HasPrefix(string(to.Addr), "no") {
		return smtp.NewReply(550, "5.1.1", "who?")
	}
	s.text = append(s.text, fmt.Sprintf("to %s notify=%s orcpt=%s", to.Addr, to.Notify, to.ORcpt))
	return nil
}

func (s *ourSession) Data(_ context.Context, body io.Reader) *smtp.Reply {
	text, err := io.ReadAll(body)
	if err != nil {
		return smtp.NewReply(451, "4.3.0", "read")
	}
	s.o.mu.Lock()
	defer s.o.mu.Unlock()
	s.o.got = append(s.o.got, strings.Join(s.text, "; "))
	s.o.bodies = append(s.o.bodies, string(text))
	return nil
}

func (s *ourSession) Reset() {}
func (s *ourSession) Close() {}

// onePassword is a sasl.Store.
type onePassword struct{}

func (onePassword) Verify(_ context.Context, user, password string) (bool, error) {
	return user == "tester" && password == "secret", nil
}

func (onePassword) Reveal(_ context.Context, user string) (string, bool, error) {
	return "secret", user == "tester", nil
}

func TestOurOwnServer(t *testing.T) {
	ca := newAuthority(t)
	backend := &ourServer{}
	server, err := smtpserver.New(smtpserver.Config{Hostname: "mx.example.com", Log: slog.New(slog.DiscardHandler), UTF8: true, RequireTLS: true,
		Auth: onePassword{}, TLS: &tls.Config{Certificates: []tls.Certificate{ca.issue(t, "mx.example.com", -time.Hour, time.Hour)}}}, backend)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go server.Serve(ctx, ln)
	defer server.Shutdown(ctx)

	body := "Subject: ü\n\n.\n..dots\n" + strings.Repeat("0123456789\n", 30000) + "no end"
	for _, mechanism := range []string{"PLAIN", "LOGIN", "CRAM-MD5", ""} {
		for _, noChunks := range []bool{false, true} {
			w := world{"mx.example.com. A 192.0.2.1", nil}
			c := w.client(t, func(conf *Config) {
				conf.TLS, conf.TLSConfig, conf.NoChunking = TLSVerify, &tls.Config{RootCAs: ca.pool()}, noChunks
				conf.Dial, conf.ConnectTo = new(net.Dialer).DialContext, ln.Addr().String()
				conf.Auth = func(context.Context, Peer) (Credentials, bool, error) {
					return Credentials{User: "tester", Password: "secret", Mechanisms: []string{mechanism}}, mechanism != "", nil
				}
			})
			backend.mu.Lock()
			backend.got, backend.bodies, backend.sessions = nil, nil, 0
			backend.mu.Unlock()
			for range 3 {
				req := request("[mx.example.com]", body, "grün@example.com", "no@example.com")
				req.Envelope.BodyType, req.Envelope.SMTPUTF8, req.Envelope.RequireTLS = envelope.Body8BitMIME, true, true
				req.Envelope.Ret, req.Envelope.EnvID = envelope.RetHeaders, "Q+2B1"
				req.Recipients[0].Orig.Notify, req.Recipients[0].Orig.ORcpt = envelope.NotifyNever, "rfc822;bob@y"
				got := c.Deliver(t.Context(), req)
				if outcomes(got) != "relayed 2.0.0, failed 5.1.1" || !got[0].DSN {
					t.Fatalf("%s: %s (%s)", mechanism, outcomes(got), got[0].Text())
				}
			}
			c.Close()
			auth := ""
			if mechanism != "" {
				auth = "tester"
			}
			want := "from alice@example.org body=8BITMIME utf8=true ret=HDRS envid=Q+2B1 tls=true auth=" + auth + " requiretls=true; to grün@example.com notify=NEVER orcpt=rfc822;bob@y"
			backend.mu.Lock()
			if len(backend.got) != 3 || backend.got[2] != want || backend.sessions != 1 {
				t.Errorf("%s: %d sessions, %q, want %q", mechanism, backend.sessions, backend.got, want)
			}
			if backend.bodies[2] != body+"\n" {
				t.Errorf("%s, BDAT %v: message arrived changed (%d octets, %d sent)", mechanism, !noChunks, len(backend.bodies[2]), len(body))
			}
			backend.mu.Unlock()
		}
	}
}
