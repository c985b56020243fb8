package testsite_test

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// block is a fenced box of a page: "sh HOST", "file HOST PATH" or "output".
type block struct {
	words []string
	text  string
	line  int
}

func blocks(t *testing.T, page string) []block {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var all []block
	inside := false
	number := 0
	for line := range strings.Lines(string(text)) {
		number++
		info, fence := strings.CutPrefix(line, "```")
		switch {
		case fence && inside:
			inside = false
		case fence:
			inside = true
			all = append(all, block{words: strings.Fields(info), line: number})
		case inside:
			all[len(all)-1].text += line
		}
	}
	return all
}

// uucpHost is one of the two hosts of the page: a directory that stands for its root, and tools that know it.
type uucpHost struct {
	name, dir string
	cred      *syscall.Credential
}

// at moves the absolute paths of a text into the host's directory.
func (h uucpHost) at(text string) string {
	return regexp.MustCompile(`(^|[\s:="'])/(etc|var)/`).ReplaceAllString(text, "${1}"+h.dir+"/$2/")
}

// tool writes a program of the host's bin directory.
func (h uucpHost) tool(t *testing.T, name, script string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(h.dir, "bin", name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
}

// TestUUCPPage does what etc/doc/uucp.md says, with Taylor UUCP between two sites on this machine. Only paths, the ssh
// command and the user database are other ones.
func TestUUCPPage(t *testing.T) {
	for _, tool := range []string{"/usr/lib/uucp/uucico", "/usr/sbin/uuxqt", "/usr/bin/uustat"} {
		if _, err := os.Stat(tool); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatal(err)
			}
			t.Skipf("Taylor UUCP is not installed: %v", err)
		}
	}
	if err := build(); err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("/tmp", "uucp-page")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("kept in %s", dir)
			return
		}
		os.RemoveAll(dir)
	})
	uid, gid := os.Getuid(), os.Getgid()
	var cred *syscall.Credential
	if uid == 0 { // Taylor's tools do not work as root
		u, err := user.Lookup("uucp")
		if err != nil {
			t.Fatal(err)
		}
		uid, _ = strconv.Atoi(u.Uid)
		gid, _ = strconv.Atoi(u.Gid)
		cred = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	hosts := map[string]uucpHost{}
	for _, name := range []string{"alpha", "beta"} {
		h := uucpHost{name, filepath.Join(dir, name), cred}
		hosts[name] = h
		for _, sub := range []string{"bin", "etc/uucp", "etc/waybill", "etc/mail", "var/mail", "var/spool/uucp", "var/spool/waybill", "var/log", "home"} {
			if err := os.MkdirAll(filepath.Join(h.dir, sub), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		for _, tool := range []string{"/usr/lib/uucp/uucico", "/usr/sbin/uuxqt", "/usr/bin/uustat"} { // copied without their set-user-id bits
			program, err := os.ReadFile(tool)
			if err == nil {
				err = os.WriteFile(filepath.Join(h.dir, "bin", "taylor-"+filepath.Base(tool)), program, 0o755)
			}
			if err != nil {
				t.Fatal(err)
			}
			h.tool(t, filepath.Base(tool), fmt.Sprintf("exec %s/bin/taylor-%s -I %s/etc/uucp/config \"$@\"", h.dir, filepath.Base(tool), h.dir))
		}
		rules := h.dir + "/etc/waybill/waybill.rules"
		h.tool(t, "waybill", fmt.Sprintf("exec %s/waybill \"$@\"", bin))
		h.tool(t, "sendmail", fmt.Sprintf("exec %s/sendmail -C %s \"$@\"", bin, rules))
		h.tool(t, "rmail", fmt.Sprintf("machine=$UU_MACHINE; UU_MACHINE= exec %s/waybill rmail -C %s -M \"$machine\" -- \"$@\"", bin, rules))
		h.tool(t, "ssh", fmt.Sprintf("exec %s/beta/bin/taylor-uucico -I %s/beta/etc/uucp/config -u uucp", dir, dir))
		passwd := ""
		for _, user := range []string{"uucp", "alice", "bob", "root"} {
			passwd += fmt.Sprintf("%s:x:%d:%d::%s/home:/bin/sh\n", user, uid, gid, h.dir)
		}
		put(t, h.dir+"/etc/passwd", passwd)
	}
	var last string
	var look func() string // runs the last command of a box again
	for _, b := range blocks(t, "../../../etc/doc/uucp.md") {
		switch b.words[0] {
		case "file":
			h := hosts[b.words[1]]
			text := h.at(b.text)
			switch filepath.Base(b.words[2]) { // what Debian's programs have compiled in, or the real host has
			case "config":
				for _, name := range []string{"sysfile sys", "portfile port", "logfile ../../var/log/Log", "statfile ../../var/log/Stats", "debugfile ../../var/log/Debug"} {
					key, value, _ := strings.Cut(name, " ")
					text += key + " " + filepath.Join(h.dir, "etc/uucp", value) + "\n"
				}
				text += fmt.Sprintf("spool %s/var/spool/uucp\npubdir %s/home\nlockdir %s/var/log\nrun-uuxqt never\n", h.dir, h.dir, h.dir)
			case "sys":
				text += "command-path " + h.dir + "/bin\nfree-space 0\n"
			case "port":
				text = strings.Replace(text, "command ssh", "command "+h.dir+"/bin/ssh", 1)
			case "waybill.rules":
				text = strings.Replace(text, "{ node", "{ spool "+h.dir+"/var/spool/uucp; node", 1)
				text = fmt.Sprintf("spool %s/var/spool/waybill\nset users %s/etc/passwd\nset log %s/var/log/mail.log\ntransport local mbox { path \"%s/var/mail/$user\" }\n"+
					"send { otherwise now }\n", // the standard rules only queue when the machine is busy
					h.dir, h.dir, h.dir, h.dir) + text
			}
			put(t, h.dir+b.words[2], text)
		case "sh":
			h := hosts[b.words[1]]
			if err := chown(dir, uid, gid); err != nil {
				t.Fatal(err)
			}
			text := strings.TrimSuffix(h.at(b.text), "\n")
			at := strings.LastIndexByte(text, '\n') + 1
			look = nil
			if command := text[at:]; strings.HasPrefix(command, "cat ") { // what it shows may come a moment later
				look, text = func() string { out, _ := h.run(command); return out }, text[:at]
			}
			out, err := h.run(text)
			if err != nil {
				log, _ := os.ReadFile(h.dir + "/var/log/mail.log")
				uucp, _ := os.ReadFile(h.dir + "/var/log/Log")
				t.Fatalf("line %d, on %s: %v\n%s\n%s\n%s\n%s", b.line, h.name, err, b.text, out, log, uucp)
			}
			last = out
		case "output":
			missing := func() string {
				if look != nil {
					last = look()
				}
				for pattern := range strings.SplitSeq(strings.TrimSpace(b.text), "\n") {
					if pattern != "" && !regexp.MustCompile(pattern).MatchString(last) {
						return pattern
					}
				}
				return ""
			}
			pattern := missing()
			for try := 0; pattern != "" && look != nil && try < 300; try++ {
				time.Sleep(100 * time.Millisecond)
				pattern = missing()
			}
			if pattern != "" {
				t.Errorf("line %d: %q is not in the output:\n%s", b.line, pattern, last)
			}
		default:
			t.Errorf("line %d: what is a box of %q?", b.line, b.words)
		}
	}
}

// run runs commands on the host.
func (h uucpHost) run(commands string) (string, error) {
	cmd := exec.Command("/bin/sh", "-euc", commands)
	cmd.Dir = h.dir
	cmd.Env = []string{"PATH=" + h.dir + "/bin:/usr/bin:/bin", "HOME=" + h.dir + "/home", "USER=uucp", "LOGNAME=uucp", "TZ=UTC"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: h.cred}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func put(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// chown gives a tree to those who work in it.
func chown(dir string, uid, gid int) error {
	if os.Getuid() != 0 {
		return nil
	}
	return filepath.WalkDir(dir, func(name string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(name, uid, gid)
	})
}
