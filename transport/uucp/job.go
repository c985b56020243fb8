package uucp

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unicode"

	"golang.org/x/sys/unix"

	"waybill/transport"
	"waybill/transport/envelope"
	"waybill/transport/fromline"
)

var errTooBig = errors.New("message too large")

const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ" // of sequence numbers

// job is one command at one site for some of the recipients.
type job struct {
	*UUCP
	site   string
	req    *transport.Request
	limit  int64
	users  []int    // indices into req.Recipients
	words  []string // of the command line
	length int      // of the command line
	quoted bool

	files []string // written so far, removed when the job fails
}

func (j *job) add(i int, word string, quoted bool) {
	j.users, j.words, j.length, j.quoted = append(j.users, i), append(j.words, word), j.length+1+len(word), j.quoted || quoted
}

// names are the files of one job, as uucico knows them and where they are.
type names struct {
	data, remoteData string // D.0001, D.alphaC0001
	exec, remoteExec string // D.X0002, X.alphaC0002
	dataDir, execDir string
	command, cmdDir  string // C.Cxxxx
}

// write makes the job: the plan, message, execution file, then the command file.
func (j *job) write(ctx context.Context) (err error) {
	defer func() {
		if err != nil {
			for _, name := range j.files {
				_ = os.Remove(name)
			}
		}
	}()
	if j.conf.Layout == Drop {
		return j.drop(ctx)
	}
	if j.conf.Layout == BNU && j.published() {
		return syncDir(filepath.Join(j.conf.Spool, j.site))
	}
	n, err := j.reserve()
	if err != nil {
		return err
	}
	j.at("numbers reserved")
	if exists(filepath.Join(n.cmdDir, n.command)) {
		// The same message for the same users is there already: we died between writing it and saying so, and perhaps
		// before its name was on the disk.
		return syncDir(n.cmdDir)
	}
	// S from to user -options temp mode
	plan, err := j.begin(fmt.Sprintf("S %s %s %s -C %s 0666\nS %s %s %s -C %s 0666\n", n.data, n.remoteData, j.conf.Login, n.data, n.exec, n.remoteExec, j.conf.Login, n.exec))
	if err != nil {
		return err
	}
	defer plan.end()
	j.at("plan written")
	data, err := j.create(n.dataDir, n.data)
	if err != nil {
		return err
	}
	j.at("data created")
	if err := j.message(ctx, data); err != nil {
		data.Close()
		return err
	}
	j.at("data written")
	if err := j.finish(data); err != nil {
		return err
	}
	j.at("data synced")
	exec, err := j.create(n.execDir, n.exec)
	if err != nil {
		return err
	}
	j.at("execution created")
	if _, err := io.WriteString(exec, j.execution(n.remoteData)); err != nil {
		exec.Close()
		return err
	}
	if err := j.finish(exec); err != nil {
		return err
	}
	j.at("execution synced")
	for _, dir := range []string{n.dataDir, n.execDir} {
		if err := syncDir(dir); err != nil {
			return err
		}
	}
	return j.publish(n, plan)
}

// drop writes a batch as one file of the site's directory. Until it is whole its name begins with a dot.
func (j *job) drop(ctx context.Context) error {
	dir := filepath.Join(j.conf.Spool, j.site)
	if err := mkdir(dir); err != nil {
		return err
	}
	name := j.unique() + ".bsmtp"
	if exists(filepath.Join(dir, name)) {
		return syncDir(dir) // see write
	}
	temp := "." + name + "." + strconv.FormatUint(rand.Uint64(), 36)
	f, err := j.create(dir, temp)
	if err != nil {
		return err
	}
	defer os.Remove(filepath.Join(dir, temp))
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil { // against sweepDrop
		f.Close()
		return err
	}
	j.at("data created")
	if err := j.message(ctx, f); err != nil {
		f.Close()
		return err
	}
	if err := j.finish(f); err != nil {
		return err
	}
	j.at("data synced")
	if err := os.Link(filepath.Join(dir, temp), filepath.Join(dir, name)); err != nil {
		return err
	}
	j.at("command published")
	return syncDir(dir)
}

// publish makes the command file appear under its name, whole.
func (j *job) publish(n names, p *plan) error {
	if err := os.Link(p.name, filepath.Join(n.cmdDir, n.command)); err != nil {
		return err
	}
	j.files = nil // from here on they are uucico's, whatever fails
	j.at("command published")
	return syncDir(n.cmdDir)
}

// message writes what the command gets on its standard input.
func (j *job) message(ctx context.Context, f io.Writer) error {
	body, err := j.req.Body.Open()
	if err != nil {
		return errors.Join(fromline.ErrRead, err)
	}
	defer body.Close()
	w := &limited{w: f, ctx: ctx, left: -1}
	if j.limit > 0 {
		w.left = j.limit + 1000 // the From line does not count
	}
	if j.conf.Batch {
		batch := NewBatchWriter(w, j.conf.Node)
		var users []envelope.Address
		for _, word := range j.words {
			users = append(users, envelope.Address(word))
		}
		if err := batch.Message(j.req.Envelope.Sender, users, body); err != nil {
			return err
		}
		return batch.Close()
	}
	form := fromline.Form{FromLine: true, Text: j.fromLine(j.site, j.req.Envelope.Sender)}
	return form.Copy(w, body)
}

// execution is the text of the X. file ("Execution File Format" in Taylor's manual).
func (j *job) execution(data string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "U %s %s\n", j.conf.Login, j.conf.Node)
	quoted := j.quoted
	requestor := string(j.sender(j.site, j.req.Envelope.Sender))
	switch {
	case requestor == "":
		b.WriteString("N\n") // the null sender wants no reports (RFC 5321 4.5.5)
	case plainWord(requestor) && requestor[0] != '-':
		fmt.Fprintf(&b, "R %s\nZ\n", requestor)
	case j.conf.Quoting && requestor[0] != '-' && !strings.ContainsFunc(requestor, unicode.IsControl):
		fmt.Fprintf(&b, "R %s\nZ\n", octal(requestor))
		quoted = true
	default:
		b.WriteString("Z\n")
	}
	if quoted {
		// Q: words are quoted, "\040"; E: execve, no shell. Unknown to BNU, which skips unknown lines.
		b.WriteString("Q\nE\n")
	}
	words := j.conf.Command
	if !j.conf.Batch {
		words += " " + strings.Join(j.words, " ")
	}
	fmt.Fprintf(&b, "F %s\nI %s\nC %s\n", data, data, words)
	return b.String()
}

// create makes a new file of the job.
func (j *job) create(dir, name string) (*os.File, error) {
	full := filepath.Join(dir, name)
	f, err := os.OpenFile(full, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err == nil {
		j.files = append(j.files, full)
	}
	return f, err
}

func (j *job) finish(f *os.File) error {
	if err := f.Sync(); err != nil {
		f.Close()
		return &os.PathError{Op: "fsync", Path: f.Name(), Err: err}
	}
	return f.Close()
}

// at is where tests look in, and kill us.
func (j *job) at(step string) {
	if j.UUCP.step != nil {
		j.UUCP.step(step)
	}
}

// unique is the same for the same message to the same users, so that a second try finds the job of the first. It has
// eleven characters, as Taylor's own: uustat of 1.07 crashes on long names of command files.
func (j *job) unique() string {
	id := j.req.Envelope.ID
	if id == "" {
		id = strconv.FormatInt(time.Now().UnixNano(), 36) + strconv.FormatUint(rand.Uint64(), 36)
	}
	h := sha256.Sum256([]byte(id + "\n" + strings.Join(j.words, "\n")))
	return base64.RawURLEncoding.EncodeToString(h[:])[:11]
}

// limited ends a message that is longer than the site takes, and one that nobody waits for any more.
type limited struct {
	w    io.Writer
	ctx  context.Context
	left int64 // -1: no limit
}

func (l *limited) Write(p []byte) (int, error) {
	if err := l.ctx.Err(); err != nil {
		return 0, err
	}
	if l.left >= 0 {
		if l.left -= int64(len(p)); l.left < 0 {
			return 0, errTooBig
		}
	}
	return l.w.Write(p)
}
