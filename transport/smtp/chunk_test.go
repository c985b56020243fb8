package smtp

import (
	"errors"
	"math/rand"
	"strings"
	"testing"
)

func decodeText(wire string, bare Bare, size int64, line int, seed int64) (string, *TextDecoder, error) {
	rnd := rand.New(rand.NewSource(seed))
	d := NewTextDecoder(bare, size, line)
	var out []byte
	dst := make([]byte, 1+rnd.Intn(20))
	for src := []byte(wire); len(src) > 0; {
		piece := src[:1+rnd.Intn(len(src))]
		n, m, err := d.Decode(dst, piece)
		out = append(out, dst[:n]...)
		if err != nil {
			return string(out), d, err
		}
		if n == 0 && m == 0 {
			return string(out), d, errors.New("no progress")
		}
		src = src[m:]
	}
	rest, err := d.Finish()
	return string(append(out, rest...)), d, err
}

func TestTextDecoder(t *testing.T) {
	for _, c := range []struct {
		wire, text string
		err        error
		replaced   string
	}{
		{"", "", nil, ""},
		{"a\r\n.\r\n..\r\nlast", "a\n.\n..\nlast", nil, "a\n.\n..\nlast"},
		{"a\nb", "a", ErrBareLF, "a b"},
		{"a\rb", "a", ErrBareCR, "a b"},
		{"a\r\r\nb", "a", ErrBareCR, "a \nb"},
		{"a\r", "a", ErrBareCR, "a "},
		{"a\x00b", "a", ErrNUL, "a b"},
		{"\n.\n", "", ErrBareLF, " . "},
	} {
		for seed := range int64(50) {
			if text, _, err := decodeText(c.wire, BareRefuse, 0, 0, seed); text != c.text || !errors.Is(err, c.err) {
				t.Errorf("%q: got %q, %v", c.wire, text, err)
			}
			if text, _, err := decodeText(c.wire, BareReplace, 0, 0, seed); text != c.replaced || err != nil {
				t.Errorf("%q: replaced %q, %v", c.wire, text, err)
			}
		}
	}
	if _, d, err := decodeText("12345\r\n..78\r\n", BareRefuse, 13, 5, 1); err != nil || d.Size() != 13 {
		t.Errorf("%d octets, %v", d.Size(), err)
	}
	if _, _, err := decodeText("12345\r\n..78\r\n", BareRefuse, 11, 5, 1); !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
	if _, _, err := decodeText("12345\r\n..78\r\n", BareRefuse, 0, 4, 1); !errors.Is(err, ErrLineTooLong) {
		t.Error(err)
	}
}

// Chunks and dots are two ways to say the same: what DATA takes, BDAT takes too.
func FuzzTextDecoder(f *testing.F) {
	f.Add("a\r\nb\r\n", int64(1))
	f.Add("a\r\r\n\x00\n", int64(2))
	f.Fuzz(func(t *testing.T, wire string, seed int64) {
		for _, bare := range []Bare{BareRefuse, BareReplace} {
			text, _, err := decodeText(wire, bare, 0, 0, seed)
			if strings.ContainsAny(text, "\r\x00") {
				t.Fatalf("%q passed", text)
			}
			stuffed := strings.ReplaceAll("\r\n"+wire, "\r\n.", "\r\n..")[2:]
			viaDots, _, _, derr := readDots(stuffed+"\r\n.\r\n", 16, bare, false)
			if strings.HasSuffix(wire, "\r") {
				continue // the CR meets the LF of the end mark there
			}
			if err == nil && (derr != nil || viaDots != text+"\n") {
				t.Fatalf("%q: chunks give %q, dots %q, %v", wire, text, viaDots, derr)
			}
			if err != nil && !errors.Is(derr, err) {
				t.Fatalf("%q: chunks %v, dots %v", wire, err, derr)
			}
		}
	})
}
