package qf

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"waybill/transport/envelope"
)

const control = `V8
T1795315168
K1795315200
N2
P60061
MDeferred: Connection refused by else.test.
B8BITMIME
Fdnsw
$_mx.far.test [192.0.2.7]
$rESMTP
$shelo.far.test
qbecause of me
Salice@far.test
A<carol+2Bx@far.test>
!` + "\x12" + ` 3600
Zenv+2B1
Qrfc822;o+2Br@z.test
rRFC822; bob@else.test
RPNSF:bob@else.test
RPN:Carol C <carol@else.test>
Ctheuser:1000:1000:list
RFD:"|/usr/bin/filter -x"
RFD:/var/mail/archive
C:
RPFD:local (a comment)
H?P?Return-Path: <` + "\x81" + `g>
H??Received: from x
	by y
H?D?Date: Sun, 22 Nov 2026 02:39:28 GMT
H?F?From: alice@far.test
H??Subject: one
H?m?X-Mailer-Only: x
.
`

func put(t *testing.T, dir, name, text string) string {
	t.Helper()
	name = filepath.Join(dir, name)
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// fileAt is the control file at path.
func fileAt(t *testing.T, path string) File {
	t.Helper()
	in, err := newPlace(nil, filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	f := File{Path: path, name: filepath.Base(path), in: in}
	if filepath.Base(in.path) == "qf" {
		if f.up, err = newPlace(nil, filepath.Dir(in.path)); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

func openAt(t *testing.T, path string) (*Message, error) {
	t.Helper()
	return fileAt(t, path).Open()
}

func TestReading(t *testing.T) {
	for _, layout := range []string{".", "qd1", "qd2/qf"} {
		dir := t.TempDir()
		at := filepath.Join(dir, layout)
		data := at
		if filepath.Base(at) == "qf" {
			data = filepath.Join(filepath.Dir(at), "df")
		}
		for _, d := range []string{at, data} {
			if err := os.MkdirAll(d, 0o700); err != nil {
				t.Fatal(err)
			}
		}
		put(t, at, "hf6AM2dS80017099", control)
		put(t, data, "df6AM2dS80017099", "body\n.\n")
		var names []string
		if err := Names(dir, func(n File) error { names = append(names, n.Path); return nil }); err != nil || len(names) != 1 {
			t.Fatalf("%s: %v %v", layout, names, err)
		}
		m, err := openAt(t, names[0])
		if err != nil {
			t.Fatal(err)
		}
		e := m.Envelope
		want := []envelope.Recipient{
			{Addr: "bob@else.test", Notify: envelope.NotifySuccess | envelope.NotifyFailure, ORcpt: "rfc822;o+2Br@z.test"},
			{Addr: "carol@else.test", Notify: envelope.NotifyNever},
			{Command: "/usr/bin/filter -x"}, {File: "/var/mail/archive"}, {Addr: "local"},
		}
		if len(e.Recipients) != len(want) {
			t.Fatalf("%+v", e.Recipients)
		}
		for i, r := range e.Recipients {
			if r != want[i] {
				t.Errorf("recipient %d: %+v, want %+v", i, r, want[i])
			}
		}
		if m.Users[2] != "theuser" || m.Aliases[3] != "list" || m.Users[4] != "" {
			t.Errorf("users %q aliases %q", m.Users, m.Aliases)
		}
		if e.Sender != "alice@far.test" || e.EnvID != "env+2B1" || e.Ret != envelope.RetHeaders || e.BodyType != envelope.Body8BitMIME || !e.Arrival.Equal(time.Unix(1795315168, 0)) {
			t.Errorf("%+v", e)
		}
		if o := e.Origin; o.Protocol != "ESMTP" || o.Helo != "helo.far.test" || o.ClientAddr != "192.0.2.7" || o.ClientName != "mx.far.test" || o.UID != -1 || o.Auth != "carol+x@far.test" {
			t.Errorf("%+v", o)
		}
		if b := e.By; !b.Return || !b.Trace || b.Until.Sub(e.Arrival) != time.Hour {
			t.Errorf("%+v", b)
		}
		if m.Tries != 2 || m.LastTry.Unix() != 1795315200 || m.Quarantine != "because of me" || !strings.HasPrefix(m.Why, "Deferred:") || !m.Warned || len(m.Ignored) > 0 {
			t.Errorf("%+v", m)
		}
		text, err := io.ReadAll(m.Body())
		if want := "Received: from x\n\tby y\nDate: Sun, 22 Nov 2026 02:39:28 GMT\nFrom: alice@far.test\nSubject: one\n\nbody\n.\n"; err != nil || string(text) != want || m.Size != int64(len(want)) {
			t.Errorf("%v %q", err, text)
		}
		if _, err := openAt(t, names[0]); !errors.Is(err, ErrBusy) {
			t.Errorf("a locked message: %v", err)
		}
		if err := m.Remove(); err != nil {
			t.Error(err)
		}
		m.Close()
		if _, err := openAt(t, names[0]); !errors.Is(err, ErrGone) {
			t.Errorf("a removed message: %v", err)
		}
	}
}

func TestDamaged(t *testing.T) {
	for name, text := range map[string]string{
		"empty": "", "half": control[:len(control)/2], "no sender": strings.Replace(control, "Salice@far.test\n", "", 1), "zeros": string(make([]byte, 300)),
		"no recipients": "V8\nT1\nSa\n.\n", "version": "V9\nT1\nSa\nRb\n.\n", "no version": "T1\nSa\nRb\n.\n", "time": "V8\nTx\nSa\nRb\n.\n", "no time": "V8\nSa\nRb\n.\n",
	} {
		dir := t.TempDir()
		file := put(t, dir, "qf6AM2dS80017099", text)
		put(t, dir, "df6AM2dS80017099", "x\n")
		if m, err := openAt(t, file); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v %+v", name, err, m)
		}
	}
	dir := t.TempDir()
	file := put(t, dir, "qf6AM2dS80017099", control)
	if _, err := openAt(t, file); !errors.Is(err, ErrDamaged) {
		t.Errorf("without data: %v", err)
	}
	if now, err := fileAt(t, file).SetAside(); err != nil || filepath.Base(now) != "Qf6AM2dS80017099" {
		t.Errorf("%s %v", now, err)
	}
	other := filepath.Join(dir, "qf6AM2dS80017098")
	os.Symlink("/etc/passwd", other)
	if _, err := openAt(t, other); err == nil || !errors.Is(err, unix.ELOOP) {
		t.Errorf("a link: %v", err)
	}
}

func FuzzControl(f *testing.F) {
	f.Add(control)
	f.Add("V8\nT1\nSa\nR:b\n.\n")
	f.Add("V2\nT1\nS<>\nC\nR|x\nH??a:\n\tb\n.\n")
	f.Fuzz(func(t *testing.T, text string) {
		m := &Message{}
		if m.parse(text) != nil {
			return
		}
		if n := len(m.Envelope.Recipients); n == 0 || n != len(m.Users) || n != len(m.Aliases) {
			t.Errorf("%d recipients, %d users, %d aliases", n, len(m.Users), len(m.Aliases))
		}
		for _, r := range m.Envelope.Recipients {
			if (r.Addr == "") == (r.Command == "" && r.File == "") {
				t.Errorf("recipient %+v", r)
			}
		}
	})
}
