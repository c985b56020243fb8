package uucp

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"waybill/transport"
	"waybill/transport/envelope"
)

var clock = func() time.Time { return time.Date(2026, 11, 1, 12, 4, 5, 0, time.UTC) }

func open(t *testing.T, c Config) (*UUCP, string) {
	t.Helper()
	if c.Spool == "" {
		c.Spool = t.TempDir()
	}
	if c.Node == "" {
		c.Node = "alphabetical"
	}
	if c.Sites == nil {
		c.Sites = []string{"beta", "gamma"}
	}
	c.Now = clock
	u, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return u, c.Spool
}

func request(users ...string) *transport.Request {
	req := &transport.Request{
		Envelope: &envelope.Envelope{ID: "44KMq1Ab001234", Sender: "s@x.example"}, Host: "beta", Log: slog.New(slog.DiscardHandler),
		Body: envelope.BytesBody("Subject: hi\n\nFrom me\n.\nlast"),
	}
	for _, u := range users {
		req.Recipients = append(req.Recipients, transport.Recipient{User: u, Orig: envelope.Recipient{Addr: envelope.Address(u)}})
	}
	return req
}

func check(t *testing.T, s transport.Status, outcome transport.Outcome, code string) {
	t.Helper()
	if s.Outcome() != outcome || s.Code() != code {
		t.Errorf("%v %s %q, want %v %s", s.Outcome(), s.Code(), s.Text(), outcome, code)
	}
}

// tree is every file below dir with its content; names of command files end behind the grade.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(name)
		rel, _ := filepath.Rel(dir, name)
		if i := strings.Index(rel, "C./C."); i >= 0 {
			rel = rel[:i+6] + "*"
		}
		all = append(all, rel+": "+string(text))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	sort.Strings(all)
	return strings.Join(all, "\n---\n")
}

func TestJob(t *testing.T) {
	u, spool := open(t, Config{Quoting: true, Local: []string{"here.example"}})
	for _, s := range u.Deliver(context.Background(), request("bob", "c!d@e", "-rf", "a b;`c`\xff")) {
		check(t, s, transport.Relayed, "2.0.0")
	}
	want := `beta/C./C.C*: S D.0001 D.alphabeC0001 daemon -C D.0001 0666
S D.X0002 X.alphabeC0002 daemon -C D.X0002 0666

---
beta/D./D.0001: From x.example!s Sun Nov  1 12:04:05 2026 remote from alphabetical
Subject: hi

From me
.
last

---
beta/D.X/D.X0002: U daemon alphabetical
R x.example!s
Z
Q
E
F D.alphabeC0001
I D.alphabeC0001
C rmail bob c!d@e beta!-rf a\040b\073\140c\140\377

---
beta/SEQF: 0002`
	if got := tree(t, spool); got != want {
		t.Errorf("spool:\n%s\nwant:\n%s", got, want)
	}
	// the same again: we were killed after the job was there and before we could say so
	check(t, u.Deliver(context.Background(), request("bob", "c!d@e", "-rf", "a b;`c`\xff"))[0], transport.Relayed, "2.0.0")
	if n := strings.Count(tree(t, spool), "C rmail"); n != 1 {
		t.Errorf("%d jobs for one message", n)
	}
}

// The layout of BNU (HoneyDanBer) spools as Taylor UUCP's manual describes it: all files of a system in its own
// directory, C.systemGNNNN, D.systemNNNNxxx with three more characters, a sequence number of four, and the files named
// at the other end after us.
func TestJobBNU(t *testing.T) {
	u, spool := open(t, Config{Layout: BNU, Grade: 'N', Sites: []string{"betahousehold"}})
	req := request("bob", "c!d")
	req.Host = "betahousehold"
	for _, s := range u.Deliver(context.Background(), req) {
		check(t, s, transport.Relayed, "2.0.0")
	}
	want := `.Sequence/betahousehold: 0001
---
betahousehold/C.betahouN0001: S D.betahou0001001 D.alphabe0001001 daemon -C D.betahou0001001 0666
S D.betahou0001002 X.alphabeN0001 daemon -C D.betahou0001002 0666

---
betahousehold/D.betahou0001001: From x.example!s Sun Nov  1 12:04:05 2026 remote from alphabetical
Subject: hi

From me
.
last

---
betahousehold/D.betahou0001002: U daemon alphabetical
R x.example!s
Z
F D.alphabe0001001
I D.alphabe0001001
C rmail bob c!d
`
	if got := tree(t, spool); got != want {
		t.Errorf("spool:\n%s\nwant:\n%s", got, want)
	}
}

func TestNullSenderAndForms(t *testing.T) {
	for _, c := range []struct {
		sender string
		form   AddressForm
		line   string
		report string
	}{
		{"", FormBang, "From MAILER-DAEMON ", "N\n"},
		{"bob@here.example", FormBang, "From bob ", "R bob\n"},
		{"bob@far.example", FormBang, "From far.example!bob ", "R far.example!bob\n"},
		{"bob@far.example", FormDom, "From bob@far.example ", "R bob@far.example\n"},
		{"gamma!bob", FormBang, "From gamma!bob ", "R gamma!bob\n"},
		{"-x", FormBang, "From -x ", "Z\n"},
		{`"a b"@c`, FormBang, `From c!"a-b" `, "Z\n"},
	} {
		u, spool := open(t, Config{Local: []string{"here.example"}, Address: c.form})
		req := request("bob")
		req.Envelope.Sender = envelope.Address(c.sender)
		check(t, u.Deliver(context.Background(), req)[0], transport.Relayed, "2.0.0")
		got := tree(t, spool)
		if !strings.Contains(got, c.line) || !strings.Contains(got, "alphabetical\n"+c.report) {
			t.Errorf("%q:\n%s", c.sender, got)
		}
	}
}

// The forms are those of sendmail's mailers; the test of whole programs compares with the real one.
func TestAddressForms(t *testing.T) {
	const header = "From: Al <alice>\nReply-To: carol@far.example, alice@here.example\nTo: beta!x, beta!y!z,\n gamma!bob, other!eve, here!dave, d@gamma.UUCP\nSubject: alice\n\nTo: alice\n"
	for _, c := range []struct {
		form         AddressForm
		sender, line string
		jobs         string // the command lines
		header       string
	}{
		{FormBang, "alice@here.example", "From alice DATE remote from here", "rmail a@b.example c!d", header},
		{FormOld, "alice@here.example", "From alice DATE remote from here", "rmail b.example!a|rmail c!d",
			"From: Al <here!alice>\nReply-To: here!far.example!carol, here!alice\nTo: beta!x, y!z,\n here!gamma!bob, here!other!eve, here!dave, here!gamma!d\nSubject: alice\n\nTo: alice\n"},
		{FormNew, "bob@far.example", "From far.example!bob DATE remote from here", "rmail b.example!a c!d",
			"From: Al <here!alice>\nReply-To: here!far.example!carol, here!alice\nTo: beta!x, y!z,\n here!gamma!bob, here!other!eve, here!dave, here!gamma!d\nSubject: alice\n\nTo: alice\n"},
		{FormNew, "beta!bob", "From bob DATE remote from beta", "rmail b.example!a c!d", ""},
		{FormNew, "", "From MAILER-DAEMON DATE remote from here", "rmail b.example!a c!d", ""},
		{FormNew, "@r.example:bob@far.example", "From @r.example:bob@far.example DATE remote from here", "rmail b.example!a c!d", ""},
		{FormUUDom, "alice@here.example", "From here.example!alice DATE", "rmail a@b.example c!d",
			"From: Al <alice@here.example>\nReply-To: carol@far.example, alice@here.example\nTo: beta!x, y!z,\n gamma!bob@here.example, other!eve, here!dave@here.example, gamma!d@here.example\nSubject: alice\n\nTo: alice\n"},
		{FormUUDom, "a!b@far.example", "From far.example!a!b DATE", "rmail a@b.example c!d", ""},
		{FormUUDom, "gamma!b", "From here.example!gamma!b DATE", "rmail a@b.example c!d", ""},
		{FormDom, "alice", "From alice@here.example DATE", "rmail a@b.example c!d",
			"From: Al <alice@here.example>\nReply-To: carol@far.example, alice@here.example\nTo: beta!x, y!z,\n gamma!bob@here.example, other!eve, here!dave@here.example, gamma!d@here.example\nSubject: alice\n\nTo: alice\n"},
		{FormDom, "", "From MAILER-DAEMON DATE", "rmail a@b.example c!d", ""},
	} {
		u, spool := open(t, Config{Node: "here", Host: "here.example", Address: c.form})
		req := request("a@b.example", "c!d")
		req.Envelope.Sender, req.Body = envelope.Address(c.sender), envelope.BytesBody(header)
		for _, s := range u.Deliver(context.Background(), req) {
			check(t, s, transport.Relayed, "2.0.0")
		}
		got := tree(t, spool)
		if line := strings.ReplaceAll(c.line, "DATE", "Sun Nov  1 12:04:05 2026") + "\n"; !strings.Contains(got, ": "+line+c.header) {
			t.Errorf("%d %q: no %q in\n%s", c.form, c.sender, line+c.header, got)
		}
		jobs := strings.Split(c.jobs, "|")
		for _, job := range jobs {
			if strings.Count(got, "C rmail ") != len(jobs) || !strings.Contains(got, "C "+job+"\n") {
				t.Errorf("%d %q: no job %q in\n%s", c.form, c.sender, job, got)
			}
		}
	}
	if _, err := New(Config{Spool: "/x", Node: "here", Batch: true, Address: FormDom}); err == nil {
		t.Error("a batch with an address form")
	}
}

func TestUsersThatCannotTravel(t *testing.T) {
	u, _ := open(t, Config{})
	for user, code := range map[string]string{"a b": "5.1.3", "a;b": "5.1.3", "a\nb": "5.1.3", "": "5.1.3", "\xe4": "5.1.3", "-x": "2.0.0", "../../etc": "2.0.0", strings.Repeat("x!", 150) + "y": "2.0.0", strings.Repeat("x", 600): "5.1.3"} {
		if s := u.Deliver(context.Background(), request(user))[0]; s.Code() != code {
			t.Errorf("%.40q: %s %s, want %s", user, s.Code(), s.Text(), code)
		}
	}
	quoting, _ := open(t, Config{Quoting: true})
	check(t, quoting.Deliver(context.Background(), request("a\nb"))[0], transport.Failed, "5.1.3")
}

func TestSites(t *testing.T) {
	sys := filepath.Join(t.TempDir(), "sys")
	if err := os.WriteFile(sys, []byte("# ours\nsystem delta # a comment\nalias epsilon\nsystem ../evil\nport x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	u, spool := open(t, Config{SysFile: sys})
	for host, code := range map[string]string{"beta": "2.0.0", "BETA": "2.0.0", "delta": "2.0.0", "epsilon": "2.0.0", "omega": "5.1.2", "../evil": "5.1.2", "..": "5.1.2", "": "5.1.2", ".Temp": "5.1.2", "beta\x00": "5.1.2"} {
		req := request("bob")
		req.Host = host
		s := u.Deliver(context.Background(), req)[0]
		if s.Code() != code {
			t.Errorf("%q: %s %s, want %s", host, s.Code(), s.Text(), code)
		}
		if code == "5.1.2" && !strings.Contains(s.Text(), "beta gamma delta epsilon") {
			t.Errorf("%q: %s does not name the neighbours", host, s.Text())
		}
	}
	if _, err := os.Stat(filepath.Join(spool, "..", "evil")); err == nil {
		t.Error("a directory outside the spool")
	}
	if err := os.Remove(sys); err != nil {
		t.Fatal(err)
	}
	check(t, u.Deliver(context.Background(), request("bob"))[0], transport.Deferred, "4.3.0")
}

func TestLimits(t *testing.T) {
	u, spool := open(t, Config{MaxCommand: 60, MaxSize: map[string]int64{"beta": 1000, "": 10}})
	var users []string
	for i := range 20 {
		users = append(users, "user"+strings.Repeat("x", i))
	}
	for _, s := range u.Deliver(context.Background(), request(users...)) {
		check(t, s, transport.Relayed, "2.0.0")
	}
	jobs := 0
	var seen []string
	for line := range strings.Lines(tree(t, spool)) {
		if words, ok := strings.CutPrefix(strings.TrimSpace(line), "C rmail "); ok {
			jobs++
			seen = append(seen, strings.Fields(words)...)
			if len(line) > 63 {
				t.Errorf("long command: %s", line)
			}
		}
	}
	sort.Strings(seen)
	if jobs < 4 || strings.Join(seen, " ") != strings.Join(users, " ") {
		t.Errorf("%d jobs for %q", jobs, seen)
	}
	req := request("bob")
	req.Host = "gamma"
	check(t, u.Deliver(context.Background(), req)[0], transport.Failed, "5.3.4")
	req = request("bob")
	req.Body = envelope.BytesBody(strings.Repeat("x", 1001))
	check(t, u.Deliver(context.Background(), req)[0], transport.Failed, "5.3.4")
}

func TestFailureLeavesNothing(t *testing.T) {
	u, spool := open(t, Config{})
	check(t, u.Deliver(context.Background(), request("bob"))[0], transport.Relayed, "2.0.0")
	before := tree(t, spool)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	check(t, u.Deliver(ctx, request("carol"))[0], transport.Deferred, "4.3.2")
	if err := errors.Join(os.RemoveAll(spool+"/.Temp"), os.WriteFile(spool+"/.Temp", nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	check(t, u.Deliver(context.Background(), request("carol"))[0], transport.Deferred, "4.3.0") // no command file possible
	if err := os.Remove(spool + "/.Temp"); err != nil {
		t.Fatal(err)
	}
	cut := func(s string) string { return s[:strings.Index(s, "beta/SEQF")] }
	if got := tree(t, spool); cut(got) != cut(before) {
		t.Errorf("left over:\n%s\nbefore:\n%s", got, before)
	}
	away, _ := open(t, Config{Spool: "/nonexistent/spool"})
	check(t, away.Deliver(context.Background(), request("bob"))[0], transport.Deferred, "4.3.0")
}

func TestConcurrentJobs(t *testing.T) {
	for _, layout := range []Layout{Taylor, BNU} {
		u, spool := open(t, Config{Layout: layout})
		var all sync.WaitGroup
		for i := range 40 {
			all.Go(func() {
				req := request("user" + strings.Repeat("x", i))
				check(t, u.Deliver(context.Background(), req)[0], transport.Relayed, "2.0.0")
			})
		}
		all.Wait()
		if n := strings.Count(tree(t, spool), "C rmail user"); n != 40 {
			t.Errorf("layout %d: %d jobs, want 40", layout, n)
		}
	}
}

// As root a job belongs to whoever owns the spool: uucico does not run as root and could not read it otherwise.
func TestTheJobBelongsToTheOwnerOfTheSpool(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir, err := os.MkdirTemp("/tmp", "uucp-owner")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chown(dir, 20001, 20002); err != nil {
		t.Fatal(err)
	}
	u, _ := open(t, Config{Spool: dir})
	check(t, u.Deliver(context.Background(), request("bob"))[0], transport.Relayed, "2.0.0")
	err = filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if st := info.Sys().(*syscall.Stat_t); st.Uid != 20001 || st.Gid != 20002 {
			t.Errorf("%s belongs to %d:%d", name, st.Uid, st.Gid)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestSequence(t *testing.T) {
	name := filepath.Join(t.TempDir(), "SEQF")
	for _, c := range []struct{ now, next string }{{"0009", "000A"}, {"000Z", "0010"}, {"0ZZZ", "1000"}, {"9ZZZ", "A000"}, {"ZZZZ", "0000"}, {"zzzz", "0001"}, {"", "0001"}, {"12", "0001"}} {
		if err := os.WriteFile(name, []byte(c.now), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := lockSequence(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.next(); got != c.next {
			t.Errorf("after %q comes %q, want %q", c.now, got, c.next)
		}
		s.close()
	}
}

func TestBatchJob(t *testing.T) {
	u, spool := open(t, Config{Batch: true})
	for _, s := range u.Deliver(context.Background(), request("bob@y", `"a b"@y`, "x>y")) {
		if s.Outcome() != transport.Relayed && s.Code() != "5.1.3" {
			t.Error(s.Text())
		}
	}
	got := tree(t, spool)
	if !strings.Contains(got, "HELO alphabetical\nMAIL FROM:<s@x.example>\nRCPT TO:<bob@y>\nRCPT TO:<\"a b\"@y>\nDATA\nSubject: hi\n\nFrom me\n..\nlast\n.\nQUIT\n") || !strings.Contains(got, "C rsmtp\n") {
		t.Errorf("spool:\n%s", got)
	}
}

func TestDrop(t *testing.T) {
	u, spool := open(t, Config{Batch: true, Layout: Drop})
	for range 2 { // the second time it is there already
		for _, s := range u.Deliver(context.Background(), request("bob@y", "carol@y")) {
			check(t, s, transport.Relayed, "2.0.0")
		}
	}
	req := request("dave@y")
	req.Body = brokenBody{}
	check(t, u.Deliver(context.Background(), req)[0], transport.Deferred, "4.3.0")
	files, _ := filepath.Glob(spool + "/beta/*")
	hidden, _ := filepath.Glob(spool + "/beta/.?*")
	if len(files) != 1 || len(hidden) != 0 || !strings.HasSuffix(files[0], ".bsmtp") {
		t.Fatalf("files %q, hidden %q", files, hidden)
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	if got, err := readBatch(string(text), Caller{}); err != nil || got != "s@x.example>bob@y,carol@y,:Subject: hi\n\nFrom me\n.\nlast\n" {
		t.Errorf("%q %v", got, err)
	}
	if _, err := New(Config{Spool: "/x", Node: "a", Layout: Drop}); err == nil {
		t.Error("a drop without batches is accepted")
	}
}

type brokenBody struct{}

func (brokenBody) Open() (io.ReadCloser, error) {
	return io.NopCloser(io.MultiReader(strings.NewReader("x\n"), errReader{})), nil
}
func (brokenBody) Size() int64 { return -1 }

func TestConfig(t *testing.T) {
	good := Config{Spool: "/x", Node: "a"}
	if _, err := New(good); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*Config){
		"spool": func(c *Config) { c.Spool = "x" }, "node": func(c *Config) { c.Node = "a b" }, "site": func(c *Config) { c.Sites = []string{"../x"} }, "grade": func(c *Config) { c.Grade = '/' },
		"command": func(c *Config) { c.Command = "rmail;x" }, "option": func(c *Config) { c.Command = "-x" }, "login": func(c *Config) { c.Login = "a b" }, "owner": func(c *Config) { c.Owner = "uucp" },
	} {
		c := good
		change(&c)
		if _, err := New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
