package uucp

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"waybill/transport"
	"waybill/transport/envelope"
)

// throughUux makes jobs with Taylor's own uux.
func (l *lab) throughUux(c *Config) {
	c.Uux = filepath.Join(l.dir, "uux")
	c.Options = []string{"-r", "-I" + filepath.Join(filepath.Dir(c.Spool), "config")}
}

// Debian's real uux takes our jobs: several users each, only names that it cannot misread, all of them seen by uustat.
func TestTaylorUux(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	u := l.transport("alpha", func(c *Config) { l.throughUux(c); c.MaxCommand = 400 })
	want := map[string]int{}
	body := "Subject: hi\n\nFrom me\n.\n\x00\xff bare \r CR\n" + strings.Repeat("long", 100_000) + "\n"
	refused := 0
	for round := range 3 {
		req := request(hostile...)
		req.Envelope = &envelope.Envelope{ID: "u" + strconv.Itoa(round), Sender: "s@x.example"}
		req.Body = envelope.BytesBody(body)
		for i, s := range u.Deliver(context.Background(), req) {
			name := hostile[i]
			if !plainWord(name) && name[0] != '~' && name[0] != '-' || strings.HasPrefix(name, "~") {
				check(t, s, transport.Failed, "5.1.3")
				refused++
				continue
			}
			check(t, s, transport.Relayed, "2.0.0")
			if name[0] == '-' {
				name = "beta!" + name
			}
			want[strconv.Quote(name)]++
		}
	}
	if refused == 0 || len(want) < 15 {
		t.Errorf("%d names refused, %d taken", refused, len(want))
	}
	jobs := strings.Count(l.run("alpha", "uustat", "-a"), "Executing rmail")
	if jobs < 6 {
		t.Errorf("uustat shows %d jobs:\n%s", jobs, l.run("alpha", "uustat", "-a"))
	}
	l.call()
	got := l.arrived("beta")
	if len(got) != jobs {
		t.Errorf("%d messages arrived, of %d jobs", len(got), jobs)
	}
	for _, a := range got {
		if string(a.Message) != body || a.Sender != "alpha!x.example!s" {
			t.Errorf("from %s: %d octets", a.Sender, len(a.Message))
		}
		for _, r := range a.Recipients {
			want[r]--
		}
	}
	for name, n := range want {
		if n != 0 {
			t.Errorf("%s: %d times too few", name, n)
		}
	}
	if t.Failed() {
		t.Log(l.log("beta"))
	}
}

func TestTaylorUuxBatchAndNullSender(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	batches := l.transport("alpha", func(c *Config) { l.throughUux(c); c.Batch = true })
	for _, s := range batches.Deliver(context.Background(), request("two words", `"a;b"@y`, "bob")) {
		check(t, s, transport.Relayed, "2.0.0")
	}
	null := request("bob")
	null.Envelope.Sender = ""
	check(t, l.transport("alpha", l.throughUux).Deliver(context.Background(), null)[0], transport.Relayed, "2.0.0")
	l.call()
	seen := map[string]int{}
	for _, a := range l.arrived("beta") {
		for _, r := range a.Recipients {
			seen[string(a.Sender)+">"+r]++
		}
	}
	for _, w := range []string{`s@x.example>"two words"`, `s@x.example>"\"a;b\"@y"`, `s@x.example>"bob"`, `>"bob"`} {
		if seen[w] != 1 {
			t.Errorf("%s arrived %d times: %v", w, seen[w], seen)
		}
	}
}

// A spool that uux cannot write, a system that it does not know: not now, and never a bounce.
func TestTaylorUuxRefuses(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	spool := filepath.Join(l.dir, "alpha/spool")
	if err := os.Chmod(spool, 0); err != nil {
		t.Fatal(err)
	}
	check(t, l.transport("alpha", l.throughUux).Deliver(context.Background(), request("bob"))[0], transport.Deferred, "4.3.0")
	if err := os.Chmod(spool, 0o755); err != nil {
		t.Fatal(err)
	}
	u := l.transport("alpha", func(c *Config) { l.throughUux(c); c.Sites = []string{"strange"} })
	req := request("bob")
	req.Host = "strange"
	check(t, u.Deliver(context.Background(), req)[0], transport.Deferred, "4.3.0")
	req.Host = "omega"
	check(t, u.Deliver(context.Background(), req)[0], transport.Failed, "5.1.2")
	wrong := l.transport("alpha", func(c *Config) { l.throughUux(c); c.Options = []string{"-Q"} })
	check(t, wrong.Deliver(context.Background(), request("bob"))[0], transport.Deferred, "4.3.5")
}

// standIn is a uux that writes its arguments and its input down and ends in some way.
func standIn(t *testing.T, end string) (program, out string) {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "uucp-uux")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	program, out = filepath.Join(dir, "uux"), filepath.Join(dir, "out")
	script := "#!/bin/sh\n{ echo \"$0\"; for a; do echo \"<$a>\"; done; cat; } >>" + out + "\n" + end + "\n"
	writeProgram(t, program, []byte(script), 0o755)
	return program, out
}

func TestUuxExitStatus(t *testing.T) {
	for _, c := range []struct {
		end     string
		outcome transport.Outcome
		code    string
	}{
		{"exit 0", transport.Relayed, "2.0.0"}, {"exit 1", transport.Deferred, "4.3.0"}, {"exit 64", transport.Deferred, "4.3.5"}, {"exit 65", transport.Failed, "5.6.0"},
		{"exit 67", transport.Failed, "5.1.1"}, {"exit 68", transport.Failed, "5.1.2"}, {"exit 69", transport.Deferred, "4.3.0"}, {"exit 70", transport.Deferred, "4.3.0"},
		{"exit 71", transport.Deferred, "4.3.0"}, {"exit 73", transport.Deferred, "4.3.0"}, {"exit 75", transport.Deferred, "4.3.0"}, {"exit 77", transport.Deferred, "4.3.0"},
		{"exit 78", transport.Deferred, "4.3.5"}, {"exit 127", transport.Deferred, "4.3.0"}, {"kill -9 $$", transport.Deferred, "4.3.0"},
	} {
		program, _ := standIn(t, c.end)
		u, _ := open(t, Config{Uux: program})
		s := u.Deliver(context.Background(), request("bob"))[0]
		if s.Outcome() != c.outcome || s.Code() != c.code {
			t.Errorf("%s: %v %s %s", c.end, s.Outcome(), s.Code(), s.Text())
		}
	}
	u, _ := open(t, Config{Uux: "/nonexistent/uux"})
	check(t, u.Deliver(context.Background(), request("bob"))[0], transport.Deferred, "4.3.0")
	program, out := standIn(t, "exit 0")
	u, _ = open(t, Config{Uux: program, MaxSize: map[string]int64{"": 10}})
	check(t, u.Deliver(context.Background(), request("bob"))[0], transport.Failed, "5.3.4")
	u, _ = open(t, Config{Uux: program})
	req := request("bob")
	req.Body = brokenBody{}
	check(t, u.Deliver(context.Background(), req)[0], transport.Deferred, "4.3.0")
	if text, err := os.ReadFile(out); err == nil {
		t.Errorf("uux was called: %s", text)
	}
}

func TestUuxArguments(t *testing.T) {
	for _, c := range []struct {
		sender string
		change func(*Config)
		want   string
	}{
		{"s@x.example", func(*Config) {}, "-r -gC -ax.example!s - beta!rmail (bob) (beta!-rf)"},
		{"", func(c *Config) { c.Grade = 'a'; c.Options = []string{"-r", "-z"} }, "-r -z -ga -n - beta!rmail (bob) (beta!-rf)"},
		{"a b@x", func(c *Config) { c.Command = "rmail2" }, "-r -gC - beta!rmail2 (bob) (beta!-rf)"},
		{"-x@y", func(c *Config) { c.Address = FormDom }, "-r -gC - beta!rmail (bob) (beta!-rf)"},
		{"x@y", func(c *Config) { c.Batch, c.Options = true, []string{} }, "-gC -ay!x - beta!rsmtp"},
	} {
		program, out := standIn(t, "exit 0")
		conf := Config{Uux: program, Quoting: true}
		c.change(&conf)
		u, _ := open(t, conf)
		req := request("bob", "-rf")
		req.Envelope.Sender = envelope.Address(c.sender)
		for _, s := range u.Deliver(context.Background(), req) {
			check(t, s, transport.Relayed, "2.0.0")
		}
		text, _ := os.ReadFile(out)
		words := strings.Split(string(text), "\n")
		end := slices.IndexFunc(words, func(w string) bool { return w != "" && w[0] != '<' && w[0] != '/' })
		if got := "<" + strings.ReplaceAll(c.want, " ", ">\n<") + ">"; end < 2 || strings.Join(words[1:end], "\n") != got {
			t.Errorf("%q: %s\nwant %s", c.sender, text, got)
		}
	}
	for name, change := range map[string]func(*Config){
		"relative": func(c *Config) { c.Uux = "uux" }, "layout": func(c *Config) { c.Layout = BNU }, "option": func(c *Config) { c.Options = []string{"beta!rm"} },
		"blank": func(c *Config) { c.Options = []string{"-r -x"} }, "bare": func(c *Config) { c.Options = []string{"-"} }, "no uux": func(c *Config) { c.Uux = ""; c.Options = []string{"-r"} },
	} {
		c := Config{Spool: "/x", Node: "a", Uux: "/usr/bin/uux"}
		change(&c)
		if _, err := New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// Killed at every step beside the real uux: the retry of the queue sees to it that nothing is lost, and nothing is half there.
func TestUuxKilledAtEveryStep(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	steps := []string{"message written", "uux started", "uux ended"}
	for _, step := range steps {
		id := "id-" + strings.ReplaceAll(step, " ", "-")
		for _, at := range []string{step, "never"} {
			cmd := exec.Command(filepath.Join(l.dir, "writer"))
			cmd.Env = append(os.Environ(), "UUCP_TEST_KILL="+at, "UUCP_TEST_ID="+id, "UUCP_TEST_SPOOL="+filepath.Join(l.dir, "alpha/spool"), "UUCP_TEST_UUX="+filepath.Join(l.dir, "uux"))
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: l.cred}
			if err := cmd.Run(); (err == nil) != (at == "never") {
				t.Errorf("%s: %v", at, err)
			}
		}
	}
	l.call()
	seen := map[string]int{}
	for _, a := range l.arrived("beta") {
		if string(a.Message) != "Subject: hi\n\nFrom me\n.\nlast\n" {
			t.Errorf("half a message: %q", a.Message)
		}
		seen[string(a.Sender)]++
	}
	for _, step := range steps {
		if n := seen["alpha!x!id-"+strings.ReplaceAll(step, " ", "-")]; n < 1 || n > 2 {
			t.Errorf("killed at %q: arrived %d times", step, n)
		}
	}
}
