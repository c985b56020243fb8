package smtpclient

import (
	"bufio"
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"

	"waybill/transport/envelope"
	"waybill/transport/smtp"
)

func TestBDAT(t *testing.T) {
	long := "Subject: x\n\n.\n.." + strings.Repeat("0123456789\n", 50000) + "end"
	wire := strings.ReplaceAll(long, "\n", "\r\n") + "\r\n"
	for _, ext := range [][]string{{"CHUNKING"}, {"CHUNKING", "PIPELINING"}} {
		for _, c := range []struct {
			stage, answer, want string
			next                bool
			messages            int
		}{
			{"", "", "relayed 2.0.0", false, 1},
			{"BDAT", "451 4.3.1 full", "deferred 4.3.1", false, 0},
			{"BDAT", "552 5.3.4 too large", "failed 5.3.4", false, 0},
			{"BDAT", "close", "deferred 4.4.2", true, 0},
			{"BDAT", "garbage", "deferred 4.5.0", true, 0},
			{"DOT", "554 5.6.0 no", "failed 5.6.0", false, 1},
			{"DOT", "close", "deferred 4.4.2", false, 1},
			{"RCPT", "550 5.1.1 who", "failed 5.1.1", false, 0},
			{"MAIL", "550 5.1.8 no", "failed 5.1.8", false, 0},
		} {
			first, second := startPeer(t, map[string]string{c.stage: c.answer}, ext...), startPeer(t, nil, ext...)
			w := world{twoHosts, map[string]*peer{"192.0.2.1:25": first, "192.0.2.2:25": second}}
			client := w.client(t, nil)
			got := client.Deliver(t.Context(), request("example.com", long, "b@x"))
			want := c.want
			if c.next {
				want = "relayed 2.0.0"
			}
			if outcomes(got) != want || len(first.got()) != c.messages || (len(second.got()) == 1) != c.next {
				t.Errorf("%s %s: %s (%s), %d and %d messages; want %s", c.stage, c.answer, outcomes(got), got[0].Text(), len(first.got()), len(second.got()), want)
			}
			if c.messages == 1 && first.got()[0] != wire {
				t.Errorf("%s %s: message arrived changed", c.stage, c.answer)
			}
			if first.said("DATA") {
				t.Error("DATA beside BDAT")
			}
			if c.stage == "" { // the connection is at rest and good for another
				if got := client.Deliver(t.Context(), request("example.com", "", "b@x")); outcomes(got) != "relayed 2.0.0" || first.count() != 1 {
					t.Error(outcomes(got), first.count())
				}
			}
		}
	}
}

// What goes out in chunks is what goes out behind DATA, without the stuffing, however the message is cut into writes.
func FuzzChunkWriter(f *testing.F) {
	f.Add("a\nb\r\nc\rd\x00\n.\n", uint64(1), 0)
	f.Add(strings.Repeat("x", 3000)+"\n"+strings.Repeat("y", 998)+"\n"+strings.Repeat("z", 999), uint64(2), 998)
	f.Add("\r\r\n\r", uint64(3), 20)
	f.Fuzz(func(t *testing.T, in string, seed uint64, limit int) {
		if limit < 0 || limit > 2000 || (limit > 0 && limit < 16) {
			return
		}
		var want bytes.Buffer
		bw := bufio.NewWriter(&want)
		dw := smtp.NewDotWriter(bw, limit)
		dw.Write([]byte(in))
		dw.Close()
		expect := strings.TrimSuffix(want.String(), ".\r\n")
		expect = strings.TrimPrefix(expect, ".")
		expect = strings.ReplaceAll(expect, "\r\n.", "\r\n")

		var got bytes.Buffer
		lasts := 0
		w := &chunkWriter{buf: new([chunkSize]byte), limit: limit, send: func(chunk []byte, last bool) error {
			got.Write(chunk)
			if last {
				lasts++
			}
			return nil
		}}
		random := rand.New(rand.NewPCG(seed, 0))
		for rest := in; rest != ""; {
			n := 1 + random.IntN(len(rest))
			if _, err := w.Write([]byte(rest[:n])); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if err := w.close(); err != nil || lasts != 1 {
			t.Fatal(err, lasts)
		}
		if got.String() != expect {
			t.Errorf("%q, limit %d:\ngot  %q\nwant %q", in, limit, got.String(), expect)
		}
	})
}

func TestEightBitMail(t *testing.T) {
	const in = "MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\nSchöne Grüße, and a lot of plain words around them\n"
	for _, c := range []struct {
		body envelope.BodyType
		ext  []string
		want string
		mail string
	}{
		{envelope.Body8BitMIME, []string{"8BITMIME"}, "Schöne", "MAIL FROM:<alice@example.org> BODY=8BITMIME"},
		{envelope.Body8BitMIME, nil, "Sch=C3=B6ne", "MAIL FROM:<alice@example.org>"},
		{envelope.BodyUndeclared, nil, "Schöne", "MAIL FROM:<alice@example.org>"},
		{envelope.BodyUndeclared, []string{"8BITMIME", "CHUNKING"}, "Schöne", "MAIL FROM:<alice@example.org>"},
		{envelope.BodyBinaryMIME, []string{"8BITMIME", "CHUNKING"}, "Sch=C3=B6ne", "MAIL FROM:<alice@example.org>"},
	} {
		p := startPeer(t, nil, c.ext...)
		w := world{"", map[string]*peer{"192.0.2.1:25": p}}
		req := request("[192.0.2.1]", in, "b@x")
		req.Envelope.BodyType = c.body
		got := w.client(t, nil).Deliver(t.Context(), req)
		if outcomes(got) != "relayed 2.0.0" || len(p.got()) != 1 || !strings.Contains(p.got()[0], c.want) || p.log()[1] != c.mail {
			t.Errorf("%q to %v: %s, %q, %q", c.body, c.ext, outcomes(got), p.log(), p.got())
		}
		if strings.Contains(c.want, "=") && !strings.Contains(p.got()[0], "\r\nX-MIME-Autoconverted: from 8bit to quoted-printable by client.example id t1\r\n") {
			t.Errorf("no X-MIME-Autoconverted in %q", p.got())
		}
	}
}

func TestSMTPUTF8IsDroppedWhereItIsNotNeeded(t *testing.T) {
	for _, c := range []struct{ head, want string }{
		{"Subject: plain", "relayed 2.0.0"},
		{"Subject: grün", "failed 5.6.7"},
	} {
		p := startPeer(t, nil)
		w := world{"", map[string]*peer{"192.0.2.1:25": p}}
		req := request("[192.0.2.1]", c.head+"\n\nkörper\n", "b@x")
		req.Envelope.SMTPUTF8 = true
		if got := w.client(t, nil).Deliver(t.Context(), req); outcomes(got) != c.want {
			t.Errorf("%s: %s", c.head, outcomes(got))
		}
	}
}

func TestWhatCannotBeRecoded(t *testing.T) {
	many := "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n" + strings.Repeat("--b\n\nü\n", 10002) + "--b--\n"
	p := startPeer(t, nil)
	w := world{"", map[string]*peer{"192.0.2.1:25": p}}
	req := request("[192.0.2.1]", many, "b@x")
	req.Envelope.BodyType = envelope.Body8BitMIME
	if got := w.client(t, nil).Deliver(t.Context(), req); outcomes(got) != "failed 5.6.3" || p.said("MAIL") {
		t.Errorf("%s (%s)", outcomes(got), got[0].Text())
	}
	req.Body = stream{-1}
	if got := w.client(t, nil).Deliver(t.Context(), req); outcomes(got) != "deferred 4.3.0" || p.said("MAIL") {
		t.Errorf("%s (%s)", outcomes(got), got[0].Text())
	}
}
