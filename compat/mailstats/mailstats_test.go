package mailstats_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"waybill/compat/mailstats"
)

// realMailstats is Debian's program, unpacked by "make peers".
func realMailstats(t *testing.T) string {
	t.Helper()
	peers := os.Getenv("PEERS")
	if peers == "" {
		peers = "../../run/peers"
	}
	file := filepath.Join(peers, "sendmail/usr/libexec/sendmail/mailstats")
	if _, err := os.Stat(file); err != nil {
		if os.Getenv("CI") == "" && os.Geteuid() != 0 {
			t.Skipf("%v; \"make peers\" unpacks it", err)
		}
		t.Fatalf("%v; \"make peers\" unpacks it", err)
	}
	return file
}

func sample() (s mailstats.Statistics) {
	s.Since = time.Unix(1795313555, 0)
	s.In, s.Out, s.Refused = 12345, 678, 9
	for i, n := range []int{3, 4, 24} {
		k := int64(i+1) * 1000
		s.Mailers[n] = mailstats.Mailer{From: k + 1, FromK: k + 2, To: k + 3, ToK: k + 4, Rejected: k + 5, Discarded: k + 6, Quarantined: k + 7}
	}
	return s
}

const config = `V10/Berkeley
O StatusFile=FILE
Mlocal,	P=/bin/cat, F=lsDFM, A=cat $u
Mprog,	P=/bin/sh, F=lsDFM, A=sh -c $u
Msmtp,	P=[IPC], F=mDFM, A=TCP $h
`

// The real mailstats reads what we write, and prints what we print.
func TestAsTheRealOne(t *testing.T) {
	program, dir := realMailstats(t), t.TempDir()
	file, cf := filepath.Join(dir, "st"), filepath.Join(dir, "t.cf")
	if err := os.WriteFile(cf, []byte(strings.ReplaceAll(config, "FILE", file)), 0o600); err != nil {
		t.Fatal(err)
	}
	s := sample()
	names := []string{"prog", "*file*", "*include*", "local", "smtp"}
	for _, tt := range []struct{ args, content string }{
		{"", ""}, {"-o", ""}, {"-P", ""}, {"-o -P", ""}, {"-p", ""},
		{"", "empty"}, {"-P", "empty"},
	} {
		content := s.Encode()
		if tt.content == "empty" {
			content = nil
		}
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(program, append(strings.Fields(tt.args), "-C", cf)...)
		cmd.Env = append(os.Environ(), "TZ=UTC")
		want, err := cmd.CombinedOutput()
		now := time.Now().UTC()
		if err != nil {
			t.Fatalf("mailstats %s: %v\n%s", tt.args, err, want)
		}
		o, err := mailstats.Parse(strings.Fields(tt.args))
		if err != nil {
			t.Fatal(err)
		}
		left, err := os.ReadFile(file)
		if err != nil || (len(left) == 0) != (o.Clear || content == nil) {
			t.Errorf("mailstats %s leaves %d octets, %v", tt.args, len(left), err)
		}
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		read, err := mailstats.Read(file, o.Clear)
		if err != nil {
			t.Fatal(err)
		}
		if !read.Since.IsZero() {
			read.Since = read.Since.UTC()
		}
		var got bytes.Buffer
		if err := read.Print(&got, o, names, now); err != nil {
			t.Fatal(err)
		}
		// The number of a mailer that the configuration does not have gets no name; both print blanks only. The
		// second in which it was printed may have changed.
		if g, w := trim(got.String()), trim(string(want)); g != w && !(tt.content == "empty" || o.Plain) {
			t.Errorf("mailstats %s\n%s\nthe real one:\n%s", tt.args, g, w)
		} else if tt.content == "empty" || o.Plain {
			_, g, _ := strings.Cut(g, "\n")
			_, w, _ := strings.Cut(w, "\n")
			if g != w {
				t.Errorf("mailstats %s\n%s\nthe real one:\n%s", tt.args, g, w)
			}
		}
	}
}

func trim(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n")
}

// made is what becomes of a new file.
func made(*os.File) error { return nil }

func TestRecorder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "statistics")
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			r := mailstats.NewRecorder(file, made, func(err error) { t.Error(err) })
			for range 100 {
				r.CountMailer(3, func(m *mailstats.Mailer) { m.To++; m.ToK += mailstats.Kilobytes(1001) })
				r.Count(func(s *mailstats.Statistics) { s.In++ })
				r.CountMailer(mailstats.Mailers, func(*mailstats.Mailer) { t.Error("there is no such mailer") })
			}
			r.Close()
		})
	}
	all.Wait()
	s, err := mailstats.Read(file, false)
	if err != nil || s.Mailers[3].To != 800 || s.Mailers[3].ToK != 1600 || s.In != 800 || time.Since(s.Since) > time.Minute {
		t.Errorf("%+v, %v", s, err)
	}
	(*mailstats.Recorder)(nil).Count(func(*mailstats.Statistics) { t.Error("counted") })
	(*mailstats.Recorder)(nil).Close()
}

// As sendmail does it: without the file, nothing is counted, and that is no error.
func TestRecorderWithoutAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "none")
	r := mailstats.NewRecorder(file, nil, func(err error) { t.Error(err) })
	r.CountMailer(3, func(m *mailstats.Mailer) { m.To++ })
	r.Close()
	if _, err := os.Stat(file); err == nil {
		t.Error("the file was made")
	}
}

func TestRecorderCannotWrite(t *testing.T) {
	var told []error
	r := mailstats.NewRecorder(filepath.Join(t.TempDir(), "no", "such", "file"), made, func(err error) { told = append(told, err) })
	for range 2 {
		r.CountMailer(3, func(m *mailstats.Mailer) { m.To++ })
		r.Close()
	}
	if len(told) != 1 {
		t.Errorf("told %v", told)
	}
}

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		args string
		want mailstats.Options
		err  string
	}{
		{"", mailstats.Options{}, ""},
		{"-oP -C cf -f st", mailstats.Options{NoName: true, Plain: true, Config: "cf", File: "st"}, ""},
		{"-cp -fst", mailstats.Options{Submit: true, Plain: true, Clear: true, File: "st"}, ""},
		{"-Z", mailstats.Options{}, "invalid option -- 'Z'"},
		{"-f", mailstats.Options{}, "requires an argument"},
		{"more", mailstats.Options{}, "usage: mailstats"},
	} {
		got, err := mailstats.Parse(strings.Fields(tt.args))
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%q: %v", tt.args, err)
			}
		} else if err != nil || got != tt.want {
			t.Errorf("%q: %+v, %v", tt.args, got, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	s := sample()
	f.Add(s.Encode())
	f.Add([]byte{})
	f.Add([]byte("\xde\xb1\x01\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := mailstats.Decode(b)
		if err == nil && len(b) > 0 && !bytes.Equal(s.Encode(), b) {
			t.Errorf("not the same again")
		}
	})
}
