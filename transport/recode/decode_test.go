package recode_test

import (
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"waybill/transport/envelope"
	"waybill/transport/recode"
)

// TestDecode has what the real sendmail was seen to make of such messages for a local mailer.
func TestDecode(t *testing.T) {
	for _, c := range []struct{ encoding, in, want string }{
		{"quoted-printable", "caf=C3=A9 soft=\nbreak =3D =\n\n.dot\nFrom x =20\nend=\n", "caf\u00e9 softbreak = \n.dot\nFrom x  \nend\n"},
		{"Quoted-Printable", "plain =3d\n", "plain =\n\n"},
		{"quoted-printable", "=E9\r\nx= \t\r\ny\r\n", "\xe9\nxy\n\n"},
		{"quoted-printable", "=00=01\t=7F\n", "\x00\x01\t\x7f\n\n"},
		{"quoted-printable", "a=", "a\n"},
		{"quoted-printable", "a=Z =4", "a=Z =4\n"},
		{"quoted-printable", strings.Repeat("x=\n", 5000), strings.Repeat("x", 5000) + "\n"},
		{"base64", "w6kNCsOpCg==\n", "\u00e9\n\u00e9\n\n"},
		{"base64", "YWJj\n", "abc\n\n"},
		{"base64", "AAEC\nRnJvbSB4Cg==\n", "\x00\x01\x02From x\n\n"},
		{"BASE64", "Y W!\nJj DQ==trailing", "abc\r\n\n"},
		{"base64", "", "\n"},
	} {
		body, err := recode.Decode(envelope.BytesBody("H: x\n\n"+c.in), 6, c.encoding)
		if err != nil {
			t.Fatal(err)
		}
		r, err := body.Open()
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(iotest.OneByteReader(r))
		if string(got) != c.want || err != nil || body.Size() != int64(len(got)) {
			t.Errorf("%s %.40q: %.60q %v, size %d, want %.60q", c.encoding, c.in, got, err, body.Size(), c.want)
		}
		r.Close()
	}
}
