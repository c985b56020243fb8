// Package sasl is the server's side of the password mechanisms of RFC 4422: PLAIN (RFC 4616), LOGIN, CRAM-MD5
// (RFC 2195) and SCRAM-SHA-256 (RFC 5802, RFC 7677). Responses of the client flow in, already base64-decoded;
// challenges and at last an identity flow out. It looks nothing up itself: a Store does, and it opens no connection.
package sasl

import (
	"context"
	"crypto/hmac"
	"crypto/md5"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// Errors that end an exchange. Any other error means that the store could not answer: "not now".
var (
	ErrFailed = errors.New("authentication failed")         // wrong name, wrong password, wrong proof: nobody is told which
	ErrSyntax = errors.New("malformed authentication data") // the client does not speak the mechanism
)

// Store knows who may authenticate.
type Store interface {
	// Verify reports whether password is that of user. It takes as long for users that do not exist. An error means
	// that this cannot be said now.
	Verify(ctx context.Context, user, password string) (ok bool, err error)
}

// Revealer is a Store that can show a password in clear: what CRAM-MD5 needs.
type Revealer interface {
	Reveal(ctx context.Context, user string) (password string, found bool, err error)
}

// KeyStore is a Store that holds SCRAM keys.
type KeyStore interface {
	// Keys returns the keys of user; for a user that does not exist, found is false and the keys are such that nobody
	// can tell: a salt that stays the same for this name, and the usual number of rounds.
	Keys(ctx context.Context, user string) (keys Keys, found bool, err error)
}

// Exchange is one authentication.
type Exchange interface {
	// Next takes a response of the client, nil where it has not spoken yet, and returns the next challenge; or done.
	Next(ctx context.Context, response []byte) (challenge []byte, done bool, err error)
	// User is the identity, once done is true. Before, it is the name that was claimed, for the log.
	User() string
}

// Mechanisms lists what store can do, strongest first. host is our name, for challenges.
func Mechanisms(store Store) []string {
	var list []string
	if _, ok := store.(KeyStore); ok {
		list = append(list, "SCRAM-SHA-256")
	}
	if _, ok := store.(Revealer); ok {
		list = append(list, "CRAM-MD5")
	}
	return append(list, "PLAIN", "LOGIN")
}

// New begins an exchange with the mechanism of that name, one of Mechanisms, in any case.
func New(name string, store Store, host string) (Exchange, bool) {
	switch strings.ToUpper(name) {
	case "PLAIN":
		return &plain{store: store}, true
	case "LOGIN":
		return &login{store: store}, true
	case "CRAM-MD5":
		if r, ok := store.(Revealer); ok {
			return &cram{store: r, host: host}, true
		}
	case "SCRAM-SHA-256":
		if k, ok := store.(KeyStore); ok {
			return &scram{store: k}, true
		}
	}
	return nil, false
}

// maxName bounds names and passwords: RFC 4616 2 asks for 255 octets.
const maxName = 255

func validName(s string) bool {
	if s == "" || len(s) > maxName || !utf8.ValidString(s) {
		return false
	}
	return strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) < 0
}

type plain struct {
	store Store
	user  string
}

func (p *plain) User() string { return p.user }

// Next: RFC 4616 2: [authzid] NUL authcid NUL passwd. To act for somebody else is not possible.
func (p *plain) Next(ctx context.Context, response []byte) ([]byte, bool, error) {
	if response == nil {
		return []byte{}, false, nil
	}
	part := strings.Split(string(response), "\x00")
	if len(part) != 3 || !validName(part[1]) || part[2] == "" || len(part[2]) > maxName {
		return nil, false, ErrSyntax
	}
	p.user = part[1]
	if part[0] != "" && part[0] != part[1] {
		return nil, false, ErrFailed
	}
	return nil, true, verify(ctx, p.store, p.user, part[2])
}

func verify(ctx context.Context, store Store, user, password string) error {
	ok, err := store.Verify(ctx, user, password)
	switch {
	case err != nil:
		return fmt.Errorf("password of %q: %w", user, err)
	case !ok:
		return ErrFailed
	}
	return nil
}

// login is the mechanism that Outlook speaks; no RFC has it.
type login struct {
	store Store
	asked bool
	user  string
}

func (l *login) User() string { return l.user }

func (l *login) Next(ctx context.Context, response []byte) ([]byte, bool, error) {
	switch {
	case l.user != "":
		if len(response) == 0 || len(response) > maxName {
			return nil, false, ErrSyntax
		}
		return nil, true, verify(ctx, l.store, l.user, string(response))
	case response == nil && !l.asked:
		l.asked = true
		return []byte("Username:"), false, nil
	}
	if !validName(string(response)) {
		return nil, false, ErrSyntax
	}
	l.user = string(response)
	return []byte("Password:"), false, nil
}

type cram struct {
	store     Revealer
	host      string
	challenge string
	user      string
}

func (c *cram) User() string { return c.user }

// Next: RFC 2195 2.
func (c *cram) Next(ctx context.Context, response []byte) ([]byte, bool, error) {
	if c.challenge == "" {
		if len(response) > 0 {
			return nil, false, ErrSyntax // the server speaks first
		}
		c.challenge = fmt.Sprintf("<%s.%d@%s>", rand.Text(), time.Now().Unix(), c.host)
		return []byte(c.challenge), false, nil
	}
	cut := strings.LastIndexByte(string(response), ' ')
	if cut < 0 || !validName(string(response[:cut])) {
		return nil, false, ErrSyntax
	}
	c.user = string(response[:cut])
	digest, err := hex.DecodeString(string(response[cut+1:]))
	if err != nil || len(digest) != md5.Size {
		return nil, false, ErrSyntax
	}
	password, found, err := c.store.Reveal(ctx, c.user)
	if err != nil {
		return nil, false, fmt.Errorf("password of %q: %w", c.user, err)
	}
	mac := hmac.New(md5.New, []byte(password))
	mac.Write([]byte(c.challenge))
	if !hmac.Equal(mac.Sum(nil), digest) || !found {
		return nil, false, ErrFailed
	}
	return nil, true, nil
}
