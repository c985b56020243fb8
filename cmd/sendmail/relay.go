package main

import (
	"bufio"
	"os"
	"slices"
	"strconv"
	"syscall"
	"time"

	"waybill/queue/spool"
	"waybill/transport/envelope"
	"waybill/transport/sysexits"
)

// relayTime is how long the front end waits for the next hop to take a dropped message.
const relayTime = time.Minute

// relay tries to pass on a message that was dropped into a submission queue of sendmail, where no daemon of ours is: an
// engine without our rights reads it and speaks to the next hop. What that one took is no longer in the queue; the rest
// waits for a queue run. Whatever goes wrong, the message is safe.
func (h *handOver) relay(id string) int {
	path := spool.DroppedFile(h.site.Spool, id)
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return sysexits.OK
	}
	defer f.Close()
	e, body, err := spool.ReadDropped(f)
	if err != nil {
		return sysexits.OK
	}
	taken := h.passedOn(f)
	var rest []envelope.Recipient
	for i, r := range e.Recipients {
		if !slices.Contains(taken, i) {
			rest = append(rest, r)
		}
	}
	switch {
	case len(taken) == 0:
	case len(rest) == 0:
		os.Remove(path)
	default:
		e.ID, e.Recipients = "", rest
		if _, err := spool.Drop(h.site.Spool, e, body); err == nil {
			os.Remove(path)
		}
	}
	return sysexits.OK
}

// passedOn runs the engine and returns the recipients whom the next hop has.
func (h *handOver) passedOn(message *os.File) []int {
	file, err := engine()
	if err != nil {
		return nil
	}
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		return nil
	}
	defer null.Close()
	out, in, err := os.Pipe()
	if err != nil {
		return nil
	}
	defer out.Close()
	attr := &os.ProcAttr{Dir: "/", Env: os.Environ(), Files: []*os.File{message, in, null}, Sys: &syscall.SysProcAttr{
		Setsid: true, Credential: &syscall.Credential{Uid: uint32(os.Getuid()), Gid: uint32(os.Getgid()), NoSetGroups: true},
	}}
	child, err := os.StartProcess(file, append([]string{"waybill", "relay"}, h.config()...), attr)
	in.Close()
	if err != nil {
		return nil
	}
	defer time.AfterFunc(relayTime, func() { child.Signal(syscall.SIGTERM) }).Stop()
	var taken []int
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if n, err := strconv.Atoi(lines.Text()); err == nil {
			taken = append(taken, n)
		}
	}
	child.Wait()
	return taken
}
