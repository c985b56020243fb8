package app

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"waybill/queue/spool"
	"waybill/transport/envelope"
	"waybill/transport/sysexits"
)

// diskFull refuses a message when the spool has less room than MinFreeBlocks. Where there is a DeadLetterDrop the message
// is kept there, and its sender is told no failure, as with sendmail; but what is kept is the whole message.
func (c *cfSite) diskFull(dir string, e *envelope.Envelope, body io.Reader) error {
	if c.roomy(dir, 0) {
		return nil
	}
	full := &spool.RefusedError{Exit: sysexits.TempFail, Text: "Insufficient disk space; try again later"}
	file, ok := c.conf.Option("DeadLetterDrop", "")
	if !ok || file == "" {
		return full
	}
	m := macros(e.Sender, e.Origin)
	c.stamp(m, e, &envelope.Header{})
	to := string(e.For)
	if e.For == envelope.Nobody || e.For == envelope.Listed {
		to = ""
	}
	head := fmt.Sprintf("From %s %s\nReturn-Path: <%s>\nReceived: %s\n", e.Sender, time.Now().Format(time.ANSIC), e.Sender, c.receivedLine(m, e, to))
	if err := keepLetter(file, head, body); err != nil {
		return full
	}
	full.Exit, full.Text = sysexits.OK, full.Text+"\nSaved message in "+file
	return full
}

// roomy reports whether a message of size octets (0: nobody said) leaves MinFreeBlocks of the spool's file system free. What
// cannot be found out is taken for room.
func (c *cfSite) roomy(dir string, size int64) bool {
	v, _ := c.conf.Option("MinFreeBlocks", "")
	least, err := strconv.ParseInt(v, 10, 64)
	if err != nil || least < 0 {
		least = 0
	}
	var fs unix.Statfs_t
	if least == 0 && size <= 0 || unix.Statfs(dir, &fs) != nil || fs.Bsize <= 0 {
		return true
	}
	free := int64(min(fs.Bavail, math.MaxInt64))
	return free >= least && (size <= 0 || free-least > size/fs.Bsize)
}

// keepLost puts a notice that nobody can get into DeadLetterDrop, where there is one.
func (c *cfSite) keepLost(e *envelope.Envelope, body envelope.Body) {
	file, ok := c.conf.Option("DeadLetterDrop", "")
	if !ok || file == "" || body == nil {
		return
	}
	in, err := body.Open()
	if err == nil {
		err = keepLetter(file, "From MAILER-DAEMON "+time.Now().Format(time.ANSIC)+"\nReturn-Path: <MAILER-DAEMON>\n", in)
		in.Close()
	}
	if err != nil {
		c.log.Error("a notice is lost: nobody could get it, and it cannot be kept", "id", e.ID, "file", file, "err", err)
		return
	}
	c.log.Info("a notice that nobody could get is kept", "id", e.ID, "file", file)
}

// keepLetter appends a message to a mailbox file of root's.
func keepLetter(file, head string, body io.Reader) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	var st unix.Stat_t
	if unix.Fstat(int(f.Fd()), &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || st.Nlink != 1 || int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("%s: not a plain file of ours with one name", file) // it may be in a directory that everybody may write
	}
	_, err = io.Copy(f, io.MultiReader(bytes.NewReader([]byte(head)), body, bytes.NewReader([]byte("\n"))))
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		f.Truncate(st.Size)
	}
	return err
}
