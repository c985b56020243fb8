package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"strconv"

	"waybill/transport/envelope"
)

const (
	magic      = "Waybill-Spool 1 "
	headLength = len(magic) + len("env=00000000 body=000000000000 src=00000000 crc=00000000 sum=00000000\n")
	// draftBuffer is how much of a message waits in memory before a file is made: most messages are one write.
	draftBuffer = 64 << 10
	// draftMemory is how much a message gets at first, and gives back: a garbage collection for every few hundred messages
	// costs more than writing them.
	draftMemory = 16 << 10
	// largeDrafts is how many messages at a time may take up to logLimit instead, to go into the log.
	largeDrafts = 32
)

// head is the first line of a message file.
type head struct {
	env  int    // octets of the envelope, with the empty line
	body int64  // octets of the message
	src  uint32 // checksum of the message as it was handed in
	crc  uint32 // checksum of the message in this file
}

// render returns the first line; sum covers it and the envelope behind it.
func (h head) render(env []byte) []byte {
	line := fmt.Appendf(nil, "%senv=%08d body=%012d src=%08x crc=%08x sum=", magic, h.env, h.body, h.src, h.crc)
	sum := Checksum(Checksum(0, line), env)
	return fmt.Appendf(line, "%08x\n", sum)
}

// parseHead reads a first line; sum is to be checked against the envelope with checkSum.
func parseHead(line []byte) (head, error) {
	var h head
	bad := fmt.Errorf("first line: %w", ErrDamaged)
	if len(line) != headLength || string(line[:len(magic)]) != magic {
		return h, bad
	}
	env, err1 := strconv.ParseUint(string(line[20:28]), 10, 31)
	body, err2 := strconv.ParseUint(string(line[34:46]), 10, 63)
	src, err3 := strconv.ParseUint(string(line[51:59]), 16, 32)
	crc, err4 := strconv.ParseUint(string(line[64:72]), 16, 32)
	if errors.Join(err1, err2, err3, err4) != nil || env > maxEnvelope {
		return h, bad
	}
	return head{env: int(env), body: int64(body), src: uint32(src), crc: uint32(crc)}, nil
}

// Draft is a message file that is being written. It is an io.Writer for the message; nothing of it counts before
// Commit, and nothing of it stays after Abort.
type Draft struct {
	spool    *Spool // nil in a front end
	on       *disk
	envelope *envelope.Envelope
	fs       FS
	dir      string // the directory, "SPOOL/queue"
	id       string
	suffix   string
	perm     fs.FileMode
	env      []byte
	src      uint32

	buf     []byte             // begins with room for the first line until something was spilled
	memory  *[draftMemory]byte // what buf begins in, of Spool.memories; nil: it has memory of its own
	spilled bool
	large   bool // the buffer is one of largeDrafts
	plain   bool // it is to be a file, not in the log
	// namedFirst gives the file its name before it is synced.
	namedFirst bool
	journal    []byte
	vouch      func() error // see VouchedBy
	unvouched  bool
	file       File // nil until the buffer ran over
	off        int64
	size       int64
	crc        uint32
	err        error
}

func newDraft(fsys FS, dir, id string, perm fs.FileMode, e *envelope.Envelope) (*Draft, error) {
	with := *e
	with.ID = id
	env, err := AppendEnvelope(nil, &with)
	if err != nil {
		return nil, err
	}
	if len(env) >= maxEnvelope {
		return nil, fmt.Errorf("the envelope has %d octets, more than %d", len(env), maxEnvelope)
	}
	return &Draft{fs: fsys, dir: dir, id: id, suffix: strconv.FormatUint(uint64(rand.Uint32()), 36), perm: perm, env: append(env, '\n')}, nil
}

// temp is a name of this draft alone: what a crash left of an earlier one must not be in the way.
func (d *Draft) temp() string  { return filepath.Join(d.dir, "."+d.id+"."+d.suffix) }
func (d *Draft) final() string { return filepath.Join(d.dir, d.id) }

// SetPast gives the message a journal from the beginning, and with held its place in the hold directory: it has been in
// another queue before. The message that Commit returns knows nothing of it and is to be closed.
func (d *Draft) SetPast(held bool, entries ...Entry) {
	d.plain = true
	for _, e := range entries {
		d.journal = appendLine(d.journal, e)
	}
	if held {
		d.dir = filepath.Join(d.on.dir, holdDir)
	}
}

// SetSource notes the checksum of the message as it was handed in, for README.md's drop/ID row.
func (d *Draft) SetSource(crc uint32) { d.src = crc }

// VouchedBy has f asked once, when the message is written and before it counts: an error of f undoes it, and is Commit's.
// What f waits for gets done while the disk works, where the message becomes a file.
func (d *Draft) VouchedBy(f func() error) { d.vouch = f }

// vouched asks.
func (d *Draft) vouched() error {
	if d.vouch == nil {
		return nil
	}
	err := d.vouch()
	d.vouch, d.unvouched = nil, err != nil
	return err
}

// Write takes the next octets of the message.
func (d *Draft) Write(p []byte) (int, error) {
	if d.err != nil {
		return 0, d.err
	}
	d.crc = Checksum(d.crc, p)
	d.size += int64(len(p))
	if d.buf == nil {
		d.begin(len(p))
	}
	n := len(p)
	for len(d.buf)+len(p) >= d.limit(len(p)) {
		k := max(0, min(len(p), d.limit(0)-len(d.buf)))
		d.buf = append(d.buf, p[:k]...)
		p = p[k:]
		d.spilled = true
		if d.err = d.spill(); d.err != nil {
			if d.spool != nil {
				d.spool.spurn(d.on, d.err)
			}
			return n - len(p), d.err
		}
	}
	d.buf = append(d.buf, p...)
	return n, nil
}

// begin makes the buffer, with room for n octets of the message.
func (d *Draft) begin(n int) {
	start := headLength + len(d.env)
	if d.spool != nil && d.spool.logged != nil && start < draftMemory {
		d.memory = d.spool.memories.Get().(*[draftMemory]byte)
		d.buf = d.memory[:start]
	} else {
		d.buf = make([]byte, start, start+max(n+1, 12<<10))
	}
	copy(d.buf[headLength:], d.env)
}

// forget gives back the memory that nothing needs any more.
func (d *Draft) forget() {
	if d.memory != nil {
		d.spool.memories.Put(d.memory)
		d.memory, d.buf = nil, nil
	}
}

// limit is how long the buffer may become, if n more octets come.
func (d *Draft) limit(n int) int {
	switch {
	case d.large:
		return logLimit
	case d.spilled || len(d.buf)+n < draftBuffer || d.spool == nil || d.spool.logged == nil:
	case d.spool.large.Add(1) > largeDrafts:
		d.spool.large.Add(-1)
	default:
		d.large = true
		return logLimit
	}
	return draftBuffer
}

// giveBack lets another draft be large.
func (d *Draft) giveBack() {
	if d.large {
		d.large, d.buf = false, []byte{}
		d.spool.large.Add(-1)
	}
}

// spill writes what is buffered, without a valid first line.
func (d *Draft) spill() error {
	if d.file == nil {
		if err := d.createSomewhere(); err != nil {
			return err
		}
	}
	_, err := d.file.WriteAt(d.buf, d.off)
	d.off += int64(len(d.buf))
	d.buf = d.buf[:0]
	d.giveBack()
	return err
}

// createSomewhere is create, in another of the spool's directories if this one takes no file.
func (d *Draft) createSomewhere() error {
	err := d.create()
	if err == nil || d.spool == nil || d.file != nil {
		return err
	}
	d.spool.spurn(d.on, err)
	for _, other := range d.spool.others(d.on) {
		d.on, d.dir = other, filepath.Join(other.dir, filepath.Base(d.dir))
		if again := d.create(); again == nil {
			return nil
		}
	}
	return err
}

func (d *Draft) create() error {
	f, err := d.fs.Create(d.temp(), d.perm)
	if err != nil {
		return err
	}
	d.file = f
	// The lock marks the file as being written, and keeps others from delivering it while its writer still does.
	if ok, err := f.TryLock(); err != nil || !ok {
		return errors.Join(err, fmt.Errorf("%s: a new file is locked", d.temp()))
	}
	return nil
}

// commitSomewhere is commit, in another of the spool's directories if this one cannot be written. A message that has
// begun to be a file cannot go elsewhere: its client sends it again.
func (d *Draft) commitSomewhere() (f File, h head, err error) {
	whole, state := d.buf, filepath.Base(d.dir)
	d.memory = nil // whole outlives a try that fails
	f, h, err = d.commit()
	if err == nil || d.unvouched {
		return f, h, err
	}
	d.spool.spurn(d.on, err)
	if d.spilled || errors.Is(err, fs.ErrExist) {
		return nil, h, err
	}
	for _, other := range d.spool.others(d.on) {
		d.on, d.dir, d.buf, d.err, d.off = other, filepath.Join(other.dir, state), whole, nil, 0
		var again error
		if f, h, again = d.commit(); again == nil {
			return f, h, nil
		}
		d.spool.spurn(other, again)
	}
	return nil, h, err
}

// commit makes the message durable under its name and returns the open, locked file. On an error nothing remains.
func (d *Draft) commit() (File, head, error) {
	h := d.head()
	if d.err == nil && d.size > 999_999_999_999 {
		d.err = errors.New("the message is too large for the spool's format")
	}
	if d.err == nil {
		d.err = d.finish(h)
	}
	if d.err == nil {
		d.err = d.vouched()
	}
	f, err := d.named()
	return f, h, err
}

func (d *Draft) head() head { return head{env: len(d.env), body: d.size, src: d.src, crc: d.crc} }

// named gives a file that is written and synced its name, unless d.err says that something went wrong.
func (d *Draft) named() (File, error) {
	if d.err != nil {
		d.Abort()
		return nil, d.err
	}
	if d.err = d.fs.Rename(d.temp(), d.final()); d.err != nil {
		d.Abort()
		return nil, d.err
	}
	if d.namedFirst {
		d.err = d.file.Sync()
	}
	if d.err == nil {
		d.err = d.fs.SyncDir(d.dir)
	}
	if d.err != nil {
		// Its caller is told "not accepted": take the name away before the lock goes.
		d.err = errors.Join(d.err, d.fs.Remove(d.final()))
		d.file.Close()
		return nil, d.err
	}
	f := d.file
	d.file, d.err = nil, fs.ErrClosed
	return f, nil
}

// image completes the buffer of a message that fits into it, and returns it: the octets of the whole file.
func (d *Draft) image() (head, []byte) {
	h := d.head()
	if d.buf == nil {
		d.buf = append(make([]byte, headLength), d.env...)
	}
	d.buf = append(d.buf, '\n') // between message and journal
	copy(d.buf, h.render(d.env))
	return h, d.buf
}

func (d *Draft) finish(h head) error {
	if !d.spilled {
		d.image()
	} else {
		d.buf = append(d.buf, '\n')
	}
	d.buf = append(d.buf, d.journal...)
	if err := d.spill(); err != nil {
		return err
	}
	if d.spilled {
		if _, err := d.file.WriteAt(h.render(d.env), 0); err != nil {
			return err
		}
	}
	if d.namedFirst {
		return nil
	}
	return d.file.Sync()
}

// Abort removes what was written.
func (d *Draft) Abort() {
	d.giveBack()
	d.forget()
	if d.file != nil {
		d.fs.Remove(d.temp())
		d.file.Close()
		d.file = nil
	}
	if d.err == nil {
		d.err = fs.ErrClosed
	}
}
