package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"waybill/cmd/internal/testsite"
)

// mailboxRounds is how often each way into the mailbox is measured, in turns; the median counts.
const mailboxRounds = 3

// mailboxBytes is the size of the messages.
const mailboxBytes = 10240

// oneMailbox sends n messages of 10 KB to one mailbox over 20 sessions of SMTP: ours, and that of Postfix's local, both
// with dotlock and fcntl and an fsync. The clock stops when all are in the file.
func oneMailbox(ctx context.Context, bin, dir string, n int) error {
	if _, err := postfixTool("smtp-source"); err != nil || os.Getenv(insideVar) == "" {
		fmt.Printf("\nOne mailbox: not measured, Postfix is not here (make peers, as root)\n")
		return nil
	}
	disk, free, err := journaledDir(filepath.Join(dir, "mailbox"))
	if err != nil {
		return err
	}
	defer free()
	ours, err := site(ctx, bin, filepath.Join(disk, "waybill"))
	if err != nil {
		return err
	}
	defer ours.Kill()
	theirs, stop, err := mailboxPostfix(ctx, filepath.Join(disk, "postfix"))
	if err != nil {
		return err
	}
	defer stop()
	ways := []*way{{name: "Waybill", addr: ours.Addr}, theirs}
	boxes := []string{filepath.Join(disk, "waybill", "mail", "bob"), filepath.Join(disk, "postfix", "mail", "bob")}
	for range mailboxRounds {
		for i, w := range ways {
			took, err := mailboxRound(ctx, w.addr, boxes[i], n)
			if err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			w.times = append(w.times, took)
		}
	}
	load, _ := os.ReadFile("/proc/loadavg")
	fmt.Printf("\nOne mailbox, 10 KB by SMTP, 20 sessions, %d messages, dotlock, fcntl and fsync, medians of %d rounds in turns (load of the machine: %s):\n", n, mailboxRounds, strings.TrimSpace(string(load)))
	for _, w := range ways {
		fmt.Printf("  %-28s %8.0f/s  ", w.name, w.rate(n))
		for _, t := range w.times {
			fmt.Printf(" %.0f", float64(n)/t.Seconds())
		}
		fmt.Println()
	}
	verdict(ways[0].rate(n) >= 3*theirs.rate(n), fmt.Sprintf("one mailbox at 3 x Postfix's local (%.1f x)", ways[0].rate(n)/theirs.rate(n)))
	return ours.Stop()
}

// mailboxPostfix starts a Postfix of its own below dir that delivers to bob.
func mailboxPostfix(ctx context.Context, dir string) (w *way, stop func(), err error) {
	addr, err := freePort()
	if err != nil {
		return nil, nil, err
	}
	err = layOut(dir, addr, addr, map[string]string{
		"main.cf": `compatibility_level = 3.6
myhostname = bench.example.test
mydestination = bench.example.test
mynetworks = 127.0.0.1/32
inet_protocols = ipv4
disable_dns_lookups = yes
mailbox_delivery_lock = fcntl, dotlock
mailbox_size_limit = 0
mail_spool_directory = @DIR/mail
queue_directory = @DIR/q
data_directory = @DIR/data
daemon_directory = /usr/lib/postfix/sbin
command_directory = /usr/sbin
shlib_directory = /usr/lib/postfix
alias_maps =
alias_database =
local_recipient_maps =
maillog_file = @DIR/log
maillog_file_prefixes = /
`,
		"master.cf": `@ADDR inet n - n - 300 smtpd
` + postfixServices,
	}, "mkdir q data mail; chown postfix data; chmod 1777 mail; /usr/sbin/postfix -c @DIR check")
	if err != nil {
		return nil, nil, err
	}
	stop, err = serveUntil(ctx, addr, "/usr/sbin/postfix", "-c", dir, "start-fg")
	return &way{name: "Postfix local", addr: addr}, stop, err
}

// mailboxRound sends n messages to bob at addr and waits until his mailbox has n more.
func mailboxRound(ctx context.Context, addr, box string, n int) (time.Duration, error) {
	reader := &messageCounter{file: box}
	if err := reader.read(); err != nil {
		return 0, err
	}
	want := reader.n + n
	c, err := postfixTool("smtp-source", "-s", "20", "-m", strconv.Itoa(n), "-l", strconv.Itoa(mailboxBytes), "-f", "a@bench.example.test", "-t", "bob@bench.example.test", addr)
	if err != nil {
		return 0, err
	}
	start := time.Now()
	sent := make(chan error, 1)
	go func() {
		out, err := c.CombinedOutput()
		if err != nil {
			err = fmt.Errorf("smtp-source: %w: %s", err, out)
		}
		sent <- err
	}()
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	err = testsite.Wait(ctx, func() bool { return reader.read() == nil && reader.n >= want })
	took := time.Since(start)
	if err != nil {
		return 0, fmt.Errorf("%d of %d messages arrived: %w", reader.n-want+n, n, err)
	}
	return took, <-sent
}

// messageCounter counts the messages of a growing mailbox.
type messageCounter struct {
	file string
	at   int64 // the beginning of the first line that is not counted
	n    int
}

// read counts the lines that have come. A file that is not there is empty.
func (m *messageCounter) read() error {
	f, err := os.Open(m.file)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Seek(m.at, io.SeekStart); err != nil {
		return err
	}
	for in := bufio.NewReader(f); ; {
		line, err := in.ReadBytes('\n')
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		m.at += int64(len(line))
		if bytes.HasPrefix(line, []byte("From ")) {
			m.n++
		}
	}
}
