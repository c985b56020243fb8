package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"waybill/queue/spool"
	"waybill/transport/envelope"
	"waybill/transport/sysexits"
)

// mayDeliver reports whether the caller can write the queue itself, which is what an engine of their own needs. It makes a
// spool that is not there: for root anywhere, for others in a directory of their own.
func (h *handOver) mayDeliver() bool {
	err := syscall.Access(h.site.Spool+"/queue", accessWrite)
	if errors.Is(err, syscall.ENOENT) {
		err = syscall.Access(h.site.Spool, accessWrite)
	}
	if !errors.Is(err, syscall.ENOENT) {
		return err == nil
	}
	if os.Getuid() == 0 {
		return true
	}
	parent := filepath.Dir(h.site.Spool)
	var st syscall.Stat_t
	return syscall.Stat(parent, &st) == nil && int(st.Uid) == os.Getuid() && syscall.Access(parent, accessWrite) == nil
}

// mayDrop reports whether we can leave mail in the drop directory, with the rights of the program.
func (h *handOver) mayDrop() bool {
	return unix.Faccessat(unix.AT_FDCWD, spool.DropPath(h.site.Spool), accessWrite, unix.AT_EACCESS) == nil
}

// ownEngine starts an engine for this message where no daemon answers. It costs some milliseconds, which only pay when it
// can say something that matters now: that a local user is unknown, that the message goes in circles, or what an
// interactive delivery came to. Other mail is dropped, and delivered in the background.
func (h *handOver) ownEngine() (net.Conn, error) {
	if h.known() {
		return nil, spool.ErrNoDaemon
	}
	asks := h.site.Sendmail || !h.mayDrop() || h.v.Verbose || h.v.When == envelope.WhenNow || h.anyLocal() || h.message.Envelope.Hops > manyHops
	if !asks || !h.mayDeliver() && !h.rights.root {
		return nil, spool.ErrNoDaemon
	}
	return connectEngine(append([]string{"handover"}, h.config()...), h.rights.root)
}

// known reports whether an engine need not be asked, because one took mail from this sender to all these recipients not
// long ago (spool.Known): then the message is dropped, and delivered in the background.
func (h *handOver) known() bool {
	e := h.message.Envelope
	return h.plain() && e.Hops <= manyHops && !e.Anyway && h.mayDeliver() && h.mayDrop() && h.roomy() &&
		spool.Known(h.site.Spool, h.configFile(), e.Sender, e.Recipients, e.Arrival)
}

// manyHops is when a message may go in circles, which an engine says at once: sites allow 25 or more.
const manyHops = 15

// plain reports whether the message is to go the way that all mail goes that nobody waits for: what a configuration says
// of it holds for the next one as well.
func (h *handOver) plain() bool {
	for _, o := range h.v.Options {
		switch o.Name {
		case "IgnoreDots", "ErrorMode", "DeliveryMode":
		default:
			return false
		}
	}
	return !h.v.Verbose && h.v.Hops <= 0 && (h.v.When == envelope.WhenDefault || h.v.When == envelope.WhenBackground) && len(h.v.Macros) == 0 &&
		h.v.LogTag == "" && h.v.TrafficLog == ""
}

// roomy reports whether the spool has much more room than a site wants to keep free (MinFreeBlocks), which is for an
// engine to judge.
func (h *handOver) roomy() bool {
	const enough = 64 << 20
	var st unix.Statfs_t
	return unix.Statfs(h.site.Spool, &st) == nil && st.Bavail*uint64(st.Bsize) > enough
}

// configFile is the configuration as an engine is told it, which works in the root directory; empty: the default one.
func (h *handOver) configFile() string {
	if full, err := filepath.Abs(h.v.ConfigFile); err == nil && h.v.ConfigFile != "" {
		return full
	}
	return h.v.ConfigFile
}

// config is how an engine is told the configuration and what the command line adds to it.
func (h *handOver) config() []string {
	file := h.configFile()
	if file == "" {
		return nil
	}
	args := []string{"-C", file}
	if h.v.LogTag != "" && h.site.Sendmail {
		args = append(args, "-L", h.v.LogTag)
	}
	if h.site.Sendmail && h.v.Hops > 0 {
		args = append(args, "-hops", strconv.Itoa(h.v.Hops))
	}
	if h.site.Sendmail { // which options and macros of the command line complete
		for _, o := range h.v.Options {
			args = append(args, "-O", o.Name+"="+o.Value)
		}
		for _, m := range h.v.Macros {
			args = append(args, "-M", m.Name+"="+m.Value)
		}
	}
	return args
}

// deliverHere delivers a dropped message without a daemon, when we may: -odi waits for the outcome, -odb does not.
func (h *handOver) deliverHere(id string) int {
	switch h.v.When {
	case envelope.WhenQueue, envelope.WhenDefer:
		return sysexits.OK
	}
	if !h.mayDeliver() && h.rights.group && isCF(h.v.ConfigFile) {
		return h.relay(id)
	}
	if !h.mayDeliver() {
		return sysexits.OK // it waits for the daemon, or for the next queue run
	}
	if h.plain() {
		h.takeOver(id)
		return sysexits.OK
	}
	flush(h.out)
	args := append([]string{"deliver"}, h.config()...)
	if h.v.Verbose {
		args = append(args, "-v")
	}
	exit, err := startEngine(append(args, id), h.v.When == envelope.WhenNow)
	if err != nil {
		// The message is safe, and that is what the exit status promises.
		fmt.Fprintf(os.Stderr, "sendmail: %s stays in the queue: %v\n", id, err)
		return sysexits.OK
	}
	return exit
}

// takeOver sees to it that somebody delivers what was dropped: an engine that does so already, or one that we start.
func (h *handOver) takeOver(id string) {
	lock, err := spool.TryTaking(h.site.Spool)
	if err == nil && lock != nil {
		args := []string{"takeover"}
		if file := h.configFile(); file != "" {
			args = append(args, "-C", file)
		}
		err = detachEngine(args, lock.File())
		lock.Close()
	}
	if err != nil { // the message is safe, and that is what the exit status promises
		fmt.Fprintf(os.Stderr, "sendmail: %s stays in the queue: %v\n", id, err)
	}
}
