package app

import (
	"fmt"
	"log/slog"
	"time"

	"waybill/queue/spool"
	"waybill/transport/sysexits"
)

// lostFiles is "waybill queue lost": what was damaged and set aside. It stays until somebody looks at it and removes it.
func lostFiles(std stdio, config string) int {
	n := 0
	err := setAside(config, func(path string, info spool.Info) bool {
		n++
		fmt.Fprintf(std.out, "%s %10d %s\n", info.ModTime.Format(time.DateTime), info.Size, path)
		return true
	})
	if err != nil {
		return failed(std, err)
	}
	if n == 0 {
		fmt.Fprintln(std.out, "nothing was set aside")
	}
	return sysexits.OK
}

// setAside calls f for what was set aside.
func setAside(config string, f func(path string, info spool.Info) bool) error {
	s, err := openSite(config, slog.LevelWarn)
	if err != nil {
		return err
	}
	defer s.mail.Close()
	return s.queue.Spool().Lost(f)
}
