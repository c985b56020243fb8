package table

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// directory is the class ldap: a directory is asked (RFC 4511). LDAP is spoken by a program of its own, waybill-ldap(8),
// so that a daemon without such tables carries nothing of it. It is started at the first lookup, and asked with the
// protocol of socketmap over its standard input; with -K, the arguments follow the key, each behind a NUL octet.
type directory struct {
	*flags
	spec    *LDAP
	program string
	told    atomic.Bool
	helpers chan *helper // those that are idle
	running chan struct{}

	once sync.Once // asks whether an optional one can be reached
	gone bool
}

// Limits of a table of class ldap.
const (
	maxHelpers = 4 // programs, each with a connection to the directory
	ldapTime   = 2 * time.Minute
)

// helper is one running program.
type helper struct {
	conn net.Conn
	in   *bufio.Reader
}

// newDirectory opens the class ldap.
func newDirectory(f *flags, env Env) (Table, error) {
	spec, says, broken := ParseLDAP(f.def.Name, f.def.Args)
	switch {
	case broken && env.Native:
		return nil, fmt.Errorf("%s: table %s: %s", f.def.Pos, f.def.Name, says[len(says)-1])
	case broken: // sendmail has complained
		return Broken{}, nil
	}
	d := &directory{flags: f, spec: spec, program: env.LDAP, helpers: make(chan *helper, maxHelpers), running: make(chan struct{}, maxHelpers)}
	if d.program == "" {
		if self, err := os.Executable(); err == nil {
			d.program = filepath.Join(filepath.Dir(self), "waybill-ldap")
		}
	}
	return d, nil
}

// Open reports whether there is anything to ask: sendmail tries to reach the directory of an optional map when it opens it.
func (d *directory) Open() bool {
	if !d.optional {
		return true
	}
	d.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), ldapTime)
		defer cancel()
		_, err := d.ask(ctx, "", "\x00hello")
		d.gone = err != nil
	})
	return !d.gone
}

// Lookup asks one of the programs, and starts one more when all are busy and there are few.
func (d *directory) Lookup(ctx context.Context, raw string, args []string) (Result, bool, error) {
	if !d.Open() {
		return Result{}, false, nil
	}
	key := d.clean(raw)
	question := key
	if d.spec.Multiple && len(args) > 0 {
		question += "\x00" + strings.Join(args, "\x00")
	}
	answer, err := d.ask(ctx, question, "")
	if err != nil {
		return d.failed(raw, fmt.Errorf("table %s: %w", d.def.Name, err))
	}
	word, value, _ := strings.Cut(answer, " ")
	switch word {
	case "OK":
		if d.match {
			value = raw
		}
		return Result{Value: value + d.suffix}, true, nil // what a directory says has no %-expansion
	case "NOTFOUND":
		return Result{}, false, nil
	case "TEMP":
		say := &Complaint{Say: value, Err: fmt.Errorf("table %s: %s", d.def.Name, value), Again: !strings.HasPrefix(value, "ldap_init/")}
		if !say.Again && d.told.Swap(true) { // that nobody is there is said once
			return d.failed(raw, say.Err)
		}
		return d.failed(raw, say)
	}
	return d.failed(raw, fmt.Errorf("table %s: %s says %q", d.def.Name, d.program, answer))
}

// ask puts a question, or with verb another one, to a program. One that has gone is started again, once.
func (d *directory) ask(ctx context.Context, question, verb string) (string, error) {
	for again := range 2 {
		h, err := d.take(ctx)
		if err != nil {
			return "", err
		}
		answer, err := h.ask(ctx, d.def.Name+verb+" "+question)
		if err == nil {
			d.helpers <- h
			if verb != "" && !strings.HasPrefix(answer, "OK") {
				return "", errors.New(answer)
			}
			return answer, nil
		}
		h.conn.Close()
		<-d.running
		if again == 1 || ctx.Err() != nil {
			return "", err
		}
		for len(d.helpers) > 0 { // the others may have gone as well
			select {
			case old := <-d.helpers:
				old.conn.Close()
				<-d.running
			default:
			}
		}
	}
	return "", errors.New("no answer")
}

func (d *directory) take(ctx context.Context) (*helper, error) {
	select {
	case h := <-d.helpers:
		return h, nil
	default:
	}
	select {
	case h := <-d.helpers:
		return h, nil
	case d.running <- struct{}{}:
		h, err := d.start()
		if err != nil {
			<-d.running
		}
		return h, err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// start starts a program. It ends when the other end of its standard input is closed, which happens at the latest when
// nobody has this table any more.
func (d *directory) start() (*helper, error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "waybill-ldap"), os.NewFile(uintptr(fds[1]), "waybill-ldap")
	defer ours.Close()
	defer theirs.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(d.program, append([]string{"--", d.def.Name}, d.def.Args...)...)
	cmd.Stdin, cmd.Stdout = theirs, theirs
	cmd.Env = []string{"PATH=/usr/bin:/bin"}
	for _, name := range []string{"KRB5CCNAME", "LDAPTLS_CACERT"} {
		if v, ok := os.LookupEnv(name); ok {
			cmd.Env = append(cmd.Env, name+"="+v)
		}
	}
	if err := cmd.Start(); err != nil {
		conn.Close()
		return nil, err
	}
	go cmd.Wait()
	return &helper{conn, bufio.NewReader(conn)}, nil
}

func (h *helper) ask(ctx context.Context, request string) (string, error) {
	deadline := time.Now().Add(ldapTime)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	if err := h.conn.SetDeadline(deadline); err != nil {
		return "", err
	}
	stop := context.AfterFunc(ctx, func() { h.conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := WriteNetstring(h.conn, request); err != nil {
		return "", err
	}
	return ReadNetstring(h.in)
}

// reason is an error in the words of the C library.
func reason(err error) string {
	var no syscall.Errno
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "No such file or directory"
	case errors.Is(err, fs.ErrPermission):
		return "Permission denied"
	case errors.As(err, &no):
		s := no.Error()
		return strings.ToUpper(s[:1]) + s[1:]
	}
	return err.Error()
}
