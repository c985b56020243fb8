package binarymime

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"math/rand"
	"mime"
	"mime/multipart"
	"net/mail"
	"strings"
	"testing"
	"testing/iotest"

	"waybill/transport/smtp"
)

func convert(t testing.TB, wire string, bare smtp.Bare) (string, error) {
	t.Helper()
	var first string
	var firstErr error
	for i, src := range []io.Reader{strings.NewReader(wire), iotest.OneByteReader(strings.NewReader(wire)), iotest.HalfReader(strings.NewReader(wire)), iotest.DataErrReader(strings.NewReader(wire))} {
		out, err := io.ReadAll(NewReader(src, bare))
		if i == 0 {
			first, firstErr = string(out), err
		} else if string(out) != first || !errors.Is(err, firstErr) {
			t.Fatalf("the pieces matter: %q, %v; %q, %v", first, firstErr, out, err)
		}
	}
	return first, firstErr
}

func TestPlainMessagesPass(t *testing.T) {
	for _, text := range []string{
		"", "Subject: x\n", "Subject: x\n\n", "Subject: x\n\nbody\n", "Subject: x\n\nno end", "no header\n",
		"Content-Transfer-Encoding: 8bit\n\ngr\xfc\xdfe\n", "Subject: a\n b\n\n--not a boundary\n",
		"Content-Type: multipart/mixed; boundary=x\n\npre\n--x\n\none\n--x\nA: b\n\ntwo\n--x--\nepilogue\n",
		"Content-Type: multipart/mixed; boundary=\"a b\"\nContent-Transfer-Encoding: 8bit\n\n--a b \n\none\n--a b--",
		"Subject: x\n\n" + strings.Repeat("long", 5000) + "\n",
	} {
		got, err := convert(t, strings.ReplaceAll(text, "\n", "\r\n"), smtp.BareRefuse)
		want := text
		if strings.HasSuffix(want, "--a b--") {
			want += "\n" // a delimiter ends its line
		}
		if got != want || err != nil {
			t.Errorf("%q: got %q, %v", text, got, err)
		}
	}
}

func TestBinaryParts(t *testing.T) {
	rnd := rand.New(rand.NewSource(1))
	blob := make([]byte, 20000)
	rnd.Read(blob)
	copy(blob[100:], "\r\n--y\r\n\r\n--xx\r\n\x00\r\n")
	for _, data := range [][]byte{blob, blob[:1], {}, []byte("\r\n"), []byte("a\r\n\r\n"), blob[:57], blob[:58], []byte("\r"), []byte("\n")} {
		wire := "Content-Type: multipart/mixed; boundary=x\r\nMIME-Version: 1.0\r\nContent-Transfer-Encoding: binary\r\n\r\npre\r\n" +
			"--x\r\nContent-Transfer-Encoding: BINARY (really)\r\nContent-Type: image/png\r\n\r\n" + string(data) + "\r\n" +
			"--x\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: binary\r\n\r\nSubject: inner\r\nContent-Transfer-Encoding: binary\r\n\r\n" + string(data) +
			"\r\n--x--\r\n"
		got, err := convert(t, wire, smtp.BareRefuse)
		if err != nil {
			t.Fatal(err)
		}
		m, err := mail.ReadMessage(strings.NewReader(got))
		if err != nil || m.Header.Get("Content-Transfer-Encoding") != "8bit" {
			t.Fatalf("%v, %v", err, m.Header)
		}
		_, params, _ := mime.ParseMediaType(m.Header.Get("Content-Type"))
		parts := multipart.NewReader(m.Body, params["boundary"])
		for i := range 2 {
			p, err := parts.NextRawPart()
			if err != nil {
				t.Fatal(err)
			}
			body := io.Reader(p)
			head := p.Header.Get("Content-Transfer-Encoding")
			if i == 1 {
				if head != "8bit" {
					t.Errorf("message: %s", head)
				}
				inner, err := mail.ReadMessage(p)
				if err != nil {
					t.Fatal(err)
				}
				head, body = inner.Header.Get("Content-Transfer-Encoding"), inner.Body
			}
			back, err := io.ReadAll(base64.NewDecoder(base64.StdEncoding, body))
			if head != "base64" || err != nil || !bytes.Equal(back, data) {
				t.Errorf("part %d of %d octets: %s, %d octets back, %v", i, len(data), head, len(back), err)
			}
		}
	}
}

func TestBinaryWithoutMultipart(t *testing.T) {
	got, err := convert(t, "Subject: x\r\nContent-Transfer-Encoding: binary\r\n\r\n\x00\n\r\x01\r\n", smtp.BareRefuse)
	if want := "Subject: x\nContent-Transfer-Encoding: base64\n\nAAoNAQ0K\n"; got != want || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

func TestTextPartsAreStillChecked(t *testing.T) {
	for wire, want := range map[string]error{
		"Subject: x\r\n\r\na\nb\r\n": smtp.ErrBareLF, "Subject: x\r\n\r\na\rb\r\n": smtp.ErrBareCR, "Subject: x\x00\r\n\r\n": smtp.ErrNUL,
		"A: " + strings.Repeat("x", 40000) + "\r\n\r\n":                                 ErrStructure,
		strings.Repeat("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n", 100): ErrStructure,
	} {
		if _, err := convert(t, wire, smtp.BareRefuse); !errors.Is(err, want) {
			t.Errorf("%.40q: %v", wire, err)
		}
	}
	if got, err := convert(t, "Subject: x\r\n\r\na\nb\rc\x00\r\n", smtp.BareReplace); got != "Subject: x\n\na b c \n" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

// Whatever comes in, what goes out is text, and the pieces do not matter.
func FuzzReader(f *testing.F) {
	f.Add("Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Transfer-Encoding: binary\r\n\r\n\x00\r\n--x--\r\n")
	f.Add("Content-Transfer-Encoding: binary\r\n\r\n\r\n\r")
	f.Add("Content-Type: message/rfc822\r\n\r\nContent-Transfer-Encoding: binary\r\n\r\n\n")
	f.Fuzz(func(t *testing.T, wire string) {
		for _, bare := range []smtp.Bare{smtp.BareRefuse, smtp.BareReplace} {
			got, err := convert(t, wire, bare)
			if strings.ContainsAny(got, "\r\x00") {
				t.Fatalf("%q became %q", wire, got)
			}
			if bare == smtp.BareReplace && err != nil && !errors.Is(err, ErrStructure) {
				t.Fatalf("%q: %v", wire, err)
			}
		}
	})
}
