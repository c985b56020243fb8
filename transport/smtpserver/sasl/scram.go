package sasl

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Keys is what a server keeps for SCRAM-SHA-256 (RFC 5802 2.2, 3): enough to check a proof, not enough to make one.
type Keys struct {
	Salt      []byte
	Rounds    int    // RFC 7677 4: at least 4096
	StoredKey []byte // H(HMAC(SaltedPassword, "Client Key"))
	ServerKey []byte // HMAC(SaltedPassword, "Server Key")
}

// DefaultRounds is the number of rounds of new keys.
const DefaultRounds = 10000

// NewKeys derives keys from a password. The password is taken as it is: names and passwords beyond ASCII should be
// normalised by whoever sets them (RFC 5802 2.2).
func NewKeys(password string, salt []byte, rounds int) (Keys, error) {
	if len(salt) < 8 || rounds < 4096 || rounds > 10_000_000 {
		return Keys{}, errors.New("sasl: bad salt or number of rounds")
	}
	salted, err := pbkdf2.Key(sha256.New, password, salt, rounds, sha256.Size)
	if err != nil {
		return Keys{}, fmt.Errorf("sasl: %w", err)
	}
	stored := sha256.Sum256(sign(salted, "Client Key"))
	return Keys{Salt: salt, Rounds: rounds, StoredKey: stored[:], ServerKey: sign(salted, "Server Key")}, nil
}

// Verify reports whether password gives these keys.
func (k Keys) Verify(password string) bool {
	other, err := NewKeys(password, k.Salt, k.Rounds)
	return err == nil && subtle.ConstantTimeCompare(other.StoredKey, k.StoredKey) == 1
}

func sign(key []byte, text string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	return mac.Sum(nil)
}

type scram struct {
	store KeyStore
	step  int
	user  string
	found bool
	keys  Keys

	gs2   string // header of the first message, with its commas
	bare  string // first message without it
	first string // our first message
	nonce string
}

func (s *scram) User() string { return s.user }

// Next: RFC 5802 5.
func (s *scram) Next(ctx context.Context, response []byte) ([]byte, bool, error) {
	s.step++
	switch s.step {
	case 1:
		if response == nil {
			s.step = 0
			return []byte{}, false, nil // RFC 5802 5: the client speaks first
		}
		return s.clientFirst(ctx, string(response))
	case 2:
		return s.clientFinal(string(response))
	case 3:
		// RFC 4422 5: SMTP cannot send data along with success, so the client acknowledges ours with nothing
		if len(response) > 0 {
			return nil, false, ErrSyntax
		}
		return nil, true, nil
	}
	return nil, false, ErrSyntax
}

// clientFirst reads "n,[a=authzid],n=user,r=nonce".
func (s *scram) clientFirst(ctx context.Context, message string) ([]byte, bool, error) {
	part := strings.SplitN(message, ",", 3)
	if len(part) != 3 || part[0] != "n" && part[0] != "y" {
		return nil, false, ErrSyntax // "p" asks for channel binding, which was not offered
	}
	s.gs2, s.bare = part[0]+","+part[1]+",", part[2]
	field := strings.Split(s.bare, ",")
	if len(field) < 2 || !strings.HasPrefix(field[0], "n=") || !strings.HasPrefix(field[1], "r=") || len(field[1]) < 10 || len(field[1]) > 512 || !printable(field[1]) {
		return nil, false, ErrSyntax // also "m=": a mandatory extension that we do not know
	}
	var ok bool
	if s.user, ok = unescape(field[0][2:]); !ok || !validName(s.user) {
		return nil, false, ErrSyntax
	}
	if part[1] != "" {
		authz, ok := unescape(strings.TrimPrefix(part[1], "a="))
		if !ok || !strings.HasPrefix(part[1], "a=") {
			return nil, false, ErrSyntax
		}
		if authz != s.user {
			return nil, false, ErrFailed
		}
	}
	var err error
	if s.keys, s.found, err = s.store.Keys(ctx, s.user); err != nil {
		return nil, false, fmt.Errorf("keys of %q: %w", s.user, err)
	}
	s.nonce = field[1][2:] + rand.Text()
	s.first = "r=" + s.nonce + ",s=" + base64.StdEncoding.EncodeToString(s.keys.Salt) + ",i=" + strconv.Itoa(s.keys.Rounds)
	return []byte(s.first), false, nil
}

// clientFinal reads "c=biws,r=nonce,p=proof".
func (s *scram) clientFinal(message string) ([]byte, bool, error) {
	cut := strings.LastIndex(message, ",p=")
	if cut < 0 {
		return nil, false, ErrSyntax
	}
	without := message[:cut]
	field := strings.Split(without, ",")
	proof, err := base64.StdEncoding.Strict().DecodeString(message[cut+3:])
	if err != nil || len(proof) != sha256.Size || len(field) < 2 || field[0] != "c="+base64.StdEncoding.EncodeToString([]byte(s.gs2)) {
		return nil, false, ErrSyntax
	}
	if field[1] != "r="+s.nonce {
		return nil, false, ErrFailed
	}
	auth := s.bare + "," + s.first + "," + without
	signature := sign(s.keys.StoredKey, auth)
	clientKey := make([]byte, sha256.Size)
	subtle.XORBytes(clientKey, proof, signature)
	stored := sha256.Sum256(clientKey)
	if !hmac.Equal(stored[:], s.keys.StoredKey) || !s.found {
		return nil, false, ErrFailed
	}
	return []byte("v=" + base64.StdEncoding.EncodeToString(sign(s.keys.ServerKey, auth))), false, nil
}

// unescape reads a saslname: "=2C" is a comma and "=3D" an equals sign (RFC 5802 5.1).
func unescape(s string) (string, bool) {
	plain := strings.NewReplacer("=2C", ",", "=3D", "=").Replace(s)
	if bytes.Count([]byte(s), []byte("=")) != strings.Count(s, "=2C")+strings.Count(s, "=3D") {
		return "", false
	}
	return plain, true
}

func printable(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}
