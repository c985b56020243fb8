package dsn

import (
	"bytes"
	"errors"
	"io"
	"strings"

	"waybill/transport/envelope"
)

// returned is the last part of a notice: the message or its header.
type returned struct {
	part      envelope.Body // nil when there is nothing to return
	mediaType string
	eightBit  bool   // part holds octets above 127
	boundary  string // occurs nowhere in part
	subject   string // of the message, for people; may be empty
	whole     bool   // part is the message
	given     int64  // octets of the message as it came in
}

// returned decides what comes back to the sender, and reads that once to label it rightly.
func (c Composer) returned(n Notice) (returned, error) {
	back := returned{}
	id := strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' {
			return r
		}
		return -1
	}, n.Envelope.ID)
	back.boundary = id[:min(len(id), 20)] + "." + c.token()
	if n.Body == nil {
		return back, nil
	}
	header, err := envelope.HeaderOf(n.Body)
	if err != nil && !errors.Is(err, envelope.ErrHeaderTooLong) {
		return back, err
	}
	back.subject = subjectOf(header.Value("Subject"))
	kind := n.Kind
	if c.Bare && kind == Delay {
		kind = Failure
	}
	whole := returnsBody(kind, n.Envelope.Ret, header.Value("Precedence"), n.Body.Size(), c.limit(n.Envelope.Ret)) &&
		n.Envelope.BodyType != envelope.BodyBinaryMIME // 8BITMIME could not carry it
	back.whole = whole
	back.given = n.Body.Size() - int64(n.Envelope.Made)
	if len(header.Fields) > 0 && header.Fields[0].Is("Received") && strings.Contains(header.Fields[0].Raw, " id "+n.Envelope.ID) {
		back.given -= int64(len(header.Fields[0].Raw))
	}
	if whole {
		back.part, back.mediaType = n.Body, "message/rfc822"
		if n.Envelope.SMTPUTF8 {
			back.mediaType = "message/global" // RFC 6532 3.7
		}
	} else {
		var raw strings.Builder // bounded: HeaderOf has limits
		for _, f := range header.Fields {
			raw.WriteString(f.Raw)
		}
		back.part, back.mediaType = envelope.BytesBody(raw.String()), "text/rfc822-headers"
		if n.Envelope.SMTPUTF8 {
			back.mediaType = "message/global-headers" // RFC 6533 6
		}
	}
	for range 4 {
		found, eightBit, err := scan(back.part, []byte(back.boundary))
		if err != nil {
			return back, err
		}
		if !found {
			back.eightBit = eightBit
			return back, nil
		}
		back.boundary = id[:min(len(id), 20)] + "." + c.token() // one chance in 2^128
	}
	return back, errors.New("four random boundaries occur in it")
}

// limit is the size up to which a message is returned whole.
func (c Composer) limit(ret envelope.Ret) int64 {
	if ret == envelope.RetFull || c.Bare {
		return c.ReturnLimit
	}
	return min(c.ReturnLimit, unaskedReturnLimit)
}

// scan reads b once and reports whether word occurs in it and whether it holds octets above 127.
func scan(b envelope.Body, word []byte) (found, eightBit bool, err error) {
	r, err := b.Open()
	if err != nil {
		return false, false, err
	}
	defer r.Close()
	buf := make([]byte, 32<<10)
	kept := 0 // octets at the start of buf that were seen before: word may span two reads
	for {
		n, err := r.Read(buf[kept:])
		seen := buf[:kept+n]
		if bytes.Contains(seen, word) {
			return true, false, nil
		}
		eightBit = eightBit || !ascii(buf[kept:kept+n])
		if err == io.EOF {
			return false, eightBit, nil
		}
		if err != nil {
			return false, false, err
		}
		kept = copy(buf, seen[max(0, len(seen)-len(word)+1):])
	}
}

// chain is a Body that yields its parts one after the other.
type chain []envelope.Body

// Open opens each part only when the one before it has ended.
func (c chain) Open() (io.ReadCloser, error) { return &chainReader{rest: c}, nil }

// Size is the sum of the parts, or -1 when one does not know.
func (c chain) Size() int64 {
	var sum int64
	for _, part := range c {
		n := part.Size()
		if n < 0 {
			return -1
		}
		sum += n
	}
	return sum
}

type chainReader struct {
	rest chain
	open io.ReadCloser
}

func (r *chainReader) Read(p []byte) (int, error) {
	for {
		if r.open == nil {
			if len(r.rest) == 0 {
				return 0, io.EOF
			}
			next, err := r.rest[0].Open()
			if err != nil {
				return 0, err
			}
			r.open, r.rest = next, r.rest[1:]
		}
		n, err := r.open.Read(p)
		if err != io.EOF {
			return n, err
		}
		err = r.open.Close()
		r.open = nil
		if n > 0 || err != nil {
			return n, err
		}
	}
}

func (r *chainReader) Close() error {
	r.rest = nil
	if r.open == nil {
		return nil
	}
	err := r.open.Close()
	r.open = nil
	return err
}
