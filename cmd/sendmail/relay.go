package main

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

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
	if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil { // a queue run has it
		return sysexits.OK
	}
	e, body, err := spool.ReadDropped(f)
	if err != nil {
		return sysexits.OK
	}
	here := h.v.When != envelope.WhenBackground // the caller waits for the outcome
	quiet := here && (h.tells() || h.v.Errors == flags.Quiet)
	hop := h.passedOn(f, !quiet)
	taken, exit := hop.taken, sysexits.OK
	h.head = hop.head
	for i, no := range hop.refused {
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
	case len(rest) == 0:
		os.Remove(path)
	case len(taken) > 0 || hop.said != "":
		e.ID, e.Recipients, e.Wrong = "", rest, nil
		if hop.said != "" {
			e.Wrong = []string{hop.said}
		}
		if _, err := spool.Drop(h.site.Spool, e, body); err == nil {
			os.Remove(path)
		}
	}
	defer func() {
		for _, line := range hop.tail {
			fmt.Fprintln(h.out, line)
		}
	}()
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

// relayed is what became of a message at the next hop.
type relayed struct {
	taken   []int // recipients whom it has
	refused map[int]refusedHop
	said    string   // why the others wait
	head    string   // what stands on top of the message, for dead.letter
	tail    []string // what -v shows at the end
}

// passedOn runs the engine. With bounce it tells the sender by mail of those whom the next hop refused.
func (h *handOver) passedOn(message *os.File, bounce bool) (r relayed) {
	file, err := engine()
	if err != nil {
		return r
	}
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		return r
	}
	defer null.Close()
	out, in, err := os.Pipe()
	if err != nil {
		return r
	}
	defer out.Close()
	attr := &os.ProcAttr{Dir: "/", Env: os.Environ(), Files: []*os.File{message, in, null}, Sys: &syscall.SysProcAttr{
		Setsid: true, Credential: &syscall.Credential{Uid: uint32(os.Getuid()), Gid: uint32(os.Getgid()), NoSetGroups: true},
	}}
	args := append([]string{"waybill", "relay"}, h.config()...)
	if bounce {
		args = append(args, "-b")
	}
	if h.v.Verbose {
		args = append(args, "-v")
	}
	child, err := os.StartProcess(file, args, attr)
	in.Close()
	if err != nil {
		return r
	}
	defer time.AfterFunc(relayTime, func() { child.Signal(syscall.SIGTERM) }).Stop()
	r.refused = map[int]refusedHop{}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		text := lines.Text()
		switch rest := text[min(1, len(text)):]; text[:len(text)-len(rest)] {
		case "=":
			r.said = rest
			continue
		case ">":
			r.head += rest + "\n"
			continue
		case "|":
			fmt.Fprintln(h.out, rest)
			flush(h.out)
			continue
		case ".":
			r.tail = append(r.tail, rest)
			continue
		}
		index, status, no := strings.Cut(text, " ")
		status, _, told := strings.Cut(status, " ")
		n, err := strconv.Atoi(index)
		exit, err2 := strconv.Atoi(status)
		switch {
		case err != nil:
		case !no:
			r.taken = append(r.taken, n)
		case err2 == nil:
			r.refused[n] = refusedHop{exit, told}
		}
	}
	child.Wait()
	return r
}
