package app

import (
	"net"
	"path/filepath"
	"testing"
)

func TestTellManager(t *testing.T) {
	if err := tellManager("READY=1"); err != nil {
		t.Errorf("without a manager: %v", err)
	}
	for _, name := range []string{filepath.Join(t.TempDir(), "notify"), "@waybill-test-notify"} {
		at := name
		if name[0] == '@' {
			at = "\x00" + name[1:]
		}
		l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: at, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		t.Setenv("NOTIFY_SOCKET", name)
		if err := tellManager("READY=1"); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 64)
		n, err := l.Read(buf)
		if err != nil || string(buf[:n]) != "READY=1" {
			t.Errorf("%q: the manager hears %q, %v", name, buf[:n], err)
		}
	}
}
