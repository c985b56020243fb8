package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"syscall"
)

// traffic is the log that -X asks for: every line that comes in, marked "<<<", and every line that goes out, marked
// ">>>". It may be a FIFO that somebody reads; nobody waits for a reader.
type traffic struct {
	file *os.File
	mark string
	line []byte // the beginning of a line whose end has not come
}

// openTraffic opens the log with the rights of the caller, -X has made us drop all others, and with their umask.
func openTraffic(name string, umask int) (*os.File, error) {
	defer syscall.Umask(syscall.Umask(umask))
	return os.OpenFile(name, os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_NONBLOCK, 0o666)
}

// Write never fails: a message is not lost for its log.
func (t *traffic) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		end := bytes.IndexByte(rest, '\n')
		if end < 0 && len(t.line)+len(rest) < 4096 {
			t.line = append(t.line, rest...)
			break
		}
		if end < 0 {
			end = len(rest) - 1
		}
		t.line = append(t.line, rest[:end+1]...)
		t.flush()
		rest = rest[end+1:]
	}
	return len(p), nil
}

func (t *traffic) flush() {
	if len(t.line) > 0 {
		fmt.Fprintf(t.file, "%05d %s %s\n", os.Getpid(), t.mark, bytes.TrimRight(t.line, "\r\n"))
		t.line = t.line[:0]
	}
}

// logged makes in and out write to the log too. The function that it returns ends the log.
func logged(name string, umask int, in io.Reader, out io.Writer) (io.Reader, io.Writer, func(), error) {
	file, err := openTraffic(name, umask)
	if err != nil {
		return nil, nil, nil, err
	}
	from, to := &traffic{file: file, mark: "<<<"}, &traffic{file: file, mark: ">>>"}
	end := func() {
		from.flush()
		to.flush()
		file.Close()
	}
	return io.TeeReader(in, from), both{out, to}, end, nil
}

// both writes to the caller and to the log, and can be flushed like the caller's writer.
type both struct{ out, log io.Writer }

func (b both) Write(p []byte) (int, error) {
	b.log.Write(p)
	return b.out.Write(p)
}

// Flush empties what is buffered for the caller.
func (b both) Flush() error {
	flush(b.out)
	return nil
}
