package smtp

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"waybill/transport/envelope"
)

const allExts = ExtSize | Ext8BitMIME | ExtDSN | ExtUTF8 | ExtBinaryMIME | ExtAuth | ExtRequireTLS | ExtDeliverBy

func TestMailParams(t *testing.T) {
	p, r := ParseMailParams(" SIZE=1000 BODY=8bitmime  RET=hdrs ENVID=QQ+2B1 SMTPUTF8 AUTH=e+3Dmc2@example.com REQUIRETLS BY=120;RT ", allExts)
	if r != nil || p.Size != 1000 || p.Body != envelope.Body8BitMIME || p.Ret != envelope.RetHeaders || p.EnvID != "QQ+2B1" ||
		!p.UTF8 || p.Auth != "e=mc2@example.com" || !p.RequireTLS || *p.By != (DeliverBy{120 * time.Second, true, true}) || p.By.String() != "120;RT" {
		t.Errorf("got %+v, %v", p, r)
	}
	if p, r := ParseMailParams("", allExts); r != nil || p.Size != -1 {
		t.Errorf("nothing: %+v, %v", p, r)
	}
	for in, code := range map[string]int{
		"FOO=BAR": 555, "SIZE=abc": 501, "SIZE=-1": 501, "SIZE=": 501, "SIZE": 501, "SIZE=0x10": 501, "SIZE=+1": 501,
		"SIZE=9999999999999999999999999": 501, "SIZE=18446744073709551626": 552, "SIZE=9223372036854775808": 552,
		"SIZE=10 SIZE=99": 501, "BODY=JUNK": 501, "BODY=7BIT BODY=8BITMIME": 501, "RET=BOGUS": 501, "RET=FULL ret=HDRS": 501,
		"ENVID=" + strings.Repeat("e", 101): 501, "ENVID=a+ZZ": 501, "ENVID=a+0D+0AX-Injected:": 501, "SMTPUTF8=1": 501,
		"BY=0;R": 501, "BY=99999999999;N": 501, "BY=1": 501, "BY=1;X": 501, "BY=+-1;N": 501, "AUTH=a+Z": 501, "REQUIRETLS=1": 501,
		"HOLDFOR=99": 555, "MT-PRIORITY=99": 555, "=x": 501, "-A=x": 501, "SIZE=1=2": 501, "<c@d.test>": 501, "FOO=\x01": 501,
		strings.Repeat("X ", 20): 501,
	} {
		if _, r := ParseMailParams(" "+in, allExts); r == nil || r.Code != code {
			t.Errorf("%s: got %v, want %d", in, r, code)
		}
	}
	for _, in := range []string{"SIZE=1", "BODY=7BIT", "RET=FULL", "ENVID=a", "SMTPUTF8", "AUTH=<>", "REQUIRETLS", "BY=1;N"} {
		if _, r := ParseMailParams(" "+in, 0); r == nil || r.Code != 555 {
			t.Errorf("%s was not offered: got %v", in, r)
		}
		if _, r := ParseMailParams(" "+in, allExts); r != nil {
			t.Errorf("%s: %v", in, r)
		}
	}
	if _, r := ParseMailParams(" BODY=BINARYMIME", Ext8BitMIME); r == nil {
		t.Error("BINARYMIME was not offered")
	}
}

func TestRcptParams(t *testing.T) {
	p, r := ParseRcptParams(" NOTIFY=success,FAILURE ORCPT=rfc822;a+2Bb@relay.test", allExts, false)
	if r != nil || p.Notify != envelope.NotifySuccess|envelope.NotifyFailure || p.ORcpt != "rfc822;a+2Bb@relay.test" {
		t.Errorf("got %+v, %v", p, r)
	}
	for in, code := range map[string]int{
		"FOO=BAR": 555, "SMTPUTF8": 555, "NOTIFY=NEVER,SUCCESS": 501, "NOTIFY=": 501, "NOTIFY=BOGUS": 501, "NOTIFY=NEVER NOTIFY=SUCCESS": 501,
		"ORCPT=foo": 501, "ORCPT=rfc822;": 501, "ORCPT=rfc822;a+Z": 501, "ORCPT=rfc822;a+2b": 501, "ORCPT=rfc822;a ORCPT=rfc822;b": 501,
		"ORCPT=rfc822;" + strings.Repeat("o", 2000): 501, "ORCPT=rfc822;a+0D+0AX": 501, "ORCPT=utf-8;\u00fc@x": 501,
	} {
		if _, r := ParseRcptParams(" "+in, allExts, false); r == nil || r.Code != code {
			t.Errorf("%s: got %v, want %d", in, r, code)
		}
	}
	if _, r := ParseRcptParams(" ORCPT=utf-8;\u00fc@x", allExts, true); r != nil {
		t.Error(r)
	}
}

func TestXtext(t *testing.T) {
	if got := EncodeXtext("a b+c=\u00e9"); got != "a+20b+2Bc+3D+C3+A9" {
		t.Errorf("got %s", got)
	}
	for _, bad := range []string{"+", "+2", "+2b", "+ZZ", "a b", "a=b", "\x7f", "\u00e9"} {
		if _, ok := DecodeXtext(bad); ok {
			t.Errorf("%q passed", bad)
		}
	}
}

func FuzzParams(f *testing.F) {
	f.Add(" SIZE=1 BODY=7BIT ENVID=a+2B RET=FULL BY=-1;NT AUTH=<>")
	f.Add(" NOTIFY=NEVER ORCPT=utf-8;\u00e9@x")
	f.Fuzz(func(t *testing.T, s string) {
		if p, r := ParseMailParams(s, allExts); r == nil {
			if d, ok := DecodeXtext(p.EnvID); !ok || !printable(d) || p.Size < -1 {
				t.Fatalf("%q: %+v", s, p)
			}
			if p.By != nil {
				if again, r := parseBy(p.By.String()); r != nil || *again != *p.By {
					t.Fatalf("%v is read back as %v, %v", p.By, again, r)
				}
			}
		}
		if p, r := ParseRcptParams(s, allExts, true); r == nil && strings.ContainsAny(p.ORcpt, "\r\n\x00 ") {
			t.Fatalf("%q: %+v", s, p)
		}
		if back, ok := DecodeXtext(EncodeXtext(s)); !ok || back != s {
			t.Fatalf("%q: %q", s, back)
		}
	})
}

func TestReplyAppend(t *testing.T) {
	r := &Reply{Code: 550, Enhanced: "5.1.1", Lines: []string{"no\r\nsuch \x1b[31muser\xff", strings.Repeat("word ", 150)}}
	wire := string(r.Append(nil, false))
	for i, line := range strings.SplitAfter(strings.TrimSuffix(wire, "\r\n"), "\r\n") {
		if len(line) > MaxReplyLine || !strings.HasPrefix(line, "550") {
			t.Errorf("line %d: %q", i, line)
		}
	}
	if !strings.HasPrefix(wire, "550-5.1.1 no??such ?[31muser?\r\n550-5.1.1 word") || strings.Count(wire, "\n") != 3 {
		t.Errorf("got %q", wire)
	}
	back, err := ReadReply(bufio.NewReader(strings.NewReader(wire)))
	if err != nil || back.Code != 550 || back.Enhanced != "5.1.1" || len(back.Lines) != 3 {
		t.Errorf("read back: %+v, %v", back, err)
	}
}

func TestReadReply(t *testing.T) {
	for _, c := range []struct {
		in, want string
		err      error
	}{
		{"220 mx ESMTP\r\n", "220 mx ESMTP", nil},
		{"250\r\n", "250 ", nil},
		{"250-a\r\n250-b\n250 c\r\n", "250 a b c", nil},
		{"550-5.1.1 no\r\n550 5.1.1 way\r\n", "550 5.1.1 no way", nil},
		{"550 4.1.1 class differs\r\n", "550 4.1.1 class differs", nil},
		{"354 5.1.1 no code here\r\n", "354 5.1.1 no code here", nil},
		{"250 \x1b[31m\r\n", "250 ?[31m", nil},
		{"", "", io.EOF},
		{"250-a\r\n", "", io.ErrUnexpectedEOF},
		{"250-a", "", io.ErrUnexpectedEOF},
		{"250-a\r\n251 b\r\n", "", ErrReplySyntax},
		{"hello\r\n", "", ErrReplySyntax},
		{"199 x\r\n", "", ErrReplySyntax},
		{"2500 x\r\n", "", ErrReplySyntax},
		{strings.Repeat("2", 3000) + "\r\n", "", ErrReplyLength},
		{strings.Repeat("250-x\r\n", 300), "", ErrReplyLength},
	} {
		r, err := ReadReply(bufio.NewReader(strings.NewReader(c.in)))
		if !errors.Is(err, c.err) || err == nil && r.String() != c.want {
			t.Errorf("%q: got %v, %v", c.in, r, err)
		}
	}
}

func FuzzReadReply(f *testing.F) {
	f.Add("250-a\r\n250 5.1.1 b\r\n")
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ReadReply(bufio.NewReader(strings.NewReader(s)))
		if err != nil {
			return
		}
		back, err := ReadReply(bufio.NewReader(strings.NewReader(string(r.Append(nil, true)))))
		if err != nil || back.Code != r.Code {
			t.Fatalf("%q: read back %+v, %v", s, back, err)
		}
	})
}
