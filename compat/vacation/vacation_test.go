package vacation

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// world is one user, alice, and what her vacation sent.
type world struct {
	t    *testing.T
	home string
	now  time.Time
	sent []string
	log  strings.Builder
	out  strings.Builder
	fail error
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, home: t.TempDir(), now: time.Date(2026, 11, 21, 20, 0, 0, 0, time.UTC)}
	w.write(".vacation.msg", "From: alice@example.org\nSubject: away ($SUBJECT)\nPrecedence: bulk\n\nI am away.\n")
	return w
}

func (w *world) write(name, text string) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.home, name), []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) run(in string, args ...string) int {
	w.t.Helper()
	return Run(args, Env{
		In: strings.NewReader(in), Out: &w.out, Err: &w.out, Now: w.now,
		Home: func(login string) (string, bool) { return w.home, login == "alice" },
		Log:  func(line string) { w.log.WriteString(line + "\n") },
		Send: func(args []string, m io.Reader) error {
			text, _ := io.ReadAll(m)
			w.sent = append(w.sent, fmt.Sprintf("%q\n%s", args, text))
			return w.fail
		},
	})
}

const question = "From zed@example.com Sat Nov 21 20:00:00 2026\nFrom: Zed <zed@example.com>\nTo: Alice <alice@example.org>\nSubject: question\nMessage-Id: <q@example.com>\n\nWhere are you?\n"

func TestReply(t *testing.T) {
	w := newWorld(t)
	if exit := w.run(question, "alice"); exit != 0 {
		t.Fatal(exit, w.log.String())
	}
	want := `["-f" "alice" "--" "zed@example.com"]
To: zed@example.com
Auto-Submitted: auto-replied
In-Reply-To: <q@example.com>
References: <q@example.com>
From: alice@example.org
Subject: away (question)
Precedence: bulk

I am away.
`
	if len(w.sent) != 1 || w.sent[0] != want {
		t.Errorf("%q", w.sent)
	}
}

func TestOncePerInterval(t *testing.T) {
	w := newWorld(t)
	w.run("", "-i", "-r", "3", "alice")
	step := func(days int, want int) {
		t.Helper()
		w.now = w.now.Add(time.Duration(days) * 24 * time.Hour)
		w.run(question, "alice")
		if len(w.sent) != want {
			t.Errorf("%d replies, not %d", len(w.sent), want)
		}
	}
	step(0, 1)
	step(2, 1)
	step(1, 2)
	w.run(strings.Replace(question, "From zed@", "From ZED@", 1), "alice")
	if len(w.sent) != 2 {
		t.Error("the same sender in capitals got another reply")
	}
	w.run("", "-i", "-r", "infinite", "alice")
	step(0, 3)
	step(10000, 3)
}

func TestWhoGetsNoReply(t *testing.T) {
	for name, change := range map[string][2]string{
		"not named":         {"To: Alice <alice@example.org>", "To: list@example.org"},
		"part of a name":    {"Alice <alice@", "M <malice@"},
		"null sender":       {"From zed@example.com ", "From <> "},
		"mailer-daemon":     {"From zed@", "From MAILER-DAEMON@"},
		"owner":             {"From zed@", "From owner-list@"},
		"request":           {"From zed@", "From list-Request@"},
		"bounces":           {"From zed@", "From list-bounces@"},
		"bang path daemon":  {"From zed@example.com", "From a!b!uucp"},
		"option as sender":  {"From zed@example.com", "From -Xfile"},
		"precedence":        {"Subject:", "Precedence: Bulk\nSubject:"},
		"automatic":         {"Subject:", "Auto-Submitted: auto-generated (x)\nSubject:"},
		"list":              {"Subject:", "List-Id: <x.example.org>\nSubject:"},
		"list by its means": {"Subject:", "List-Unsubscribe: <mailto:x@example.org>\nSubject:"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			in := strings.ReplaceAll(question, change[0], change[1])
			if in == question {
				t.Fatal("nothing was changed")
			}
			if exit := w.run(in, "alice"); exit != 0 || len(w.sent) != 0 || w.log.Len() > 0 {
				t.Errorf("exit %d, log %q, sent %q", exit, w.log.String(), w.sent)
			}
		})
	}
}

func TestWhoGetsOne(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		in   string
	}{
		"alias":                   {[]string{"-a", "team", "alice"}, strings.Replace(question, "alice@", "team@", 1)},
		"second alias in Cc":      {[]string{"-a", "x", "-a", "team", "alice"}, strings.Replace(question, "To: Alice <alice@example.org>", "Cc: a@b,\n\tteam@example.org", 1)},
		"-j answers lists":        {[]string{"-j", "alice"}, strings.Replace(question, "alice@example.org", "list@example.org", 1)},
		"Auto-Submitted: no":      {[]string{"alice"}, strings.Replace(question, "Subject:", "Auto-Submitted: no\nSubject:", 1)},
		"-s without a From line":  {[]string{"-s", "zed@example.com", "alice"}, question[strings.Index(question, "\n")+1:]},
		"null sender of a reply":  {[]string{"-z", "alice"}, question},
		"another envelope sender": {[]string{"-R", "away@example.org", "alice"}, question},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if exit := w.run(c.in, c.args...); exit != 0 || len(w.sent) != 1 {
				t.Fatalf("exit %d, log %q, sent %q", exit, w.log.String(), w.sent)
			}
			want := `["-f" "alice" "--" "zed@example.com"]`
			switch c.args[0] {
			case "-z":
				want = `["-f" "<>" "--" "zed@example.com"]`
			case "-R":
				want = `["-f" "away@example.org" "--" "zed@example.com"]`
			}
			if !strings.HasPrefix(w.sent[0], want+"\n") {
				t.Error(w.sent[0])
			}
		})
	}
}

func TestExclusionList(t *testing.T) {
	w := newWorld(t)
	if exit := w.run("boss@example.org\n@EXAMPLE.com\n", "-i", "-x", "alice"); exit != 0 {
		t.Fatal(exit, w.log.String())
	}
	w.run(question, "alice")
	if len(w.sent) != 0 {
		t.Error(w.sent)
	}
	w.run("", "-l", "alice")
	if !strings.Contains(w.out.String(), "@example.com") || !strings.Contains(w.out.String(), "(exclusion)") {
		t.Error(w.out.String())
	}
}

func TestSubjectAddsNoField(t *testing.T) {
	w := newWorld(t)
	w.run(strings.Replace(question, "Subject: question", "Subject: a\n\tb\rBcc: evil", 1), "alice")
	if len(w.sent) != 1 || strings.Contains(w.sent[0], "\nBcc") || strings.ContainsRune(w.sent[0], '\r') {
		t.Errorf("%q", w.sent)
	}
}

func TestErrors(t *testing.T) {
	for _, c := range []struct {
		in   string
		args []string
		exit int
		log  string
	}{
		{question, nil, 64, "one login name is needed"},
		{question, []string{"-q", "alice"}, 64, "invalid option -- 'q'"},
		{question, []string{"alice", "-a"}, 64, "one login name is needed"},
		{question, []string{"-a"}, 64, "option requires an argument -- 'a'"},
		{question, []string{"bob"}, 67, `no such user "bob"`},
		{"To: alice\n\n", []string{"alice"}, 65, "no initial \"From\" line"},
		{question, []string{"-m", "nothing", "alice"}, 66, "nothing: no such file or directory"},
		{question, []string{"-f", ".vacation.msg", "alice"}, 65, "another vacation made it"},
	} {
		w := newWorld(t)
		if exit := w.run(c.in, c.args...); exit != c.exit || !strings.Contains(w.log.String(), c.log) || len(w.sent) > 0 {
			t.Errorf("%q: exit %d, log %q, sent %q", c.args, exit, w.log.String(), w.sent)
		}
	}
	w := newWorld(t)
	w.fail = errors.New("no sendmail")
	if exit := w.run(question, "alice"); exit != 75 {
		t.Errorf("sendmail fails: exit %d", exit)
	}
}

func TestForgottenSendersLeaveTheFile(t *testing.T) {
	s := &store{interval: week}
	now := time.Unix(1_800_000_000, 0)
	for i := range 50 {
		s.due(fmt.Sprintf("a%d@example.org", i), now)
	}
	s.exclude("never@example.org")
	if !s.due("b@example.org", now.Add(week)) || len(s.entries) != 2 {
		t.Errorf("%d entries", len(s.entries))
	}
}

func FuzzStore(f *testing.F) {
	f.Add("waybill-vacation 1 604800\n1 a@b\nnever @c\n\nx\n")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := parseStore(strings.NewReader(text), "f")
		if err == nil {
			s.due("a@b", time.Unix(1_800_000_000, 0))
		}
	})
}

// -U has no home directory where the usual files could be.
func TestWithoutUserBothFilesAreNamed(t *testing.T) {
	w := newWorld(t)
	if exit := w.run(question, "-U", "-f", "db", "alice"); exit != 66 || len(w.sent) != 0 {
		t.Errorf("exit %d, sent %v", exit, w.sent)
	}
}
