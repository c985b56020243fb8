package smtpserver

import (
	"context"
	"crypto/tls"
	"net"
	"strings"
	"time"

	"waybill/transport/smtp"
)

// tlsConfig is what the caller gave, with nothing older than TLS 1.2 (RFC 8996, RFC 9325). The cipher suites are Go's:
// none with RC4, 3DES, export keys, no authentication or static RSA.
func tlsConfig(c *tls.Config) *tls.Config {
	if c == nil {
		return nil
	}
	c = c.Clone()
	c.MinVersion = max(c.MinVersion, tls.VersionTLS12)
	return c
}

// starttls: RFC 3207 4.
func (c *conn) starttls(ctx context.Context, arg string) {
	nc, ok := c.netConn()
	switch {
	case c.cfg.Sendmail && arg != "":
		c.reply(smtp.NewReply(501, "5.5.2", "Syntax error (no parameters allowed)"))
		return
	case c.cfg.TLS == nil || !ok:
		c.reply(c.in(smtp.NewReply(502, "5.5.1", "command not implemented"), smtp.NewReply(454, "4.3.3", "TLS not available after start")))
		return
	case !c.offers("STARTTLS"):
		c.reply(c.in(smtp.NewReply(502, "5.5.1", "command not implemented"), smtp.NewReply(503, "5.5.0", "TLS not available")))
		return
	case c.client.TLS != nil:
		c.reply(smtp.NewReply(503, "5.5.1", "TLS is in use already")) // RFC 3207 4.2
		return
	}
	c.send(c.in(smtp.NewReply(220, "2.0.0", "go ahead"), smtp.NewReply(220, "2.0.0", "Ready to start TLS")))
	if err := c.w.bw.Flush(); err != nil {
		c.lost(err)
		return
	}
	// RFC 3207 4.2: everything that was learned before is forgotten: the transaction, the name, the identity. What the
	// client sent behind the command is thrown away by restart (CVE-2011-0411).
	c.endTransaction()
	c.client.Helo, c.client.ESMTP, c.client.Auth = "", false, ""
	c.state = fresh
	c.handshake(ctx, nc)
}

// handshakeTimeout is the longest time for a handshake: it takes a few round trips, and no human types it.
const handshakeTimeout = time.Minute

// handshake puts TLS on the connection, or ends it.
func (c *conn) handshake(ctx context.Context, nc net.Conn) {
	tc := tls.Server(nc, c.cfg.TLS)
	limit := min(c.cfg.CommandTimeout, handshakeTimeout)
	_ = nc.SetDeadline(time.Now().Add(limit))
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := tc.HandshakeContext(ctx); err != nil {
		// not a word in clear any more: whoever listens could have provoked this
		c.log.Info("TLS handshake failed", "err", err)
		c.lost(err)
		c.w.restart(deaf{})
		return
	}
	_ = nc.SetDeadline(time.Time{})
	state := tc.ConnectionState()
	c.client.TLS = &state
	c.w.restart(tc)
	version, cipher, _ := strings.Cut(c.client.TLSText(), " ")
	verify := "NO" // the client showed no certificate: most do not
	if len(state.VerifiedChains) > 0 {
		verify = "OK"
	}
	if c.cfg.VerifiedAs != nil {
		verify = c.cfg.VerifiedAs(&state)
	}
	c.cfg.Log.Info("STARTTLS=server", "relay", "["+c.client.Remote.Addr().String()+"]", "version", version, "verify", verify, "cipher", cipher)
	c.judgeTLS(ctx)
}

// judgeTLS asks the Session what it thinks of the TLS session.
func (c *conn) judgeTLS(ctx context.Context) {
	if j, ok := c.session.(TLSJudge); ok && c.client.TLS != nil {
		if r := j.StartedTLS(ctx); r != nil && !r.Positive() {
			c.denied = r
		}
	}
}

// goodbye ends TLS in order (RFC 8446 6.1), so that the client can tell the end from a cut.
func (c *conn) goodbye() {
	if tc, ok := c.w.rw.(*tls.Conn); ok {
		_ = tc.SetWriteDeadline(time.Now().Add(time.Second))
		_ = tc.CloseWrite()
	}
}

// deaf stands for a connection on which nothing may be said.
type deaf struct{}

func (deaf) Read([]byte) (int, error)    { return 0, net.ErrClosed }
func (deaf) Write(p []byte) (int, error) { return 0, net.ErrClosed }
