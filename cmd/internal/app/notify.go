package app

import (
	"net"
	"os"
	"strings"
)

// tellManager tells the service manager that started us what state we are in ("READY=1", "RELOADING=1", "STOPPING=1"),
// as sd_notify(3) describes it. Without a manager, or when it does not listen, nothing happens.
func tellManager(state string) error {
	name := os.Getenv("NOTIFY_SOCKET")
	if name == "" {
		return nil
	}
	if rest, abstract := strings.CutPrefix(name, "@"); abstract {
		name = "\x00" + rest
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.Write([]byte(state))
	return err
}
