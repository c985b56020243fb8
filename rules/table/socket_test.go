package table

import (
	"bufio"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
)

// serve answers requests of the socketmap protocol until the listener is closed. It hangs up after each two answers.
func serve(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			in := bufio.NewReader(c)
			for range 2 {
				q, err := ReadNetstring(in)
				if err != nil {
					return
				}
				answer := map[string]string{"t good": "OK the value %1", "t gone": "NOTFOUND", "t later": "TEMP busy", "t never": "PERM no", "t odd": "HELLO"}[q]
				fmt.Fprintf(c, "%d:%s,", len(answer), answer)
			}
		}()
	}
}

func TestSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go serve(l)
	tab := open(t, Env{}, "socket", "unix:"+path)
	for range 3 { // the server hangs up in between
		for key, want := range map[string]string{"good": "the value x", "GOOD": "the value x", "gone": "-", "later": "error", "never": "error", "odd": "error"} {
			if got := ask(t, tab, key, "x"); got != want {
				t.Errorf("%s: got %q, want %q", key, got, want)
			}
		}
	}
	if got := ask(t, open(t, Env{}, "socket", "-T<T>", path), "later"); got != "error later<T>" {
		t.Errorf("-T: %q", got)
	}
	l.Close()
	if got := ask(t, open(t, Env{}, "socket", "local:"+path), "good"); got != "error" {
		t.Errorf("no server: %q", got)
	}
}

func TestNetstring(t *testing.T) {
	for in, want := range map[string]string{"3:abc,": "abc", "0:,": "", ":a,": "error", "3:abcd": "error", "x": "error", "9999999:": "error", "3:ab": "error", "": "error"} {
		got, err := ReadNetstring(bufio.NewReader(strings.NewReader(in)))
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("%q: got %q", in, got)
		}
	}
}
