package testsite

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// PeakMemory is the most memory that a running process has had in use, in octets (VmHWM of proc(5)).
func PeakMemory(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.SplitSeq(string(text), "\n") {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			return kb << 10, err
		}
	}
	return 0, fmt.Errorf("process %d tells no VmHWM", pid)
}

// MeasuredCommand runs one of the built commands with a stream on standard input and also returns its peak memory, as
// it is just before it ends: the last figure that could be read.
func (s *Site) MeasuredCommand(in io.Reader, name string, args ...string) (Result, int64, error) {
	c := exec.Command(filepath.Join(s.Bin, name), args...)
	var out, errw bytes.Buffer
	if in != nil {
		in = io.MultiReader(in, pause(50*time.Millisecond))
	}
	c.Stdin, c.Stdout, c.Stderr = in, &out, &errw
	c.WaitDelay = 5 * time.Second
	if err := c.Start(); err != nil {
		return Result{}, 0, err
	}
	done, peak := make(chan struct{}), make(chan int64)
	go func() {
		var most int64
		for {
			if n, err := PeakMemory(c.Process.Pid); err == nil {
				most = max(most, n)
			}
			select {
			case <-done:
				peak <- most
				return
			case <-time.After(time.Millisecond):
			}
		}
	}()
	c.Wait()
	close(done)
	r := Result{Exit: c.ProcessState.ExitCode(), Out: out.String(), Err: errw.String()}
	return r, <-peak, nil
}

// pause is a reader that ends after a while: a process that is done in a millisecond could not be looked at.
type pause time.Duration

func (p pause) Read([]byte) (int, error) {
	time.Sleep(time.Duration(p))
	return 0, io.EOF
}

// Stream is a message of about size octets that is made while it is read: a MIME message with one attachment in
// base64, and a subject.
func Stream(subject string, size int64) io.Reader {
	head := "From: alice@example.org\nTo: bob\nSubject: " + subject + "\nMIME-Version: 1.0\nContent-Type: application/octet-stream\nContent-Transfer-Encoding: base64\n\n"
	line := []byte("TWFuIGlzIGRpc3Rpbmd1aXNoZWQsIG5vdCBvbmx5IGJ5IGhpcyByZWFzb24sIGJ1dCBieSB0aGlz\n")
	lines := size / int64(len(line))
	return io.MultiReader(strings.NewReader(head), &repeat{line: line, left: lines * int64(len(line))})
}

// repeat yields line again and again, left octets in all.
type repeat struct {
	line []byte
	at   int
	left int64
}

func (r *repeat) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	n := 0
	for n < len(p) && r.left > 0 {
		m := copy(p[n:], r.line[r.at:])
		m = int(min(int64(m), r.left))
		r.at = (r.at + m) % len(r.line)
		r.left -= int64(m)
		n += m
	}
	return n, nil
}
