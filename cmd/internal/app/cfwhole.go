package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"waybill/queue/spool"
	"waybill/transport"
	"waybill/transport/envelope"
	"waybill/transport/sysexits"
)

// wholeRefusal is why sendmail refuses a message that it has read: as the transcript of the bounce has it.
type wholeRefusal struct {
	code int
	dsn  string
	text string
}

func (w *wholeRefusal) Error() string { return w.text }

func (w *wholeRefusal) line() string { return fmt.Sprintf("%d %s %s", w.code, w.dsn, w.text) }

// judgedBody is a message of a program on its way in, watched for what sendmail refuses as a whole: a header section longer
// than MaxHeadersLength, a message longer than MaxMessageSize, octets above 127 with EightBitMode=strict. The last is
// known at the end only; whoever reads gets the refusal in place of io.EOF.
type judgedBody struct {
	in     io.Reader
	limit  int64 // octets of the message, as the program wrote it; 0: any number
	left   int64
	strict bool
	eight  bool
	err    error
	head   string // the header section, as it is returned
	full   bool   // it is returned as a message, and not as a header
	header *envelope.Header
}

// defaultHeaders is MaxHeadersLength where nobody says another.
const defaultHeaders = 32768

// judge reads the header section of a message and returns the message.
func (c *cfSite) judge(e *envelope.Envelope, body io.Reader) (*judgedBody, error) {
	var seen bytes.Buffer
	h, err := envelope.ReadHeader(io.TeeReader(body, &seen), envelope.HeaderLimits{})
	if err != nil && !errors.Is(err, envelope.ErrHeaderTooLong) {
		return nil, err
	}
	j := &judgedBody{limit: int64(c.number("MaxMessageSize", 0)), strict: strings.HasPrefix(c.text("EightBitMode", "", ""), "s") && e.BodyType != envelope.Body8BitMIME}
	j.header = h
	j.head = strings.TrimSuffix(seen.String()[:min(int64(seen.Len()), h.Octets)], "\n")
	j.left = j.limit + int64(e.Made) // what the front end has put in front is not counted
	if most := int64(c.number("MaxHeadersLength", defaultHeaders)); most > 0 && (err != nil || h.Octets-int64(e.Made) > most) {
		j.err = &wholeRefusal{552, "5.6.0", fmt.Sprintf("Headers too large (%d max)", most)}
		j.head, j.full = "", true
		for left := most + int64(e.Made); len(h.Fields) > 0 && left >= int64(len(h.Fields[0].Raw)); h.Fields = h.Fields[1:] {
			left -= int64(len(h.Fields[0].Raw))
			j.head += h.Fields[0].Raw
		}
	}
	j.in = io.MultiReader(&seen, body)
	return j, nil
}

// Read implements io.Reader.
func (j *judgedBody) Read(p []byte) (int, error) {
	if j.err != nil {
		return 0, j.err
	}
	n, err := j.in.Read(p)
	if j.limit > 0 {
		if j.left -= int64(n); j.left < 0 {
			j.err = j.tooLarge()
			return 0, j.err
		}
	}
	if j.strict && !j.eight {
		j.eight = bytes.ContainsFunc(p[:n], func(r rune) bool { return r >= 0x80 })
	}
	if err == io.EOF && j.eight {
		j.err = &wholeRefusal{554, "5.6.1", "Eight bit data not allowed"}
		return n, j.err
	}
	return n, err
}

// tooLarge is what the queue says of such a message.
const tooLarge = "Message exceeds maximum fixed size"

func (j *judgedBody) tooLarge() error {
	return &wholeRefusal{552, "5.2.3", fmt.Sprintf("%s (%d)", tooLarge, j.limit)}
}

// refusedWhole does what sendmail does about such a message: the program hears of it and ends well, and the sender gets it
// back by mail, or its header. Of recipients who are wrong themselves the bounce tells alone, and so does the exit status.
func (s *site) refusedWhole(ctx context.Context, e *envelope.Envelope, j *judgedBody, why *wholeRefusal, reply spool.Reply) (spool.Reply, error) {
	if n, _ := io.Copy(io.Discard, j.in); j.limit > 0 && n > j.left {
		j.full = false
	}
	back := *e
	back.Recipients = slices.Clone(e.Recipients)
	slices.Reverse(back.Recipients) // sendmail's order
	var statuses []transport.Status
	if len(reply.Refused) > 0 {
		back.Recipients = nil
	}
	for _, r := range reply.Refused {
		status := transport.NewStatus(transport.Failed, r.Code, r.Text)
		if r.Code == "5.1.1" {
			status.Exit = sysexits.NoUser
		}
		back.Recipients, statuses = append(back.Recipients, e.Recipients[r.Index]), append(statuses, status)
		reply.Partly = append(reply.Partly, e.Recipients[r.Index].Name()+"... "+wording(r.Text))
		reply.Exit = sysexits.NoUser
	}
	for i := len(statuses); i < len(back.Recipients); i++ {
		status := transport.NewStatus(transport.Failed, "5.0.0", why.text)
		status.Transcript = []string{""} // it stands there once
		if i == 0 {
			status.Transcript[0] = why.line()
		}
		statuses = append(statuses, status)
	}
	text := j.head
	if !j.full {
		back.Ret = envelope.RetHeaders
	}
	reply.ID, reply.Refused, reply.Told = "", nil, append(reply.Told, why.text)
	return reply, s.queue.Return(ctx, &back, text+"\n", statuses)
}
