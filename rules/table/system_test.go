package table

import (
	"os/exec"
	"testing"
)

// What a stranger wrote must not be an option of a program; a sendmail.cf, whose programs run as another user, gets what
// sendmail gives it.
func TestProgramKeyIsNoOption(t *testing.T) {
	for _, c := range []struct {
		env  Env
		args []string
		key  string
		want string
	}{
		{Env{}, []string{"/bin/echo"}, "bob", "bob"},
		{Env{}, []string{"/bin/echo"}, "-n", "error"},
		{Env{}, []string{"/bin/echo", "--"}, "-n", "-- -n"},
		{Env{Program: func(*exec.Cmd) error { return nil }}, []string{"/bin/echo"}, "-x", "-x"},
	} {
		if got := ask(t, open(t, c.env, "program", c.args...), c.key); got != c.want {
			t.Errorf("%v with %q: %q, want %q", c.args, c.key, got, c.want)
		}
	}
}
