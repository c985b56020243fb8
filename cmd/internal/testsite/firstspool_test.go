package testsite_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Without a spool and without a daemon root's first message makes the spool, one that users can reach through; a user is
// told which directory is missing, and by whom it is made.
func TestFirstMessageMakesTheSpool(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("sends as two users")
	}
	if err := build(); err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("/srv", "first-spool")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir+"/mail", 0o755); err != nil {
		t.Fatal(err)
	}
	put(t, dir+"/rules", fmt.Sprintf("host here.example\nspool %s/spool\nset log %s/log\ntransport local mbox { path \"%s/mail/$user\" }\nuse standard\n", dir, dir, dir))
	if err := os.Chmod(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	send := func(uid uint32) (string, int) {
		cmd := exec.Command(filepath.Join(bin, "sendmail"), "-C", dir+"/rules", "-odi", "root@here.example")
		cmd.Dir, cmd.Stdin = "/", strings.NewReader("Subject: x\n\n")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		out, _ := cmd.CombinedOutput()
		return string(out), cmd.ProcessState.ExitCode()
	}
	if out, exit := send(65534); exit != 73 || !strings.Contains(out, "there is no directory "+dir+"/spool: root makes it") {
		t.Errorf("a user without a spool: %d %s", exit, out)
	}
	if out, exit := send(0); exit != 0 || out != "" {
		t.Errorf("root without a spool: %d %s", exit, out)
	}
	if box, err := os.ReadFile(dir + "/mail/root"); err != nil || !strings.Contains(string(box), "Subject: x\n") {
		t.Errorf("mailbox: %v %q", err, box)
	}
	if info, err := os.Stat(dir + "/spool"); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("the spool: %v %v", info, err)
	}
	if out, exit := send(65534); exit != 73 || !strings.Contains(out, "no daemon answers on "+dir+"/spool/submit.sock") {
		t.Errorf("a user without a daemon: %d %s", exit, out)
	}
}
