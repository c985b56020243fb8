package cf

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
)

// defaultID is who DefaultUser is without the option: daemon.
const defaultID = 1

// defaultIDs are the numbers of DefaultUser; ok is false when there is no such user.
func (r *reader) defaultIDs() (uid, gid int, ok bool) {
	v, set := r.cfg.Option("DefaultUser", "")
	user, group, _ := cutUser(v)
	if !set || user == "" {
		return defaultID, defaultID, true
	}
	uid, gid, err := r.lookup(user, group)
	if err != nil {
		return 0, 0, false
	}
	if gid < 0 {
		gid = defaultID
	}
	return uid, gid, uid >= 0
}

// Program prepares a program that the configuration names for a map or a class: it gets no environment but AGENT and what
// E lines say, and runs as DefaultUser, never as root. It reports an error when there is no such user.
func (c *Config) Program(cmd *exec.Cmd) error {
	r := reader{cfg: c}
	cmd.Env = []string{"AGENT=sendmail"}
	for _, e := range c.Env {
		if name, _, set := strings.Cut(e, "="); !set { // "EHOME": the value of our own environment
			v, there := os.LookupEnv(name)
			if !there {
				continue
			}
			e = name + "=" + v
		}
		cmd.Env = append(cmd.Env, e)
	}
	cmd.Dir = "/"
	if os.Geteuid() != 0 {
		return nil
	}
	uid, gid, ok := r.defaultIDs()
	if !ok {
		return errNoDefault
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	return nil
}
