package testsite_test

import (
	"bytes"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"waybill/cmd/internal/testsite"
)

// needs fails the test when a program is missing: make test installs them.
func needs(t *testing.T, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Fatalf("%v: \"make peers\" installs what the tests need", err)
		}
	}
}

func sh(t *testing.T, s *testsite.Site, dir, script string) string {
	t.Helper()
	r, err := s.Run(nil, []string{"GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null", "HOME=" + s.Dir,
		"GIT_AUTHOR_NAME=Alice", "GIT_AUTHOR_EMAIL=alice@a.example.test", "GIT_COMMITTER_NAME=Alice", "GIT_COMMITTER_EMAIL=alice@a.example.test"},
		"sh", "-ec", "cd "+dir+"\n"+script)
	if err != nil || r.Exit != 0 {
		t.Fatalf("%s\nexit %d %v\n%s%s", script, r.Exit, err, r.Out, r.Err)
	}
	return r.Out
}

// TestGitSendEmail sends a patch as developers do, compares it, and applies it where it arrived.
func TestGitSendEmail(t *testing.T) {
	needs(t, "git", "perl")
	w := newWorld(t, nil)
	start(t, w.a)
	here := filepath.Join(w.a.Dir, "here")
	if err := os.Mkdir(here, 0o755); err != nil {
		t.Fatal(err)
	}
	sh(t, w.a, here, `git init -q -b main .
printf 'one\ntwo\n' >file; git add file; git commit -qm first; git clone -q . ../there
printf 'one\ntwo\nFrom three\n.\nünf\n' >file; git commit -qam 'Zeilen ergänzt

From now on five.'
git format-patch -q -1 HEAD >/dev/null`)
	// what git really pipes into us is kept beside
	wrapper := filepath.Join(w.a.Dir, "tee-sendmail")
	if err := os.WriteFile(wrapper, []byte("#!/bin/sh\necho \"$@\" >"+w.a.Dir+"/args\ntee "+w.a.Dir+"/sent | "+filepath.Join(bin, "sendmail")+" -C "+w.a.Rules+" \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	sh(t, w.a, here, `git send-email --quiet --confirm=never --suppress-cc=all --from='Alice <alice@a.example.test>' --envelope-sender=auto --to=maintainer@sink.test --sendmail-cmd=`+wrapper+` 0001-*.patch`)
	sent, err := os.ReadFile(filepath.Join(w.a.Dir, "sent"))
	if err != nil || len(sent) == 0 {
		t.Fatal("git sent nothing", err)
	}
	d := atSink(t, w, "maintainer@sink.test")
	same(t, string(sent), testsite.LF(d.Data), testsite.Changes{})
	if !strings.HasPrefix(strings.TrimSpace(d.From), "<alice@a.example.test>") {
		t.Errorf("MAIL FROM:%s", d.From)
	}
	if err := os.WriteFile(filepath.Join(w.a.Dir, "arrived"), testsite.LF(d.Data), 0o644); err != nil {
		t.Fatal(err)
	}
	if got, want := sh(t, w.a, filepath.Join(w.a.Dir, "there"), "git am -q ../arrived; git rev-parse HEAD^{tree}"), sh(t, w.a, here, "git rev-parse HEAD^{tree}"); got != want {
		t.Errorf("the tree after git am is %s, want %s", got, want)
	}
}

// TestLargeAttachment sends 10 MB through two sites, made and unpacked by a real MIME tool.
func TestLargeAttachment(t *testing.T) {
	needs(t, "mpack", "munpack")
	w := newWorld(t, nil)
	start(t, w.a, w.b)
	data := make([]byte, 10<<20)
	source := rand.NewChaCha8([32]byte{1})
	source.Read(data)
	if err := os.WriteFile(filepath.Join(w.a.Dir, "photo.bin"), data, 0o644); err != nil {
		t.Fatal(err)
	}
	sh(t, w.a, w.a.Dir, `mpack -s 'holiday photo' -c application/octet-stream -o photo.eml photo.bin`)
	sent, err := os.ReadFile(filepath.Join(w.a.Dir, "photo.eml"))
	if err != nil {
		t.Fatal(err)
	}
	submit(t, w.a, 0, string(sent), "-i", "bob@b.example.test")
	got := mailbox(t, w.b, "bob", "holiday photo")
	if err := testsite.Compare(sent, got, inMailbox); err != nil {
		t.Error(err)
	}
	there := filepath.Join(w.b.Dir, "there")
	if err := os.Mkdir(there, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(there, "arrived"), got, 0o644); err != nil {
		t.Fatal(err)
	}
	sh(t, w.b, there, "munpack -q -f arrived >/dev/null")
	if back, err := os.ReadFile(filepath.Join(there, "photo.bin")); err != nil || !bytes.Equal(back, data) {
		t.Errorf("the photo came out with %d octets, not as it went in (%v)", len(back), err)
	}
}
