package smtpclient

import (
	"context"
	"crypto/hmac"
	"crypto/md5"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"hash"
	"strconv"
	"strings"

	"waybill/transport"
)

// Credentials are what we show to a host that wants to know us (sendmail's authinfo).
type Credentials struct {
	User       string
	Identity   string // to act as; empty: as User
	Password   string
	Mechanisms []string // allowed, best first; default: those of bestMechanisms
	Clear      bool     // PLAIN and LOGIN may be used without TLS
}

// bestMechanisms, the best first. EXTERNAL (the client certificate) is used only where Credentials name it.
var bestMechanisms = []string{"SCRAM-SHA-256", "SCRAM-SHA-1", "CRAM-MD5", "PLAIN", "LOGIN"}

// A mechanism answers challenges. The first call, with a nil challenge, gives the initial response; nil when the server
// speaks first.
type mechanism interface {
	next(challenge []byte) ([]byte, error)
	// done reports whether the server has proved what it has to prove.
	done() bool
}

// authenticate logs in (RFC 4954). Whatever goes wrong is about our configuration or the host, never about the
// message: it waits, and nothing is sent without the login that was asked for.
func (s *session) authenticate(ctx context.Context, cred Credentials) *verdict {
	fail := func(code, text string) *verdict {
		v := verdict{status: transport.NewStatus(transport.Deferred, code, text), next: true}
		s.sign(&v.status, nil)
		return &v
	}
	name, m := s.choose(cred)
	if m == nil {
		return fail("4.7.0", s.hop.name+" offers no way to log in that we may use")
	}
	line := "AUTH " + name
	first, err := m.next(nil)
	if err == nil && first != nil {
		line += " " + encodeFirst(first) // RFC 4954 4
	}
	if err != nil || len(line) > 510 { // RFC 4954 4: an initial response that is too long waits for the challenge
		return fail("4.7.0", "login to "+s.hop.name+" cannot be prepared")
	}
	verbose := s.verbose
	if verbose != nil {
		verbose(">>> AUTH " + name + " *")
		s.verbose = nil // secrets are not shown
	}
	defer func() { s.verbose = verbose }()
	for round := 0; ; round++ {
		r, v := s.ask(ctx, atAuth, s.conf.Timeouts.Hello, line)
		switch {
		case v != nil:
			return v
		case r.Code == 235:
			if !m.done() {
				s.dead = true
				return fail("4.7.0", s.hop.name+" did not prove that it knows our password")
			}
			return nil
		case r.Code != 334 || round > 5:
			v := judge(atAuth, r, s)
			return &v
		}
		challenge, err := base64.StdEncoding.DecodeString(strings.TrimSpace(strings.Join(r.Lines, "")))
		if err == nil {
			first, err = m.next(challenge)
		}
		line = base64.StdEncoding.EncodeToString(first)
		if err != nil {
			line = "*" // RFC 4954 4: we give up; the reply is 501
			m = refusedMechanism{}
		}
	}
}

// refusedMechanism is what we go on with after "*": nothing that comes now is a success.
type refusedMechanism struct{}

func (refusedMechanism) next([]byte) ([]byte, error) { return nil, errors.New("given up") }
func (refusedMechanism) done() bool                  { return false }

func encodeFirst(b []byte) string {
	if len(b) == 0 {
		return "="
	}
	return base64.StdEncoding.EncodeToString(b)
}

// choose takes the first allowed mechanism that the host offers. Passwords do not go in clear over a clear line.
func (s *session) choose(cred Credentials) (string, mechanism) {
	allowed := cred.Mechanisms
	if len(allowed) == 0 {
		allowed = bestMechanisms
	}
	for _, name := range allowed {
		name = strings.ToUpper(name)
		if !s.ext.auth[name] {
			continue
		}
		clear := s.tls != "" || cred.Clear
		switch {
		case name == "SCRAM-SHA-256":
			return name, newScram(cred, sha256.New)
		case name == "SCRAM-SHA-1":
			return name, newScram(cred, sha1.New)
		case name == "CRAM-MD5":
			return name, &cramMD5{cred: cred}
		case name == "PLAIN" && clear:
			return name, &oneShot{reply: []byte(cred.Identity + "\x00" + cred.User + "\x00" + cred.Password)} // RFC 4616 2
		case name == "LOGIN" && clear:
			return name, &login{cred: cred}
		case name == "EXTERNAL" && s.tls != "":
			return name, &oneShot{reply: []byte(cred.Identity)} // RFC 4422 appendix A
		}
	}
	return "", nil
}

// oneShot says one thing.
type oneShot struct {
	reply []byte
	said  bool
}

func (o *oneShot) next([]byte) ([]byte, error) {
	if o.said {
		return nil, errors.New("another challenge")
	}
	o.said = true
	return o.reply, nil
}

func (o *oneShot) done() bool { return o.said }

// login is the old way of two prompts: the user, then the password, whatever the prompts say.
type login struct {
	cred Credentials
	step int
}

func (l *login) next(challenge []byte) ([]byte, error) {
	l.step++
	switch {
	case challenge == nil:
		return nil, nil
	case l.step == 2:
		return []byte(l.cred.User), nil
	case l.step == 3:
		return []byte(l.cred.Password), nil
	}
	return nil, errors.New("a third prompt")
}

func (l *login) done() bool { return l.step == 3 }

// cramMD5 is RFC 2195.
type cramMD5 struct {
	cred Credentials
	said bool
}

func (c *cramMD5) next(challenge []byte) ([]byte, error) {
	if challenge == nil {
		return nil, nil
	}
	if c.said {
		return nil, errors.New("another challenge")
	}
	c.said = true
	h := hmac.New(md5.New, []byte(c.cred.Password))
	h.Write(challenge)
	return []byte(c.cred.User + " " + hex.EncodeToString(h.Sum(nil))), nil
}

func (c *cramMD5) done() bool { return c.said }

// scram is RFC 5802 (SHA-1) and RFC 7677 (SHA-256), without channel binding. Names and passwords are used as they
// are: those outside ASCII must be prepared (RFC 4013) by whoever configures them.
type scram struct {
	cred    Credentials
	hash    func() hash.Hash
	nonce   string
	bare    string // client-first-message-bare
	header  string // gs2-header
	expect  []byte // the server's signature
	step    int
	trusted bool
}

func newScram(cred Credentials, h func() hash.Hash) *scram {
	raw := make([]byte, 18)
	rand.Read(raw) // never fails: crypto/rand
	return &scram{cred: cred, hash: h, nonce: base64.StdEncoding.EncodeToString(raw)}
}

// maxIterations bounds the work that a server can make us do.
const maxIterations = 1 << 20

func (s *scram) done() bool { return s.trusted }

func (s *scram) next(challenge []byte) ([]byte, error) {
	s.step++
	switch s.step {
	case 1:
		escape := strings.NewReplacer("=", "=3D", ",", "=2C")
		s.header = "n,,"
		if s.cred.Identity != "" {
			s.header = "n,a=" + escape.Replace(s.cred.Identity) + ","
		}
		s.bare = "n=" + escape.Replace(s.cred.User) + ",r=" + s.nonce
		return []byte(s.header + s.bare), nil
	case 2:
		return s.prove(string(challenge))
	case 3:
		proof, ok := strings.CutPrefix(string(challenge), "v=")
		got, err := base64.StdEncoding.DecodeString(proof)
		if !ok || err != nil || !hmac.Equal(got, s.expect) {
			return nil, errors.New("the server's signature is wrong")
		}
		s.trusted = true
		return []byte{}, nil
	}
	return nil, errors.New("another challenge")
}

// prove answers server-first-message with client-final-message (RFC 5802 3).
func (s *scram) prove(first string) ([]byte, error) {
	field := map[string]string{}
	for part := range strings.SplitSeq(first, ",") {
		key, value, _ := strings.Cut(part, "=")
		field[key] = value
	}
	salt, err := base64.StdEncoding.DecodeString(field["s"])
	rounds, ierr := strconv.Atoi(field["i"])
	_, unknown := field["m"] // RFC 5802 5.1: an extension that must be understood
	if err != nil || ierr != nil || rounds < 1 || rounds > maxIterations || len(salt) == 0 || unknown ||
		!strings.HasPrefix(field["r"], s.nonce) || len(field["r"]) == len(s.nonce) {
		return nil, errors.New("bad challenge")
	}
	salted, err := pbkdf2.Key(s.hash, s.cred.Password, salt, rounds, s.hash().Size())
	if err != nil {
		return nil, err
	}
	final := "c=" + base64.StdEncoding.EncodeToString([]byte(s.header)) + ",r=" + field["r"]
	message := []byte(s.bare + "," + first + "," + final)
	clientKey := s.mac(salted, []byte("Client Key"))
	h := s.hash()
	h.Write(clientKey)
	signature := s.mac(h.Sum(nil), message)
	for i := range signature {
		signature[i] ^= clientKey[i]
	}
	s.expect = s.mac(s.mac(salted, []byte("Server Key")), message)
	return []byte(final + ",p=" + base64.StdEncoding.EncodeToString(signature)), nil
}

func (s *scram) mac(key, data []byte) []byte {
	m := hmac.New(s.hash, key)
	m.Write(data)
	return m.Sum(nil)
}
