package main

import (
	"bufio"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"waybill/compat/flags"
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
	here := h.v.When != envelope.WhenBackground // the caller waits for the outcome
	quiet := here && (h.tells() || h.v.Errors == flags.Quiet)
	taken, refused := h.passedOn(f, !quiet)
	exit := sysexits.OK
	for i, no := range refused {
		if exit = no.exit; quiet || no.told { // else the sender hears of it with the next queue run
			taken = append(taken, i)
		}
	}
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
	if !here {
		return sysexits.OK
	}
	if exit != sysexits.OK && h.tells() && h.v.Notify&envelope.NotifyNever == 0 {
		h.deadLetter()
	}
	return exit
}

// refusedHop is a recipient whom the next hop refused: the exit status that says why, and whether the sender was told.
type refusedHop struct {
	exit int
	told bool
}

// passedOn runs the engine and returns the recipients whom the next hop has, and those whom it refused. With bounce the
// engine tells the sender by mail of the latter.
func (h *handOver) passedOn(message *os.File, bounce bool) (taken []int, refused map[int]refusedHop) {
	file, err := engine()
	if err != nil {
		return nil, nil
	}
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		return nil, nil
	}
	defer null.Close()
	out, in, err := os.Pipe()
	if err != nil {
		return nil, nil
	}
	defer out.Close()
	attr := &os.ProcAttr{Dir: "/", Env: os.Environ(), Files: []*os.File{message, in, null}, Sys: &syscall.SysProcAttr{
		Setsid: true, Credential: &syscall.Credential{Uid: uint32(os.Getuid()), Gid: uint32(os.Getgid()), NoSetGroups: true},
	}}
	args := append([]string{"waybill", "relay"}, h.config()...)
	if bounce {
		args = append(args, "-b")
	}
	child, err := os.StartProcess(file, args, attr)
	in.Close()
	if err != nil {
		return nil, nil
	}
	defer time.AfterFunc(relayTime, func() { child.Signal(syscall.SIGTERM) }).Stop()
	refused = map[int]refusedHop{}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		index, status, no := strings.Cut(lines.Text(), " ")
		status, _, told := strings.Cut(status, " ")
		n, err := strconv.Atoi(index)
		exit, err2 := strconv.Atoi(status)
		switch {
		case err != nil:
		case !no:
			taken = append(taken, n)
		case err2 == nil:
			refused[n] = refusedHop{exit, told}
		}
	}
	child.Wait()
	return taken, refused
}
