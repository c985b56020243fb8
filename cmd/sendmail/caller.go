package main

import (
	"crypto/rand"
	"os"
	"strings"

	"waybill/compat/submit"
	"waybill/queue/spool"
)

// caller is who runs the program, and where their dead letters go.
type caller struct {
	submit.Caller
	Home string
}

// whoCalls finds the real user in the passwd file. Where there is none (a chroot, a user from a directory service), the
// environment says the login name; the daemon knows the user id from the kernel in any case.
func (p program) whoCalls() caller {
	uid := os.Getuid()
	user, found := submit.FindUser(p.passwd, func(_ string, u int) bool { return u == uid })
	c := caller{Caller: submit.Caller{UID: uid, Login: user.Login, Name: user.Name, EnvName: os.Getenv("NAME")}, Home: user.Home}
	if found {
		return c
	}
	c.Home = os.Getenv("HOME")
	switch {
	case uid == 0:
		c.Login = "root"
	case isLogin(os.Getenv("LOGNAME")):
		c.Login = os.Getenv("LOGNAME")
	case isLogin(os.Getenv("USER")):
		c.Login = os.Getenv("USER")
	default:
		c.Login = "nobody"
	}
	return c
}

func isLogin(s string) bool {
	return s != "" && s != "root" && len(s) <= 32 && s[0] != '-' &&
		strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") == ""
}

func (p program) fullName(login string) string {
	user, _ := submit.FindUser(p.passwd, func(l string, _ int) bool { return strings.EqualFold(l, login) })
	return user.Name
}

// unique is the part of a Message-Id that no other message of this minute has.
func unique() string { return rand.Text()[:20] }

// uniqueFor is what stands in a Message-Id: with a sendmail.cf the queue id, by which people find the log lines.
func uniqueFor(site spool.Site, id string) string {
	if site.Sendmail {
		return id
	}
	return unique()
}
