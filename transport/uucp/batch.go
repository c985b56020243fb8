package uucp

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"waybill/transport/envelope"
	"waybill/transport/fromline"
)

// BatchWriter writes batched SMTP: the client's half of an SMTP dialogue as a file, several messages in one, for rsmtp,
// rbsmtp and every store-and-forward carrier. Lines end in LF, as on both ends of UUCP.
type BatchWriter struct {
	w    *bufio.Writer
	node string
	open bool
}

// NewBatchWriter writes to w; node is the name for HELO.
func NewBatchWriter(w io.Writer, node string) *BatchWriter {
	return &BatchWriter{w: bufio.NewWriterSize(w, 64<<10), node: node}
}

// Message adds one message. An error of the message's own stream wraps fromline.ErrRead; after any error the batch is
// not usable.
func (b *BatchWriter) Message(sender envelope.Address, users []envelope.Address, message io.Reader) error {
	if !b.open {
		fmt.Fprintf(b.w, "HELO %s\n", b.node)
		b.open = true
	}
	fmt.Fprintf(b.w, "MAIL FROM:<%s>\n", sender)
	for _, u := range users {
		fmt.Fprintf(b.w, "RCPT TO:<%s>\n", u)
	}
	if _, err := b.w.WriteString("DATA\n"); err != nil {
		return err
	}
	in := bufio.NewReaderSize(message, 64<<10)
	lineStart := true
	for {
		part, err := in.ReadSlice('\n')
		if len(part) > 0 {
			if lineStart && part[0] == '.' { // RFC 5321 4.5.2
				b.w.WriteByte('.')
			}
			if _, werr := b.w.Write(part); werr != nil {
				return werr
			}
			lineStart = part[len(part)-1] == '\n'
		}
		if err == io.EOF {
			break
		}
		if err != nil && err != bufio.ErrBufferFull {
			return errors.Join(fromline.ErrRead, err)
		}
	}
	if !lineStart {
		b.w.WriteByte('\n')
	}
	_, err := b.w.WriteString(".\n")
	return err
}

// Close ends the batch and writes what is buffered.
func (b *BatchWriter) Close() error {
	if b.open {
		b.w.WriteString("QUIT\n")
	}
	return b.w.Flush()
}
