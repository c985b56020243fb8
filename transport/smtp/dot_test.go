package smtp

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"math/rand"
	"strings"
	"testing"
	"testing/iotest"
)

func readDots(wire string, bufSize int, bare Bare, one bool) (text string, rest string, d *DotReader, err error) {
	var r io.Reader = strings.NewReader(wire)
	if one {
		r = iotest.OneByteReader(r)
	}
	br := bufio.NewReaderSize(r, bufSize)
	d = NewDotReader(br, bare, 0, 0)
	b, err := io.ReadAll(d)
	left, _ := io.ReadAll(br)
	return string(b), string(left), d, err
}

func TestDotReader(t *testing.T) {
	for _, c := range []struct {
		name, wire, text, rest string
		err                    error
	}{
		{"nothing at all", ".\r\n", "", "", nil},
		{"one line", "a\r\n.\r\nNOOP\r\n", "a\n", "NOOP\r\n", nil},
		{"stuffed dots", "..\r\n...\r\n.. x\r\n..x\r\n....\r\nend\r\n.\r\n", ".\n..\n. x\n.x\n...\nend\n", "", nil},
		{"a dot that was not stuffed", ".x\r\n.\r\n", "x\n", "", nil},
		{"empty lines", "\r\n\r\n.\r\n", "\n\n", "", nil},
		{"8-bit", "gr\xc3\xbc\xff\r\n.\r\n", "gr\xc3\xbc\xff\n", "", nil},
		{"LF.LF", "a\n.\nb\r\n.\r\n", "a", "\n.\nb\r\n.\r\n", ErrBareLF},
		{"CRLF.LF", "a\r\n.\nb\r\n.\r\n", "a\n", "\nb\r\n.\r\n", ErrBareLF},
		{"first line dot LF", ".\nb\r\n.\r\n", "", "\nb\r\n.\r\n", ErrBareLF},
		{"CRLF.CR", "a\r\n.\rb\r\n.\r\n", "a\n", "\rb\r\n.\r\n", ErrBareCR},
		{"CR CRLF", "a\r\r\n.\r\n", "a", "\r\r\n.\r\n", ErrBareCR},
		{"NUL", "a\x00\r\n.\r\n", "a", "\x00\r\n.\r\n", ErrNUL},
		{"dot NUL", ".\x00\r\n.\r\n", "", "\x00\r\n.\r\n", ErrNUL},
		{"cut at once", "", "", "", io.ErrUnexpectedEOF},
		{"cut in a line", "abc", "abc", "", io.ErrUnexpectedEOF},
		{"cut behind a line", "abc\r\n", "abc\n", "", io.ErrUnexpectedEOF},
		{"cut behind the dot", "abc\r\n.", "abc\n", ".", io.ErrUnexpectedEOF},
		{"cut behind dot CR", "abc\r\n.\r", "abc\n", ".\r", io.ErrUnexpectedEOF},
	} {
		for _, one := range []bool{false, true} {
			text, rest, d, err := readDots(c.wire, 16, BareRefuse, one)
			if text != c.text || rest != c.rest || !errors.Is(err, c.err) || d.Ended() != (c.err == nil) {
				t.Errorf("%s (one octet at a time: %v): got %q, left %q, %v", c.name, one, text, rest, err)
			}
		}
	}
}

func TestDotReaderReplaces(t *testing.T) {
	text, rest, d, err := readDots("a\n.\nb\rc\x00\r\r\n.\rX\r\n\n.\r\n.\r\nNOOP\r\n", 16, BareReplace, false)
	if text != "a . b c  \n X\n .\n" || rest != "NOOP\r\n" || err != nil || !d.Ended() {
		t.Errorf("got %q, left %q, %v", text, rest, err)
	}
}

func TestDotReaderLimits(t *testing.T) {
	const wire = "12345\r\n..78\r\n.\r\nNOOP\r\n" // 7 + 5 octets: stuffing does not count (RFC 1870 5)
	for _, c := range []struct {
		size int64
		line int
		err  error
	}{{12, 5, nil}, {11, 0, ErrTooLarge}, {3, 0, ErrTooLarge}, {0, 4, ErrLineTooLong}} {
		for _, size := range []int{16, 4096} {
			br := bufio.NewReaderSize(strings.NewReader(wire), size)
			d := NewDotReader(br, BareRefuse, c.size, c.line)
			_, err := io.ReadAll(d)
			if !errors.Is(err, c.err) || c.err == nil && d.Size() != 12 {
				t.Errorf("size %d line %d: %v, %d octets", c.size, c.line, err, d.Size())
			}
			if err := d.Drain(1000); err != nil {
				t.Errorf("drain: %v", err)
			}
			if rest, _ := io.ReadAll(br); string(rest) != "NOOP\r\n" {
				t.Errorf("size %d line %d: left %q", c.size, c.line, rest)
			}
		}
	}
	d := NewDotReader(bufio.NewReader(strings.NewReader(strings.Repeat("x", 5000))), BareRefuse, 10, 0)
	io.ReadAll(d)
	if err := d.Drain(1000); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a drain without end: %v", err)
	}
}

func TestDotReaderDoesNotWait(t *testing.T) {
	pr, pw := io.Pipe()
	go pw.Write([]byte("first\r\nsec"))
	d := NewDotReader(bufio.NewReader(pr), BareRefuse, 0, 0)
	p := make([]byte, 100)
	n, err := d.Read(p)
	if err != nil || n < len("first\n") {
		t.Errorf("got %q, %v", p[:n], err)
	}
	pw.Close()
}

func writeDots(t *testing.T, limit int, parts ...string) string {
	var out bytes.Buffer
	d := NewDotWriter(bufio.NewWriterSize(&out, 16), limit)
	for _, p := range parts {
		if n, err := d.Write([]byte(p)); n != len(p) || err != nil {
			t.Fatalf("write %q: %d, %v", p, n, err)
		}
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestDotWriter(t *testing.T) {
	for _, c := range []struct{ text, wire string }{
		{"", ".\r\n"},
		{"a\n", "a\r\n.\r\n"},
		{"no end", "no end\r\n.\r\n"},
		{".\n..\n.x\n", "..\r\n...\r\n..x\r\n.\r\n"},
		{"\n\n", "\r\n\r\n.\r\n"},
		{"crlf\r\ntext\r\r\n", "crlf\r\ntext \r\n.\r\n"},
		{"a\rb\n", "a b\r\n.\r\n"},
		{"a\r", "a \r\n.\r\n"},
		{"\r.\r\n", " .\r\n.\r\n"},
		{"\n\r.\r\nMAIL", "\r\n .\r\nMAIL\r\n.\r\n"},
		{"nul\x00\n", "nul \r\n.\r\n"},
		{"\x00\r\x00\n", "   \r\n.\r\n"},
	} {
		if got := writeDots(t, 0, c.text); got != c.wire {
			t.Errorf("%q: got %q, want %q", c.text, got, c.wire)
		}
		if got := writeDots(t, 0, strings.Split(c.text, "")...); got != c.wire {
			t.Errorf("%q, one octet at a time: got %q, want %q", c.text, got, c.wire)
		}
	}
}

// A line that is cut must not begin with a dot, and must not become two header fields.
func TestDotWriterFolds(t *testing.T) {
	text := strings.Repeat("a", 20) + "\n" + strings.Repeat("b", 19) + ".\n" + strings.Repeat("c", 40) + "\n." + strings.Repeat("d", 21)
	const want = "aaaaaaaaaaaaaaaaaaaa\r\n" +
		"bbbbbbbbbbbbbbbbbbb.\r\n" +
		"ccccccccccccccccccc!\r\n cccccccccccccccccc!\r\n ccc\r\n" +
		"..dddddddddddddddddd!\r\n ddd\r\n.\r\n"
	if got := writeDots(t, 20, text); got != want {
		t.Errorf("got\n%s", got)
	}
	if got := writeDots(t, 20, strings.Split(text, "")...); got != want {
		t.Errorf("one octet at a time: got\n%s", got)
	}
}

// sendmail counts anew behind each window of a long line of the body, and cuts a header line as ever.
func TestDotWriterWindow(t *testing.T) {
	text := "h: " + strings.Repeat("a", 47) + "\n\n" + strings.Repeat("b", 90) + ".b\n" + strings.Repeat("c", 45) + ".\n" + strings.Repeat("d", 65) + "\n"
	const want = "h: aaaaaaaaaaaaaaaa!\r\n aaaaaaaaaaaaaaaaaa!\r\n aaaaaaaaaaaaa\r\n\r\n" +
		"bbbbbbbbbbbbbbbbbbb!\r\n bbbbbbbbbbbbbbbbbb!\r\n bbbbbbbbbbbbbbbbbbbbbbbbbbb!\r\n bbbbbbbbbbbbbbbbbb!\r\n bbbbbbbb.b\r\n" +
		"ccccccccccccccccccc!\r\n cccccccccccccccccc!\r\n cccccccc.\r\n" +
		"ddddddddddddddddddd!\r\n dddddddddddddddddd!\r\n dddddddddddddddddddddddddddd\r\n.\r\n"
	for _, parts := range [][]string{{text}, strings.Split(text, "")} {
		var out bytes.Buffer
		d := NewDotWriter(bufio.NewWriter(&out), 20)
		d.Window = 45
		for _, p := range parts {
			d.Write([]byte(p))
		}
		if err := d.Close(); err != nil || out.String() != want {
			t.Errorf("%v, in %d parts:\n%s", err, len(parts), &out)
		}
	}
}

// Whatever is written arrives, in whatever pieces it is cut, and nothing in it ends the message.
func FuzzDots(f *testing.F) {
	for _, s := range []string{"", "a\n.\n", "a\r\n.\r\nb", ".\r\n.\n\x00", "\r\r\n", strings.Repeat("x", 70) + "."} {
		f.Add(s, int64(1), 0)
		f.Add(s, int64(7), 20)
	}
	f.Fuzz(func(t *testing.T, text string, seed int64, limit int) {
		if limit < 0 || limit > 2000 {
			limit = 0
		}
		rnd := rand.New(rand.NewSource(seed))
		var parts []string
		for rest := text; rest != ""; {
			n := 1 + rnd.Intn(len(rest))
			parts = append(parts, rest[:n])
			rest = rest[n:]
		}
		wire := writeDots(t, limit, parts...)
		if whole := writeDots(t, limit, text); whole != wire {
			t.Fatalf("the pieces matter: %q, %q", whole, wire)
		}
		got, rest, d, err := readDots(wire+"NOOP\r\n", 16+rnd.Intn(64), BareRefuse, seed%2 == 0)
		if err != nil || rest != "NOOP\r\n" || d.Size() != int64(len(got)+strings.Count(got, "\n")) {
			t.Fatalf("wire %q: read %q, left %q, size %d, %v", wire, got, rest, d.Size(), err)
		}
		if limit == 0 && strings.Trim(text, "\x00\r") == text && !strings.ContainsAny(text, "\x00\r") && strings.TrimSuffix(got, "\n") != strings.TrimSuffix(text, "\n") {
			t.Fatalf("%q became %q", text, got)
		}
	})
}

// Octets of the wire: the reader takes them, or ends with an error, and Drain leaves it behind CRLF.CRLF.
func FuzzDotReader(f *testing.F) {
	for _, s := range []string{".\r\n", "a\n.\nb\r\n.\r\n", "\r\n.\r", "..\r\n.\r\nX", "a\x00\r\r\n.\r\n"} {
		f.Add(s, int64(5), 3)
	}
	f.Fuzz(func(t *testing.T, wire string, size int64, line int) {
		end := strings.Index("\r\n"+wire, "\r\n.\r\n")
		for _, bare := range []Bare{BareRefuse, BareReplace} {
			br := bufio.NewReaderSize(strings.NewReader(wire), 16)
			d := NewDotReader(br, bare, size, line)
			text, err := io.ReadAll(d)
			if bytes.ContainsAny(text, "\r\x00") {
				t.Fatalf("%q passed", text)
			}
			if err == nil != d.Ended() {
				t.Fatalf("%v, ended %v", err, d.Ended())
			}
			if err := d.Drain(1 << 20); (err == nil) != (end >= 0) {
				t.Fatalf("%q: drain %v", wire, err)
			}
			if rest, _ := io.ReadAll(br); end >= 0 && string(rest) != wire[end+3:] {
				t.Fatalf("%q: left %q", wire, rest)
			}
		}
	})
}

func BenchmarkDotReader(b *testing.B) {
	wire := []byte(strings.Repeat(strings.Repeat("0123456789abcdef", 4)+"abcdefgh\r\n", 14000) + ".\r\n")
	br := bufio.NewReaderSize(nil, 8192)
	p := make([]byte, 8192)
	b.SetBytes(int64(len(wire)))
	for b.Loop() {
		br.Reset(bytes.NewReader(wire))
		d := NewDotReader(br, BareRefuse, 1<<30, 0)
		for {
			if _, err := d.Read(p); err != nil {
				break
			}
		}
	}
}

func BenchmarkDotWriter(b *testing.B) {
	text := []byte(strings.Repeat(strings.Repeat("0123456789abcdef", 4)+"abcdefgh\n", 14000))
	w := bufio.NewWriterSize(io.Discard, 8192)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		d := NewDotWriter(w, 998)
		for p := text; len(p) > 0; p = p[min(len(p), 8192):] {
			d.Write(p[:min(len(p), 8192)])
		}
		d.Close()
	}
}
