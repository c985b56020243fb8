package recode

import (
	"bytes"
	"encoding/base64"
	"io"
	"mime/quotedprintable"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func convert(t testing.TB, in string) (string, bool) {
	t.Helper()
	plan, err := Scan(strings.NewReader(in))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := plan.Convert(&out, strings.NewReader(in), "mail.example.org id X1"); err != nil {
		t.Fatal(err)
	}
	return out.String(), plan.Needed()
}

func TestConvert(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"7 bit": {"Subject: x\n\nhello\n", "Subject: x\n\nhello\n"},
		"no mime": {"Subject: x\n\nGr\xfc\xdfe aus K\xf6ln =\n.\nend \n",
			"Subject: x\nMIME-Version: 1.0\nContent-Type: text/plain; charset=unknown-8bit\nContent-Transfer-Encoding: quoted-printable\n" +
				"X-MIME-Autoconverted: from 8bit to quoted-printable by mail.example.org id X1\n\nGr=FC=DFe aus K=F6ln =3D\n=2E\nend=20\n"},
		"text": {"MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\nSubject: x\n\na long line of ordinary words with one ü in it, to be broken softly somewhere\n",
			"MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\nSubject: x\n" +
				"X-MIME-Autoconverted: from 8bit to quoted-printable by mail.example.org id X1\n\na long line of ordinary words with one =C3=BC in it, to be broken softly =\nsomewhere\n"},
		"mostly 8 bit": {"MIME-Version: 1.0\nContent-Type: text/plain; charset=koi8-r\nContent-Transfer-Encoding: 8bit\n\n\xd0\xd2\xc9\n\xd7\n",
			"MIME-Version: 1.0\nContent-Type: text/plain; charset=koi8-r\nContent-Transfer-Encoding: base64\n" +
				"X-MIME-Autoconverted: from 8bit to base64 by mail.example.org id X1\n\n" + base64.StdEncoding.EncodeToString([]byte("\xd0\xd2\xc9\r\n\xd7\r\n"))},
		"parts": {"MIME-Version: 1.0\nContent-Type: multipart/mixed;\n boundary=\"b 1\"\nContent-Transfer-Encoding: 8bit\n\npre\xe4mble\n--b 1\nContent-Type: text/plain\n\nplain\n" +
			"--b 1\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\nein Grüß Gott\n\n--b 1\nContent-Type: image/png\nContent-Transfer-Encoding: binary\n\n\x89PNG\n\x00\n" +
			"--b 1\nContent-Type: image/gif\nContent-Transfer-Encoding: base64\n\nAAAA\n--b 1--\nepilogue\n",
			"MIME-Version: 1.0\nContent-Type: multipart/mixed;\n boundary=\"b 1\"\nContent-Transfer-Encoding: 7bit\n\npre?mble\n--b 1\nContent-Type: text/plain\n\nplain\n" +
				"--b 1\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: base64\nX-MIME-Autoconverted: from 8bit to base64 by mail.example.org id X1\n\n" + base64.StdEncoding.EncodeToString([]byte("ein Grüß Gott\r\n")) + "\n" +
				"--b 1\nContent-Type: image/png\nContent-Transfer-Encoding: base64\nX-MIME-Autoconverted: from 8bit to base64 by mail.example.org id X1\n\n" + base64.StdEncoding.EncodeToString([]byte("\x89PNG\r\n\x00")) + "\n" +
				"--b 1\nContent-Type: image/gif\nContent-Transfer-Encoding: base64\n\nAAAA\n--b 1--\nepilogue\n"},
		"message inside": {"MIME-Version: 1.0\nContent-Type: multipart/digest; boundary=o\n\n--o\nContent-Type: message/rfc822\nContent-Transfer-Encoding: 8bit\n\nSubject: in\nContent-Type: multipart/alternative; boundary=i\n\n" +
			"--i\n\nten words and one ü is little here, so quoted it is\n--i--\n--o--\n",
			"MIME-Version: 1.0\nContent-Type: multipart/digest; boundary=o\n\n--o\nContent-Type: message/rfc822\nContent-Transfer-Encoding: 7bit\n\nSubject: in\nContent-Type: multipart/alternative; boundary=i\n\n" +
				"--i\nContent-Transfer-Encoding: quoted-printable\nX-MIME-Autoconverted: from 8bit to quoted-printable by mail.example.org id X1\n\nten words and one =C3=BC is little here, so quoted it is\n--i--\n--o--\n"},
		"no end":     {"Content-Type: text/plain; charset=utf-8\n\nten words and one ü", ""},
		"no header":  {"über\n", ""},
		"empty":      {"", ""},
		"one header": {"Subject: x", "Subject: x"},
	} {
		got, _ := convert(t, c.in)
		if c.want != "" && strings.TrimSuffix(got, "\n") != strings.TrimSuffix(c.want, "\n") {
			t.Errorf("%s: %s", name, cmp.Diff(c.want, got))
		}
		if strings.IndexFunc(got, func(r rune) bool { return r >= 0x80 }) >= 0 {
			t.Errorf("%s: 8-bit octets in %q", name, got)
		}
	}
}

// A message without parts must decode to what it was.
func FuzzConvert(f *testing.F) {
	f.Add("Subject: x\n\nhello ü \t\n=\n")
	f.Add("MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nü\n--b--\n")
	f.Add("Content-Type: message/rfc822\n\nContent-Type: message/rfc822\n\nü")
	f.Add("\xff\n")
	f.Fuzz(func(t *testing.T, in string) {
		if strings.Contains(in, "\r") {
			return
		}
		got, needed := convert(t, in)
		if !needed {
			if got != in && strings.IndexFunc(in, func(r rune) bool { return r >= 0x80 }) < 0 && !strings.Contains(strings.ToLower(in), "content-transfer") {
				t.Errorf("%q became %q without need", in, got)
			}
			return
		}
		_, body, ok := strings.Cut(in, "\n\n")
		head, coded, _ := strings.Cut(got, "\n\n")
		if !ok || strings.Contains(in, "ontent-") || strings.Contains(strings.ToLower(in), "content-") || strings.Contains(head, "=") || !strings.HasPrefix(in, "Subject: x\n\n") {
			return
		}
		var decoded []byte
		var err error
		if strings.Contains(head, "quoted-printable") {
			decoded, err = io.ReadAll(quotedprintable.NewReader(strings.NewReader(coded)))
		} else {
			decoded, err = base64.StdEncoding.DecodeString(strings.ReplaceAll(coded, "\n", ""))
		}
		if err != nil || strings.ReplaceAll(string(decoded), "\r\n", "\n") != body {
			t.Errorf("%q is decoded as %q, %v", body, decoded, err)
		}
	})
}

func TestMemoryDoesNotGrow(t *testing.T) {
	line := strings.Repeat("Zwölf Boxkämpfer jagen Viktor quer über den Deich. ", 3) + "\n"
	source := func() io.Reader {
		readers := []io.Reader{strings.NewReader("MIME-Version: 1.0\nContent-Type: text/plain\n\n")}
		for range 20000 {
			readers = append(readers, strings.NewReader(line))
		}
		return io.MultiReader(readers...)
	}
	first, second := source(), source()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	plan, err := Scan(first)
	if err != nil {
		t.Fatal(err)
	}
	if err := plan.Convert(io.Discard, second, ""); err != nil || !plan.Needed() {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 200<<10 {
		t.Errorf("%d octets were allocated for 3 MB", n)
	}
}
