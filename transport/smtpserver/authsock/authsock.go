// Package authsock asks a local daemon whether a password is right: Dovecot's auth service or Cyrus' saslauthd, over
// their Unix sockets. A name and a password flow in, yes, no or "not now" flows out; each is a sasl.Store for PLAIN and
// LOGIN. The formats are Dovecot's auth client protocol, version 1 (doc.dovecot.org, Authentication Protocol) and
// saslauthd's counted strings (cyrusimap.org, saslauthd(8)).
package authsock

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"waybill/transport/smtpserver/sasl"
)

var (
	_ sasl.Store = Dovecot{}
	_ sasl.Store = Saslauthd{}
)

// Timeout is how long an answer may take when the context has no earlier end.
const Timeout = 30 * time.Second

func dial(ctx context.Context, path string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	end, _ := ctx.Deadline()
	return c, c.SetDeadline(end)
}

// Dovecot asks Dovecot's auth service on its client socket, /run/dovecot/auth-client or the one made for the MTA,
// /var/spool/waybill/private/auth. Each question has a connection of its own.
type Dovecot struct{ Path string }

// maxLine is the longest line that Dovecot may send.
const maxLine = 16 << 10

// Verify implements sasl.Store.
func (d Dovecot) Verify(ctx context.Context, user, password string) (bool, error) {
	if strings.ContainsAny(user+password, "\x00") {
		return false, nil
	}
	c, err := dial(ctx, d.Path)
	if err != nil {
		return false, fmt.Errorf("dovecot auth: %w", err)
	}
	defer c.Close()
	ok, err := d.ask(c, user, password)
	if err != nil {
		return false, fmt.Errorf("dovecot auth %s: %w", d.Path, err)
	}
	return ok, nil
}

func (d Dovecot) ask(c net.Conn, user, password string) (bool, error) {
	br := bufio.NewReaderSize(c, maxLine)
	if _, err := fmt.Fprintf(c, "VERSION\t1\t1\nCPID\t%d\n", os.Getpid()); err != nil {
		return false, err
	}
	plain := false
	for done := false; !done; {
		word, err := fields(br)
		if err != nil {
			return false, err
		}
		switch word[0] {
		case "VERSION":
			if len(word) < 2 || word[1] != "1" {
				return false, fmt.Errorf("speaks another version: %q", word)
			}
		case "MECH":
			plain = plain || len(word) > 1 && strings.EqualFold(word[1], "PLAIN")
		case "DONE":
			done = true
		}
	}
	if !plain {
		return false, errors.New("does not offer PLAIN")
	}
	secret := base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + password))
	if _, err := fmt.Fprintf(c, "AUTH\t1\tPLAIN\tservice=smtp\tsecured\tresp=%s\n", secret); err != nil {
		return false, err
	}
	for {
		word, err := fields(br)
		switch {
		case err != nil:
			return false, err
		case len(word) < 2 || word[1] != "1":
			continue
		case word[0] == "OK":
			return true, nil
		case word[0] == "FAIL":
			for _, w := range word[2:] {
				if w == "temp" || w == "code=temp_fail" {
					return false, errors.New("temporary failure")
				}
			}
			return false, nil
		default:
			return false, fmt.Errorf("unexpected answer %q", word[0])
		}
	}
}

func fields(br *bufio.Reader) ([]string, error) {
	line, err := br.ReadSlice('\n')
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	return strings.Split(string(line[:len(line)-1]), "\t"), nil
}

// Saslauthd asks saslauthd on its socket, /run/saslauthd/mux.
type Saslauthd struct {
	Path    string
	Service string // default "smtp"
	Realm   string
}

// Verify implements sasl.Store. Each string goes out behind its length in two octets; so comes the answer, which
// begins with OK or NO.
func (s Saslauthd) Verify(ctx context.Context, user, password string) (bool, error) {
	if s.Service == "" {
		s.Service = "smtp"
	}
	c, err := dial(ctx, s.Path)
	if err != nil {
		return false, fmt.Errorf("saslauthd: %w", err)
	}
	defer c.Close()
	var b []byte
	for _, text := range []string{user, password, s.Service, s.Realm} {
		if len(text) > 1<<10 {
			return false, nil
		}
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(text))), text...)
	}
	if _, err := c.Write(b); err != nil {
		return false, fmt.Errorf("saslauthd %s: %w", s.Path, err)
	}
	var size [2]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return false, fmt.Errorf("saslauthd %s: %w", s.Path, err)
	}
	answer := make([]byte, min(int(binary.BigEndian.Uint16(size[:])), 1<<10))
	if _, err := io.ReadFull(c, answer); err != nil {
		return false, fmt.Errorf("saslauthd %s: %w", s.Path, err)
	}
	switch text := string(answer); {
	case strings.HasPrefix(text, "OK"):
		return true, nil
	case strings.HasPrefix(text, "NO"):
		return false, nil
	default:
		return false, fmt.Errorf("saslauthd %s: unexpected answer %s", s.Path, strconv.Quote(text))
	}
}
