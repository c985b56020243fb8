package testsite_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"waybill/cmd/internal/testsite"
)

// TestExpansion sends to aliases of every kind, and to users with .forward files.
func TestExpansion(t *testing.T) {
	w := newWorld(t, nil)
	dir := w.a.Dir
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("members", "alice\nbob@b.example.test\n# nobody else\n")
	write("aliases", "archive: "+dir+"/archive\nlist: :include:"+dir+"/members\nowner-list: root\nring: rang\nrang: ring\nboss: bob, alice\n")
	write("home/bob/.forward", "\\bob, bob@sink.test\n")
	start(t, w.a, w.b)

	submit(t, w.a, 0, "Subject: for the file\n\nFrom here\n", "archive")
	if err := testsite.Wait(soon(t), func() bool {
		all, _ := testsite.ReadMbox(filepath.Join(dir, "archive"))
		return len(all) == 1 && strings.HasSuffix(string(all[0].Data), "Subject: for the file\n\n>From here\n")
	}); err != nil {
		t.Error("nothing in the file\n", w.a.Trouble())
	}

	submit(t, w.a, 0, "Subject: for the list\n\nx\n", "-f", "alice", "list")
	mailbox(t, w.a, "alice", "for the list")
	contains(t, mailbox(t, w.b, "bob", "for the list"), "Return-Path: <root@a.example.test>")

	submit(t, w.a, 0, "Subject: forwarded\n\nx\n", "bob")
	mailbox(t, w.a, "bob", "Subject: forwarded")
	atSink(t, w, "bob@sink.test")

	r, err := w.a.Sendmail(strings.NewReader("Subject: in circles\n\nx\n"), "-odi", "-oem", "-f", "alice", "ring")
	if err != nil || r.Exit == 0 {
		t.Errorf("an alias loop ends with %+v %v", r, err)
	}
	contains(t, mailbox(t, w.a, "alice", "in circles"), "Action: failed", "Status: 5.4.6")
	if err := w.a.WaitEmpty(soon(t)); err != nil {
		t.Error(err)
	}
}

// TestPriority lets mail of several priorities wait, and looks in which order a queue run sends it.
func TestPriority(t *testing.T) {
	w := newWorld(t, func(a, _ *testsite.Options) { a.Settings = "set deliveries 1\nset retry 1h\n" })
	makeSpool(t, w.a)
	for _, m := range []struct{ to, header string }{
		{"junk", "Precedence: junk"},
		{"ordinary", "X-Mailer: x"},
		{"low", "X-Priority: 5"},
		{"urgent", "Priority: urgent"},
		{"important", "Importance: high"},
	} {
		submit(t, w.a, 0, m.header+"\nSubject: x\n\nx\n", "-odq", m.to+"@sink.test")
	}
	if r, err := w.a.Sendmail(nil, "-q"); err != nil || r.Exit != 0 {
		t.Fatalf("sendmail -q: %+v %v", r, err)
	}
	if err := testsite.Wait(soon(t), func() bool { return len(w.sink.Deliveries()) == 5 }); err != nil {
		t.Fatal(len(w.sink.Deliveries()), " messages came\n", w.a.Trouble())
	}
	place := map[string]int{}
	for i, d := range w.sink.Deliveries() {
		name, _, _ := strings.Cut(strings.Trim(d.Recipients[0], "<"), "@")
		place[name] = i
	}
	for _, pair := range [][2]string{{"urgent", "ordinary"}, {"important", "ordinary"}, {"ordinary", "low"}, {"ordinary", "junk"}} {
		if place[pair[0]] > place[pair[1]] {
			t.Errorf("%s mail went after %s mail: %v", pair[0], pair[1], place)
		}
	}
}

// TestReceiptHeader asks for a receipt as old mail programs do.
func TestReceiptHeader(t *testing.T) {
	w := newWorld(t, nil)
	start(t, w.a)
	submit(t, w.a, 0, "Return-Receipt-To: alice@a.example.test\nSubject: did it arrive\n\nx\n", "-f", "alice", "bob")
	contains(t, mailbox(t, w.a, "alice", "did it arrive"), "Subject: Return receipt", "Action: delivered")
}

// TestSessionOnPipe speaks SMTP with sendmail -bs on its standard input, as alpine and Symfony do.
func TestSessionOnPipe(t *testing.T) {
	w := newWorld(t, nil)
	start(t, w.a)
	dialogue := "EHLO localhost\r\nMAIL FROM:<alice@a.example.test>\r\nRCPT TO:<carol@sink.test>\r\nDATA\r\nSubject: by pipe\r\n\r\n..dot\r\n.\r\nQUIT\r\n"
	r, err := w.a.Sendmail(strings.NewReader(dialogue), "-bs", "-odb", "-oem")
	if err != nil || r.Exit != 0 {
		t.Fatalf("%+v %v\n%s", r, err, w.a.Trouble())
	}
	if !regexp.MustCompile(`(?s)^220 a\.example\.test .*\n250 2\.0\.0 \S+ .*\n221 `).MatchString(r.Out) {
		t.Errorf("the dialogue:\n%s", r.Out)
	}
	if d := atSink(t, w, "carol@sink.test"); !strings.HasSuffix(string(d.Data), "Subject: by pipe\r\n\r\n.dot\r\n") {
		t.Errorf("arrived: %q", d.Data)
	}
}

// TestManyAtOnce lets 40 programs hand over mail at the same time.
func TestManyAtOnce(t *testing.T) {
	w := newWorld(t, nil)
	start(t, w.a)
	const n = 40
	results := make(chan error, n)
	for i := range n {
		go func() {
			r, err := w.a.Sendmail(strings.NewReader(fmt.Sprintf("Subject: crowd %d.\n\nx\n", i)), "bob")
			if err == nil && r.Exit != 0 {
				err = fmt.Errorf("exit %d: %s%s", r.Exit, r.Out, r.Err)
			}
			results <- err
		}()
	}
	for range n {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	if err := testsite.Wait(soon(t), func() bool { all, err := w.a.Mailbox("bob"); return err == nil && len(all) == n }); err != nil {
		t.Fatal(w.a.Trouble())
	}
	for i := range n {
		mailbox(t, w.a, "bob", fmt.Sprintf("Subject: crowd %d.", i))
	}
}
