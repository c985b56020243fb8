package envelope

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

func TestReadHeader(t *testing.T) {
	for _, c := range []struct {
		name, in string
		fields   []string // "NAME=VALUE"
		rest     string   // what belongs to the body
	}{
		{"ordinary", "To: bob\nSubject: x\n\nbody\n", []string{"To=bob", "Subject=x"}, "body\n"},
		{"folded", "Subject: a\n b\n\tc\nTo: d\n\n", []string{"Subject=a b\tc", "To=d"}, ""},
		{"no body", "To: bob\n", []string{"To=bob"}, ""},
		{"no last line end", "To: bob", []string{"To=bob"}, ""},
		{"no header", "\nTo: bob\n", nil, "To: bob\n"},
		{"nothing", "", nil, ""},
		{"blank before the colon", "Subject \t: x\n\n", []string{"Subject=x"}, ""},
		{"a line that is no field ends it", "To: bob\nhello there\nCc: c\n\n", []string{"To=bob"}, "hello there\nCc: c\n\n"},
		{"a line of one blank ends it", "To: bob\n \nCc: c\n", []string{"To=bob"}, "Cc: c\n"},
		{"a continuation of nothing", " x\nTo: bob\n", nil, " x\nTo: bob\n"},
		{"From_ line", "From bob Sat Nov 21 22:48:11 2026\nTo: bob\n\nx", []string{"To=bob"}, "x"},
		{"From_ line later", "To: bob\nFrom bob Sat Nov 21 22:48:11 2026\n", []string{"To=bob"}, "From bob Sat Nov 21 22:48:11 2026\n"},
		{"quoted From_ line", ">From bob Sat Nov 21\nTo: bob\n", nil, ">From bob Sat Nov 21\nTo: bob\n"},
		{"empty value", "Bcc:\nTo:  \n\n", []string{"Bcc=", "To="}, ""},
		{"8 bit", "Subject: \xc3\xa4\n\n", []string{"Subject=\xc3\xa4"}, ""},
		{"8 bit in a name", "S\xc3\xa4: x\n\n", nil, "S\xc3\xa4: x\n\n"},
		{"bare CR stays", "Subject: a\rb\n\n", []string{"Subject=a\rb"}, ""},
		{"no name", ": x\n\n", nil, ": x\n\n"},
		{"long line", "X: " + strings.Repeat("y", 9000) + "\n\nz", []string{"X=" + strings.Repeat("y", 9000)}, "z"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, r := range []io.Reader{strings.NewReader(c.in), iotest.OneByteReader(strings.NewReader(c.in))} {
				h, err := ReadHeader(r, HeaderLimits{})
				if err != nil {
					t.Fatal(err)
				}
				var got []string
				for _, f := range h.Fields {
					got = append(got, f.Name+"="+f.Value())
				}
				if d := cmp.Diff(c.fields, got); d != "" {
					t.Error(d)
				}
				if rest := c.in[h.Octets:]; rest != c.rest {
					t.Errorf("the body begins with %q, want %q", rest, c.rest)
				}
			}
		})
	}
}

func TestReadHeaderLimits(t *testing.T) {
	many := strings.Repeat("A: b\n", 100)
	for _, c := range []struct {
		name   string
		in     string
		limits HeaderLimits
		fields int
	}{
		{"fields", many + "\n", HeaderLimits{Fields: 10}, 10},
		{"octets", many + "\n", HeaderLimits{Octets: 52}, 10},
		{"lines", "A: b\n" + strings.Repeat(" c\n", 100), HeaderLimits{Lines: 10}, 1},
		{"one endless line", "A: b\nB: " + strings.Repeat("c", 1<<20), HeaderLimits{Octets: 1 << 16}, 1},
	} {
		h, err := ReadHeader(strings.NewReader(c.in), c.limits)
		if !errors.Is(err, ErrHeaderTooLong) || len(h.Fields) != c.fields {
			t.Errorf("%s: got %d fields and %v, want %d and ErrHeaderTooLong", c.name, len(h.Fields), err, c.fields)
		}
	}
	if h, err := ReadHeader(strings.NewReader(many+"\n"), HeaderLimits{Fields: 100, Lines: 100, Octets: 501}); err != nil || len(h.Fields) != 100 {
		t.Errorf("a header that just fits: %d fields, %v", len(h.Fields), err)
	}
	broken := errors.New("disk gone")
	h, err := ReadHeader(io.MultiReader(strings.NewReader("A: b\nB: c"), iotest.ErrReader(broken)), HeaderLimits{})
	if !errors.Is(err, broken) || len(h.Fields) != 1 {
		t.Errorf("a read error: %d fields, %v", len(h.Fields), err)
	}
}

func TestHopsAndLoops(t *testing.T) {
	h, err := ReadHeader(strings.NewReader(`Received: from b.test (b.test [192.0.2.2]) by MAIL.example.org
	with ESMTP id 6ALMsBcd000002 for <bob@example.org>; Sat, 21 Nov 2026 22:00:02 +0000
Received: from by (id fake by mail.example.org id 1 \) ) by b.test. (8.17.1/8.17.1 (x)) with ESMTP
	id ABC; Sat, 21 Nov 2026 22:00:01 +0000
Received: from mail.example.org by c.test; Sat, 21 Nov 2026 22:00:01 +0000
received: (from root@localhost) by mail.example.org; by b.test id 9
X-Received: by mail.example.org id 7
Via: somewhere
To: bob

`), HeaderLimits{})
	if err != nil {
		t.Fatal(err)
	}
	if h.Hops() != 5 {
		t.Errorf("%d hops, want 5", h.Hops())
	}
	for host, want := range map[string][]string{
		"mail.example.org": {"6ALMsBcd000002", ""},
		"b.test":           {"ABC"},
		"c.test":           {""},
		"d.test":           nil,
	} {
		if d := cmp.Diff(want, h.ReceivedBy(host)); d != "" {
			t.Errorf("by %s: %s", host, d)
		}
	}
	if v, ok := h.Get("TO"); !ok || v != "bob" || h.Value("Cc") != "" || len(h.Values("received")) != 4 {
		t.Errorf("lookups: %q %v %q %d", v, ok, h.Value("Cc"), len(h.Values("received")))
	}
}

// FuzzReadHeader holds that the fields' raw texts, one after the other, are what stood in the message up to its body.
func FuzzReadHeader(f *testing.F) {
	f.Add("To: bob\nSubject: x\n y\n\nbody\n")
	f.Add("From x\nReceived: from a (b(c)) by d id e; f\nno field\n")
	f.Add(" \t\n:\nA\x00:b")
	f.Fuzz(func(t *testing.T, in string) {
		limits := HeaderLimits{Octets: 4096, Lines: 100, Fields: 50}
		h, err := ReadHeader(strings.NewReader(in), limits)
		if err != nil && !errors.Is(err, ErrHeaderTooLong) {
			t.Fatal(err)
		}
		if int(h.Octets) > len(in) || int(h.Octets) > limits.Octets || len(h.Fields) > limits.Fields {
			t.Fatalf("%d octets, %d fields of %d octets", h.Octets, len(h.Fields), len(in))
		}
		var raw strings.Builder
		for _, field := range h.Fields {
			raw.WriteString(field.Raw)
			if !strings.HasPrefix(field.Raw, field.Name) || !strings.HasSuffix(field.Raw, "\n") || strings.Contains(field.Value(), "\n") {
				t.Fatalf("field %+v", field)
			}
		}
		section := in[:h.Octets]
		if strings.HasPrefix(section, "From ") {
			_, section, _ = strings.Cut(section, "\n")
		}
		if !strings.HasPrefix(fmt.Sprint(section, "\n"), raw.String()) {
			t.Fatalf("fields %q are not the start of %q", raw.String(), section)
		}
		h.Hops()
		h.ReceivedBy("mail.example.org")
	})
}
