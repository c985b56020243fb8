package testsite_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// uucpSite is a host without a daemon, with UUCP neighbours.
type uucpSite struct {
	t   *testing.T
	dir string
}

func newUUCPSite(t *testing.T) *uucpSite {
	t.Helper()
	if err := build(); err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("/tmp", "uucp-site")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	for _, sub := range []string{"uucp", "mail", "spool"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return &uucpSite{t: t, dir: dir}
}

// configure writes the rules file; parameters are added to those of the transport.
func (s *uucpSite) configure(parameters, rules string) {
	s.t.Helper()
	put(s.t, s.dir+"/rules", fmt.Sprintf("host alpha.example\nspool %s/spool\nset log %s/log\nset users /etc/passwd\nclass local { localhost alpha.example alpha }\n"+
		"transport local mbox { path \"%s/mail/$user\" }\ntransport uucp uucp { spool %s/uucp; node alpha; sites beta gamma; %s }\n%s\nuse standard\n", s.dir, s.dir, s.dir, s.dir, parameters, rules))
}

// run runs one of our commands.
func (s *uucpSite) run(input, program string, args ...string) string {
	s.t.Helper()
	cmd := exec.Command(filepath.Join(bin, program), args...)
	cmd.Stdin = strings.NewReader(input)
	cmd.Dir = s.dir
	cmd.Env = []string{"PATH=/usr/bin:/bin", "TZ=UTC", "HOME=/root", "USER=root", "LOGNAME=root"}
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState.ExitCode() != 69 { // a refusal is told
		log, _ := os.ReadFile(s.dir + "/log")
		s.t.Fatalf("%s %q: %v\n%s%s", program, args, err, out, log)
	}
	return string(out)
}

func (s *uucpSite) jobs(site string) int {
	found, _ := filepath.Glob(filepath.Join(s.dir, "uucp", site, "C.", "C.*"))
	return len(found)
}

// A site with a poll schedule is a "queue ... between" rule: until its time mail waits, and the listing says for whom
// and how long; then it goes.
func TestUUCPSchedule(t *testing.T) {
	s := newUUCPSite(t)
	now := time.Now().UTC() // once: an hour may end while the test runs
	window := func(from, to time.Duration) string {
		return now.Add(from).Format("15:04") + " and " + now.Add(to).Format("15:04")
	}
	send := "route {\n    $user+ < @ beta . example >  => uucp beta $user queue between %s\n}\nsend { otherwise now }"
	s.configure("", fmt.Sprintf(send, window(2*time.Hour, 3*time.Hour)))
	s.run("Subject: later\n\nhi\n", "sendmail", "-C", s.dir+"/rules", "-odi", "-f", "root", "bob@beta.example")
	s.run("Subject: now\n\nhi\n", "sendmail", "-C", s.dir+"/rules", "-odi", "-f", "root", "gamma!bob")
	until := "waits for uucp beta until " + now.Add(2*time.Hour).Format("Mon Jan _2 15:04")
	for _, listing := range []string{
		s.run("", "sendmail", "-C", s.dir+"/rules", "-bp"), s.run("", "waybill", "queue", "-C", s.dir+"/rules", "list"), s.run("", "waybill", "queue", "-C", s.dir+"/rules", "--json", "list"),
	} {
		if !strings.Contains(listing, until) || !strings.Contains(listing, "bob@beta.example") || strings.Contains(listing, "gamma") {
			t.Errorf("%q is not in the listing:\n%s", until, listing)
		}
	}
	s.run("", "sendmail", "-C", s.dir+"/rules", "-q")
	if s.jobs("beta") != 0 || s.jobs("gamma") != 1 {
		t.Errorf("before the time: %d jobs for beta, %d for gamma", s.jobs("beta"), s.jobs("gamma"))
	}
	s.configure("", fmt.Sprintf(send, window(-time.Hour, time.Hour)))
	s.run("", "sendmail", "-C", s.dir+"/rules", "-q")
	if s.jobs("beta") != 1 {
		t.Errorf("at the time: %d jobs for beta\n%s", s.jobs("beta"), s.run("", "sendmail", "-C", s.dir+"/rules", "-bp"))
	}
	if listing := s.run("", "sendmail", "-C", s.dir+"/rules", "-bp"); !strings.Contains(listing, "is empty") {
		t.Errorf("left: %s", listing)
	}
}

// A rule file that names uux, with limits per site and a route table.
func TestUUCPByUuxAndRoutes(t *testing.T) {
	s := newUUCPSite(t)
	uux := filepath.Join(s.dir, "uux")
	put(t, uux, fmt.Sprintf("#!/bin/sh\n{ echo \"$*\"; cat; } >>%s/uux.out\n", s.dir))
	put(t, s.dir+"/paths", "delta\tbeta!delta!%s\n.far.example\tgamma!hub!%s\n")
	for name, mode := range map[string]os.FileMode{uux: 0o755, s.dir: 0o777} {
		if err := os.Chmod(name, mode); err != nil {
			t.Fatal(err)
		}
	}
	s.configure("uux "+uux+"; options -r -z; grade N; max-size 1M beta=2K", "table paths pathalias "+s.dir+"/paths\nroute {\n"+
		"    $user+ < @ $site- . UUCP > where paths($site, $user) is $path -> once call by $path\n"+
		"    $user+ < @ $domain+ > where not $domain in local and paths($domain, $user) is $path -> once call by $path\n}\n"+
		"ruleset by {\n    $first- ! $rest+ => uucp $first $rest\n}\nsend { otherwise now }")
	to := func(message string, rcpts ...string) string {
		os.Remove(s.dir + "/uux.out")
		s.run(message, "sendmail", append([]string{"-C", s.dir + "/rules", "-odi", "-oem", "-f", "carol@x.example"}, rcpts...)...)
		text, _ := os.ReadFile(s.dir + "/uux.out")
		return string(text)
	}
	for _, c := range []struct {
		rcpts []string
		want  string
	}{
		{[]string{"delta!bob", "beta!eve"}, "-r -z -gN -ax.example!carol - beta!rmail (delta!bob) (eve)\nFrom x.example!carol "},
		{[]string{"bob@a.far.example"}, "-r -z -gN -ax.example!carol - gamma!rmail (hub!a.far.example!bob)\n"},
	} {
		if got := to("Subject: x\n\nhi\n", c.rcpts...); !strings.HasPrefix(got, c.want) || !strings.HasSuffix(got, "\n\nhi\n") {
			t.Errorf("%q: %s\nwant %s", c.rcpts, got, c.want)
		}
	}
	if got := to("Subject: x\n\n"+strings.Repeat("0123456789\n", 300), "delta!bob"); strings.Contains(got, "delta") {
		t.Errorf("too large for beta: %s", got)
	}
	log, _ := os.ReadFile(s.dir + "/log")
	if !strings.Contains(string(log), "beta takes messages of at most 2048 octets") {
		t.Errorf("log:\n%s", log)
	}
}
