package smtpclient

import (
	"bufio"
	"context"
	"crypto/hmac"
	"crypto/md5"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// The example of RFC 7677 3.
func TestSCRAMExample(t *testing.T) {
	s := newScram(Credentials{User: "user", Password: "pencil"}, sha256.New)
	s.nonce = "rOprNGfwEbeRWgbNEkqO"
	first, err := s.next(nil)
	if err != nil || string(first) != "n,,n=user,r=rOprNGfwEbeRWgbNEkqO" {
		t.Fatalf("%q %v", first, err)
	}
	final, err := s.next([]byte("r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"))
	if err != nil || string(final) != "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=" {
		t.Fatalf("%q %v", final, err)
	}
	if s.done() {
		t.Error("trusted before the server's signature")
	}
	if _, err := s.next([]byte("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")); err != nil || !s.done() {
		t.Error(err)
	}
}

// loginPeer speaks AUTH with one user, "u" with password "p", and takes mail only afterwards.
func loginPeer(t *testing.T, mechanisms string, misbehave string) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				br := bufio.NewReader(c)
				say := func(f string, a ...any) { fmt.Fprintf(c, f+"\r\n", a...) }
				read := func() string { s, _ := br.ReadString('\n'); return strings.TrimSpace(s) }
				b64 := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
				un := func(s string) string { b, _ := base64.StdEncoding.DecodeString(s); return string(b) }
				say("220 x")
				authed := false
				for {
					line := read()
					verb, arg, _ := strings.Cut(line, " ")
					switch verb {
					case "EHLO":
						say("250-x\r\n250-DSN\r\n250 AUTH%s", mechanisms)
					case "AUTH":
						name, first, _ := strings.Cut(arg, " ")
						ok := false
						switch name {
						case "PLAIN":
							ok = un(first) == "\x00u\x00p"
						case "LOGIN":
							say("334 VXNlcm5hbWU6")
							user := un(read())
							say("334 UGFzc3dvcmQ6")
							ok = user == "u" && un(read()) == "p"
						case "CRAM-MD5":
							say("334 %s", b64("<1@x>"))
							h := hmac.New(md5.New, []byte("p"))
							h.Write([]byte("<1@x>"))
							ok = un(read()) == "u "+hex.EncodeToString(h.Sum(nil))
						case "SCRAM-SHA-256":
							bare := strings.TrimPrefix(un(first), "n,,")
							_, nonce, _ := strings.Cut(bare, ",r=")
							sf := "r=" + nonce + "more,s=" + b64("salt") + ",i=100"
							if misbehave == "nonce" {
								sf = "r=else,s=" + b64("salt") + ",i=100"
							}
							if misbehave == "work" {
								sf = "r=" + nonce + "more,s=" + b64("salt") + ",i=2000000000"
							}
							say("334 %s", b64(sf))
							cf := un(read())
							without, proof, _ := strings.Cut(cf, ",p=")
							salted, _ := pbkdf2.Key(sha256.New, "p", []byte("salt"), 100, 32)
							mac := func(k []byte, s string) []byte { h := hmac.New(sha256.New, k); h.Write([]byte(s)); return h.Sum(nil) }
							ck := mac(salted, "Client Key")
							sum := sha256.Sum256(ck)
							msg := bare + "," + sf + "," + without
							sig := mac(sum[:], msg)
							for i := range sig {
								sig[i] ^= ck[i]
							}
							ok = un(proof) == string(sig)
							if ok && misbehave != "skip" {
								v := mac(mac(salted, "Server Key"), msg)
								if misbehave == "signature" {
									v[0] ^= 1
								}
								say("334 %s", b64("v="+string(base64.StdEncoding.EncodeToString(v))))
								ok = read() == ""
							}
						}
						if authed = ok; ok {
							say("235 2.7.0 ok")
						} else {
							say("535 5.7.8 no")
						}
					case "MAIL":
						if !authed {
							say("530 5.7.0 log in first")
							break
						}
						say("250 ok")
					case "DATA":
						say("354 go")
						for read() != "." {
						}
						say("250 ok")
					case "QUIT", "":
						say("221 bye")
						return
					default:
						say("250 ok")
					}
				}
			}()
		}
	}()
	return ln.Addr().String()
}

func TestLogin(t *testing.T) {
	for _, c := range []struct {
		offer, misbehave, want string
		cred                   Credentials
	}{
		{" PLAIN LOGIN", "", "relayed 2.0.0", Credentials{User: "u", Password: "p", Clear: true}},
		{" LOGIN", "", "relayed 2.0.0", Credentials{User: "u", Password: "p", Clear: true}},
		{"=LOGIN PLAIN", "", "relayed 2.0.0", Credentials{User: "u", Password: "p", Clear: true}},
		{" PLAIN LOGIN", "", "deferred 4.7.0", Credentials{User: "u", Password: "p"}}, // not in clear
		{" CRAM-MD5 PLAIN", "", "relayed 2.0.0", Credentials{User: "u", Password: "p"}},
		{" SCRAM-SHA-256 CRAM-MD5", "", "relayed 2.0.0", Credentials{User: "u", Password: "p"}},
		{" SCRAM-SHA-256", "nonce", "deferred 4.7.8", Credentials{User: "u", Password: "p"}},
		{" SCRAM-SHA-256", "work", "deferred 4.7.8", Credentials{User: "u", Password: "p"}},
		{" SCRAM-SHA-256", "signature", "deferred 4.7.8", Credentials{User: "u", Password: "p"}},
		{" SCRAM-SHA-256", "skip", "deferred 4.7.0", Credentials{User: "u", Password: "p"}},
		{" PLAIN", "", "deferred 4.7.8", Credentials{User: "u", Password: "wrong", Clear: true}},
		{" CRAM-MD5", "", "deferred 4.7.8", Credentials{User: "u", Password: "wrong"}},
		{" SCRAM-SHA-256", "", "deferred 4.7.8", Credentials{User: "u", Password: "wrong"}},
		{" SCRAM-SHA-256 PLAIN", "", "deferred 4.7.0", Credentials{User: "u", Password: "p", Mechanisms: []string{"cram-md5"}}},
		{" GSSAPI", "", "deferred 4.7.0", Credentials{User: "u", Password: "p", Clear: true}},
	} {
		var seen []string
		conf := Config{Hello: "client.example", ConnectTo: loginPeer(t, c.offer, c.misbehave), Timeouts: slow,
			Auth: func(_ context.Context, p Peer) (Credentials, bool, error) {
				return c.cred, p.Host == "[192.0.2.1]", nil
			}}
		client, err := New(conf)
		if err != nil {
			t.Fatal(err)
		}
		req := request("[192.0.2.1]", "x\n", "b@x")
		req.Verbose = func(line string) { seen = append(seen, line) }
		got := client.Deliver(t.Context(), req)
		client.Close()
		if outcomes(got) != c.want {
			t.Errorf("%s %s %+v: %s (%s), want %s", c.offer, c.misbehave, c.cred, outcomes(got), got[0].Text(), c.want)
		}
		if text := strings.Join(seen, "\n"); strings.Contains(text, base64.StdEncoding.EncodeToString([]byte("\x00u\x00p"))) || strings.Contains(text, "cA==") {
			t.Errorf("the password is shown: %s", text)
		}
	}
}

func TestImplicitTLS(t *testing.T) {
	ca := newAuthority(t)
	cert := ca.issue(t, "mx.example.com", -time.Hour, time.Hour)
	p := &peer{script: map[string]string{}, ext: []string{"PIPELINING"}}
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		if c, err := ln.Accept(); err == nil {
			p.serve(c, nil)
			c.Close()
		}
	}()
	w := world{"mx.example.com. A 192.0.2.1", nil}
	c := w.client(t, func(conf *Config) {
		conf.ImplicitTLS, conf.TLS, conf.Dial, conf.ConnectTo = true, TLSVerify, new(net.Dialer).DialContext, ln.Addr().String()
		conf.TLSConfig = &tls.Config{RootCAs: ca.pool()}
	})
	if got := c.Deliver(t.Context(), request("[mx.example.com]:465", "x\n", "b@x")); outcomes(got) != "relayed 2.0.0" || !strings.HasSuffix(got[0].TLS, " verified") {
		t.Error(outcomes(got), got[0].Text(), got[0].TLS)
	}
}

// A server without the password cannot make us trust it, nor break us.
func FuzzSCRAM(f *testing.F) {
	f.Add("r=NONCEmore,s=c2FsdA==,i=10", "v=AAAA")
	f.Add("r=NONCE,s=,i=0", "e=other-error")
	f.Add("m=x,r=NONCEx,s=c2FsdA==,i=10", "")
	f.Fuzz(func(t *testing.T, first, final string) {
		s := newScram(Credentials{User: "u,=", Password: "p"}, sha256.New)
		s.next(nil)
		if strings.Contains(first, "i=") && strings.Contains(first, "00000") {
			return // slow, not wrong
		}
		if _, err := s.next([]byte(strings.ReplaceAll(first, "NONCE", s.nonce))); err != nil {
			return
		}
		s.next([]byte(final))
		if s.done() {
			t.Errorf("trusted after %q and %q", first, final)
		}
	})
}

func FuzzExtensions(f *testing.F) {
	f.Add("SIZE 100\nAUTH PLAIN LOGIN\nAUTH=CRAM-MD5\nLIMITS RCPTMAX=5 MAILMAX=x\n8BITMIME")
	f.Fuzz(func(t *testing.T, text string) {
		e := parseExtensions(append([]string{"x"}, strings.Split(text, "\n")...))
		if e.maxSize < 0 || e.maxMails < 0 || e.maxRcpts < 0 {
			t.Errorf("%q: %+v", text, e)
		}
	})
}
