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

// Environment is what E lines give to programs: "EHOME" alone has the value of our own environment, if there is one.
func (c *Config) Environment() (env []string) {
	for _, e := range c.Env {
		name, _, set := strings.Cut(e, "=")
		if name == "" {
			continue
		}
		if !set {
			v, there := os.LookupEnv(name)
			if !there {
				continue
			}
			e = name + "=" + v
		}
		env = append(env, e)
	}
	return env
}

// Program prepares a program that the configuration names for a map or a class: it gets no environment but AGENT and what
// E lines say, and runs as DefaultUser, never as root. It reports an error when there is no such user.
func (c *Config) Program(cmd *exec.Cmd) error {
	r := reader{cfg: c}
	cmd.Env = append([]string{"AGENT=sendmail"}, c.Environment()...)
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
