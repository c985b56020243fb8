package app

import (
	"context"
	"io"
	"slices"
	"strings"

	"waybill/queue"
	"waybill/queue/dsn"
	"waybill/queue/maillog"
	"waybill/transport"
	"waybill/transport/envelope"
	"waybill/transport/smtpclient"
)

// watched is Deliver; to one who watches, sendmail -v says where it connects to and what came of it, but not what failed.
func (t cfTransport) watched(ctx context.Context, next transport.Transport, req *transport.Request) []transport.Status {
	if req.Verbose == nil {
		statuses := next.Deliver(ctx, req)
		t.site.noteHosts(statuses)
		t.site.seen(req, statuses)
		return statuses
	}
	if _, dialogue := next.(*smtpclient.Client); !dialogue && t.mailer.Name != "*file*" {
		var names []string
		for _, r := range req.Recipients {
			names = append(names, r.Orig.Name())
		}
		req.Verbose(strings.Join(names, ",") + "... Connecting to " + t.mailer.Name + "...")
	}
	statuses := next.Deliver(ctx, req)
	t.site.noteHosts(statuses)
	var sent []string
	text := ""
	for i, s := range statuses {
		who := req.Recipients[i].Orig.Name()
		switch s.Outcome() {
		case transport.Delivered, transport.Relayed:
			sent, text = append(sent, who), maillog.Stat(s)
		case transport.Deferred:
			if len(s.Transcript) == 0 {
				req.Verbose(who + "... Deferred: " + s.Text())
			}
		}
	}
	t.site.seen(req, statuses)
	if len(sent) > 0 {
		req.Verbose(strings.Join(sent, ",") + "... " + text)
	}
	return statuses
}

// seen tells who waits for a queue run of failures, which are also its exit status.
func (c *cfSite) seen(req *transport.Request, statuses []transport.Status) {
	if c.failed == nil {
		return
	}
	for i, s := range statuses {
		if s.Outcome() != transport.Failed {
			continue
		}
		c.exit.Store(int32(queue.ExitOf(s)))
		text := maillog.Stat(s)
		if strings.HasPrefix(s.Text(), "Host unknown") {
			text = s.Text()
		}
		if text != "Service unavailable" { // which is about the message
			text = req.Recipients[i].Orig.Name() + "... " + text
		}
		c.failed(text)
	}
}

// requeued tells whether sendmail announces a message as it has it in its queue: in a queue run, and in a session of its
// own that goes on in the background with a message that does not go to all who were named at once, or to others. to are
// those who get it now, or of whom a notice tells.
func (c *cfSite) requeued(e *envelope.Envelope, to []envelope.Address) bool {
	switch {
	case isNotice(e.Sender, e.Origin):
		return false
	case c.queueRun:
		return true
	case !c.pipe || c.verbose || e.When == envelope.WhenNow:
		return false
	}
	return slices.ContainsFunc(e.Recipients, func(r envelope.Recipient) bool { return !slices.Contains(to, r.Addr) })
}

func addressed(rs []transport.Recipient) (to []envelope.Address) {
	for _, r := range rs {
		to = append(to, r.Orig.Addr)
	}
	return to
}

// givenFor is the size that a notice goes by which returns a message. A notice about users of this host has one that was
// queued.
func (c *cfSite) givenFor(n dsn.Notice, header *envelope.Header, given int64) int64 {
	var to []envelope.Address
	for _, r := range n.Recipients {
		if domain := strings.ToLower(r.Orig.Addr.Domain()); r.Actual == "" && r.Grown == dsn.Single && domain != "" && !c.rw.InClass("w", domain) {
			to = append(to, r.Orig.Addr)
		}
	}
	if !c.requeued(n.Envelope, to) {
		return given
	}
	h, m := *header, macros(n.Envelope.Sender, n.Envelope.Origin)
	c.stamp(m, n.Envelope, header)
	c.received(m, n.Envelope, &h)
	return n.Body.Size() - h.Octets + queuedHeader(&h, n.Envelope)
}

// queuedHeader is the size of a header in a queue file of sendmail.
func queuedHeader(h *envelope.Header, e *envelope.Envelope) int64 {
	size, own := int64(len("?Return-Path: <$g>")), []string{"Received", "Date", "From", "Message-Id"}
	if e.Again > 0 {
		size = int64(e.Again)
	}
	for i, f := range h.Fields {
		if i > 0 && e.Again > 0 {
			break
		}
		size += int64(len(f.Raw) - 1)
		if i > 0 && len(own) > 0 { // made by a template
			if at := slices.IndexFunc(own, f.Is); at >= 0 {
				size++
				own = own[at+1:]
			} else {
				own = nil
			}
		}
	}
	return size
}

// plain reports whether a message has no octet above 127.
func plain(body envelope.Body) bool {
	in, err := body.Open()
	if err != nil {
		return false
	}
	defer in.Close()
	buf := make([]byte, 16<<10)
	for {
		n, err := in.Read(buf)
		for _, c := range buf[:n] {
			if c >= 0x80 {
				return false
			}
		}
		if err != nil {
			return err == io.EOF
		}
	}
}
