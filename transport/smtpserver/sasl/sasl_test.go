package sasl

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/md5"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strconv"
	"strings"
	"testing"
)

// memory is a Store of passwords in clear; "broken" cannot be answered.
type memory map[string]string

var errBroken = errors.New("the store does not answer")

func (m memory) Verify(_ context.Context, user, password string) (bool, error) {
	if user == "broken" {
		return false, errBroken
	}
	p, ok := m[user]
	return ok && p == password, nil
}

func (m memory) Reveal(_ context.Context, user string) (string, bool, error) {
	if user == "broken" {
		return "", false, errBroken
	}
	p, ok := m[user]
	return p, ok, nil
}

func (m memory) Keys(_ context.Context, user string) (Keys, bool, error) {
	if user == "broken" {
		return Keys{}, false, errBroken
	}
	p, ok := m[user]
	k, err := NewKeys(p, []byte("saltsaltsalt"), 4096)
	return k, ok, err
}

var users = memory{"tester": "hunter2", "a,b=c": "x"}

func run(t *testing.T, mech string, responses ...string) (Exchange, []string, error) {
	t.Helper()
	x, ok := New(mech, users, "mx.test")
	if !ok {
		t.Fatalf("no %s", mech)
	}
	var challenges []string
	for i, r := range responses {
		b := []byte(r)
		if r == "nil" {
			b = nil
		}
		c, done, err := x.Next(context.Background(), b)
		if err != nil {
			return x, challenges, err
		}
		if done {
			if i < len(responses)-1 {
				t.Errorf("%s: done after %d responses", mech, i+1)
			}
			return x, challenges, nil
		}
		challenges = append(challenges, string(c))
	}
	return x, challenges, errors.New("not done")
}

func TestPlain(t *testing.T) {
	for response, want := range map[string]error{
		"\x00tester\x00hunter2": nil, "tester\x00tester\x00hunter2": nil, "\x00tester\x00wrong": ErrFailed, "\x00nobody\x00x": ErrFailed,
		"root\x00tester\x00hunter2": ErrFailed, "nonulshere": ErrSyntax, strings.Repeat("\x00", 300): ErrSyntax, "\x00tester\x00": ErrSyntax,
		"\x00\x00hunter2": ErrSyntax, "": ErrSyntax, "\x00te\nster\x00x": ErrSyntax, "\x00" + strings.Repeat("u", 256) + "\x00x": ErrSyntax,
		"\x00\xff\x00x": ErrSyntax, "\x00broken\x00x": errBroken,
	} {
		if x, _, err := run(t, "PLAIN", "nil", response); !errors.Is(err, want) || want == nil && x.User() != "tester" {
			t.Errorf("%q: %v, want %v", response, err, want)
		}
	}
}

func TestLogin(t *testing.T) {
	if x, c, err := run(t, "login", "nil", "tester", "hunter2"); err != nil || x.User() != "tester" || c[0] != "Username:" || c[1] != "Password:" {
		t.Errorf("%v, %q", err, c)
	}
	if _, _, err := run(t, "login", "tester", "wrong"); !errors.Is(err, ErrFailed) {
		t.Error(err)
	}
	for _, bad := range [][]string{{"nil", ""}, {"nil", strings.Repeat("u", 300)}, {"tester", ""}, {"tester", strings.Repeat("p", 300)}} {
		if _, _, err := run(t, "login", bad...); !errors.Is(err, ErrSyntax) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestCram(t *testing.T) {
	for user, want := range map[string]error{"tester": nil, "nobody": ErrFailed, "broken": errBroken} {
		x, _ := New("CRAM-MD5", users, "mx.test")
		challenge, _, err := x.Next(context.Background(), nil)
		if err != nil || !strings.HasSuffix(string(challenge), "@mx.test>") {
			t.Fatalf("%q, %v", challenge, err)
		}
		mac := hmac.New(md5.New, []byte("hunter2"))
		mac.Write(challenge)
		_, done, err := x.Next(context.Background(), []byte(user+" "+hex.EncodeToString(mac.Sum(nil))))
		if !errors.Is(err, want) || done != (want == nil) {
			t.Errorf("%s: %v, %v", user, done, err)
		}
	}
	for _, bad := range []string{"user", "user ", "user zz", "user " + strings.Repeat("0", 31), " " + strings.Repeat("0", 32), ""} {
		if _, _, err := run(t, "CRAM-MD5", "nil", bad); !errors.Is(err, ErrSyntax) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if _, _, err := run(t, "CRAM-MD5", "too early"); !errors.Is(err, ErrSyntax) {
		t.Error(err)
	}
}

// The example of RFC 7677 3.
func TestScramVector(t *testing.T) {
	salt, _ := base64.StdEncoding.DecodeString("W22ZaJ0SNY7soEsUEjb6gQ==")
	keys, err := NewKeys("pencil", salt, 4096)
	if err != nil || !keys.Verify("pencil") || keys.Verify("pencils") {
		t.Fatal(err)
	}
	const nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
	s := &scram{step: 1, user: "user", found: true, keys: keys, gs2: "n,,", bare: "n=user,r=rOprNGfwEbeRWgbNEkqO",
		first: "r=" + nonce + ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", nonce: nonce}
	final, done, err := s.Next(context.Background(), []byte("c=biws,r="+nonce+",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="))
	if string(final) != "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=" || done || err != nil {
		t.Errorf("%q, %v, %v", final, done, err)
	}
	if _, done, err := s.Next(context.Background(), []byte{}); !done || err != nil {
		t.Errorf("%v, %v", done, err)
	}
}

// scramClient answers the server's first message.
func scramClient(t *testing.T, gs2, bare, first, password string) string {
	part := strings.Split(first, ",")
	salt, _ := base64.StdEncoding.DecodeString(part[1][2:])
	rounds, _ := strconv.Atoi(part[2][2:])
	salted, err := pbkdf2.Key(sha256.New, password, salt, rounds, 32)
	if err != nil {
		t.Fatal(err)
	}
	key := sign(salted, "Client Key")
	stored := sha256.Sum256(key)
	without := "c=" + base64.StdEncoding.EncodeToString([]byte(gs2)) + "," + part[0]
	subtle.XORBytes(key, key, sign(stored[:], bare+","+first+","+without))
	return without + ",p=" + base64.StdEncoding.EncodeToString(key)
}

func TestScram(t *testing.T) {
	for _, c := range []struct {
		gs2, bare, password string
		want                error
	}{
		{"n,,", "n=tester,r=abcdefghijk", "hunter2", nil},
		{"y,,", "n=tester,r=abcdefghijk", "hunter2", nil},
		{"n,a=tester,", "n=tester,r=abcdefghijk", "hunter2", nil},
		{"n,,", "n=a=2Cb=3Dc,r=abcdefghijk", "x", nil},
		{"n,,", "n=tester,r=abcdefghijk", "wrong", ErrFailed},
		{"n,,", "n=nobody,r=abcdefghijk", "", ErrFailed},
		{"n,a=root,", "n=tester,r=abcdefghijk", "hunter2", ErrFailed},
		{"p=tls-unique,,", "n=tester,r=abcdefghijk", "hunter2", ErrSyntax},
		{"n,,", "m=x,n=tester,r=abcdefghijk", "hunter2", ErrSyntax},
		{"n,,", "n=te=ster,r=abcdefghijk", "hunter2", ErrSyntax},
		{"n,,", "n=tester,r=short", "hunter2", ErrSyntax},
		{"n,,", "n=broken,r=abcdefghijk", "hunter2", errBroken},
		{"", "x", "hunter2", ErrSyntax},
	} {
		x, _ := New("SCRAM-SHA-256", users, "mx.test")
		first, _, err := x.Next(context.Background(), []byte(c.gs2+c.bare))
		if err == nil {
			if _, _, err = x.Next(context.Background(), []byte(scramClient(t, c.gs2, c.bare, string(first), c.password))); err == nil {
				var done bool
				if _, done, err = x.Next(context.Background(), []byte{}); !done {
					t.Errorf("%v: not done", c)
				}
			}
		}
		if !errors.Is(err, c.want) {
			t.Errorf("%v: %v", c, err)
		}
	}
}

func FuzzExchange(f *testing.F) {
	for _, m := range Mechanisms(users) {
		f.Add(m, []byte("\x00tester\x00hunter2"), []byte("tester 00000000000000000000000000000000"), []byte("c=biws,r=x,p=AA=="))
	}
	f.Add("SCRAM-SHA-256", []byte("n,,n=tester,r=abcdefghijk"), []byte("c=biws,r=x,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="), []byte{})
	f.Fuzz(func(t *testing.T, mech string, a, b, c []byte) {
		x, ok := New(mech, users, "mx.test")
		if !ok {
			return
		}
		for _, r := range [][]byte{a, b, c} {
			_, done, err := x.Next(context.Background(), r)
			if done && err == nil {
				if !bytes.Contains(append(append(bytes.Clone(a), b...), c...), []byte("hunter2")) && x.User() != "a,b=c" {
					t.Fatalf("%q is in with %q %q %q", x.User(), a, b, c)
				}
				return
			}
			if err != nil {
				return
			}
		}
	})
}
