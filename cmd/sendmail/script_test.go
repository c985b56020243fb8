package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"waybill/queue/spool"
	"waybill/transport/envelope"
)

// TestMain makes the names that scripts call. waybill is a stand-in that tells how it was called: what the engine does
// with it is tested with the engine.
func TestMain(m *testing.M) {
	commands := map[string]func(){
		"waybill": func() {
			if os.Args[1] == "handover" {
				oneShot()
				return
			}
			fmt.Printf("waybill %q\n", os.Args[1:])
			if os.Args[1] == "deliver" {
				os.Exit(67)
			}
		},
	}
	for _, name := range []string{"sendmail", "mailq", "newaliases", "hoststat", "purgestat", "runq"} {
		commands[name] = func() { os.Exit(program{passwd: os.Getenv("TEST_PASSWD")}.run()) }
	}
	testscript.Main(m, commands)
}

// TestScripts runs testdata/script/sendmail-*.txtar at the top of the tree. Beside testscript's own commands there are
//
//	exits STATUS COMMAND ARGS...   runs a command, which must end with exactly this status
//	daemon                         starts a daemon behind spool/submit.sock that keeps what it gets in the folder got;
//	                               it refuses recipients that begin with "nosuch"
//	dropped N                      the spool must hold N dropped messages; the file "drop" becomes the last of them
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Files: scripts(t),
		Setup: func(env *testscript.Env) error {
			env.Setenv("TZ", "UTC")
			env.Setenv("HOME", env.WorkDir+"/home")
			env.Setenv("TEST_PASSWD", env.WorkDir+"/passwd")
			user := fmt.Sprintf("alice:x:%d:1001:& O. Example,Room 1:%s/home:/bin/sh\n", os.Getuid(), env.WorkDir)
			if err := os.WriteFile(filepath.Join(env.WorkDir, "passwd"), []byte(user), 0o600); err != nil {
				return err
			}
			site := fmt.Sprintf("host mail.example.org\nspool %s/spool\n", env.WorkDir)
			for _, dir := range []string{"spool/drop", "home", "got"} {
				if err := os.MkdirAll(filepath.Join(env.WorkDir, dir), 0o700); err != nil {
					return err
				}
			}
			return os.WriteFile(filepath.Join(env.WorkDir, "site.rules"), []byte(site), 0o600)
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exits":   exits,
			"daemon":  daemon,
			"dropped": dropped,
		},
	})
}

func scripts(t *testing.T) []string {
	files, err := filepath.Glob("../../testdata/script/sendmail-*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	return files
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 || neg {
		ts.Fatalf("usage: exits STATUS COMMAND ARGS...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var status *exec.ExitError
		if !errors.As(err, &status) {
			ts.Fatalf("%v", err)
		}
		got = status.ExitCode()
	}
	if got != want {
		ts.Fatalf("%s exited with %d, not %d", strings.Join(args[1:], " "), got, want)
	}
}

func dropped(ts *testscript.TestScript, neg bool, args []string) {
	files, err := filepath.Glob(ts.MkAbs("spool/drop/*"))
	ts.Check(err)
	hidden, err := filepath.Glob(ts.MkAbs("spool/drop/.*"))
	ts.Check(err)
	if len(hidden) > 0 {
		ts.Fatalf("half-written: %v", hidden)
	}
	if strconv.Itoa(len(files)) != args[0] {
		ts.Fatalf("%d dropped messages, not %s", len(files), args[0])
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		ts.Check(err)
		ts.Check(os.WriteFile(ts.MkAbs("drop"), data, 0o600))
		ts.Check(os.Remove(f))
	}
}

func daemon(ts *testscript.TestScript, neg bool, args []string) {
	listener, err := spool.Listen(ts.MkAbs("spool/submit.sock"))
	ts.Check(err)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- spool.Serve(ctx, listener, &keeper{dir: ts.MkAbs("got")}, slog.New(slog.DiscardHandler))
	}()
	ts.Defer(func() {
		stop()
		if err := <-done; err != nil {
			ts.Logf("%v", err)
		}
	})
}

// oneShot is "waybill handover" of the scripts: with a file "broken" beside the rules it dies before it answers.
func oneShot() {
	dir := filepath.Dir(os.Args[3])
	if _, err := os.Stat(filepath.Join(dir, "broken")); err == nil {
		os.Exit(78)
	}
	conn, err := net.FileConn(os.Stdin)
	if err != nil {
		os.Exit(1)
	}
	err = spool.ServeConn(context.Background(), conn.(*net.UnixConn), &keeper{dir: filepath.Join(dir, "got")}, slog.New(slog.DiscardHandler))
	if err != nil {
		os.Exit(1)
	}
}

// keeper is the daemon of the scripts.
type keeper struct{ dir string }

func (k *keeper) Submit(_ context.Context, _ spool.Peer, e *envelope.Envelope, body io.Reader, verbose func(string)) (spool.Reply, error) {
	var reply spool.Reply
	var good []envelope.Recipient
	for i, r := range e.Recipients {
		switch {
		case strings.HasPrefix(strings.TrimLeft(r.Name(), `\`), "nosuch"):
			reply.Refused = append(reply.Refused, spool.Refusal{Index: i, Code: "5.1.1", Text: "User unknown"})
		case r.Name() == "busy":
			return reply, &spool.RefusedError{Exit: 75, Text: "too busy"}
		case r.Name() == "toolarge":
			return reply, &spool.RefusedError{Exit: 69, Text: "Message exceeds maximum fixed size"}
		default:
			good = append(good, r)
		}
	}
	if len(good) == 0 {
		reply.Exit = 67
		return reply, nil
	}
	e.Recipients = good
	text, err := spool.AppendEnvelope(nil, e)
	if err != nil {
		return reply, err
	}
	file, err := os.Create(filepath.Join(k.dir, "message"))
	if err != nil {
		return reply, err
	}
	defer file.Close()
	if _, err := fmt.Fprintf(file, "%s\n", text); err != nil {
		return reply, err
	}
	if _, err := io.Copy(file, body); err != nil {
		return reply, err
	}
	if verbose != nil {
		verbose(good[0].Name() + "... Connecting to local...")
	}
	reply.ID = e.ID
	return reply, nil
}

func (k *keeper) Control(context.Context, spool.Peer, []string, func(string) error) error {
	return errors.New("no controls here")
}
