package mbox_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"waybill/transport"
	"waybill/transport/envelope"
	"waybill/transport/mbox"
)

// acknowledging delivers numbered messages and says so, one line for each, until it is killed.
func acknowledging(dir, name string) int {
	m, err := mbox.New(mbox.Config{Path: dir + "/$user", LockTimeout: time.Minute})
	if err != nil {
		return 1
	}
	for i := 0; ; i++ {
		req := request("bob")
		id := fmt.Sprintf("%s-%d", name, i)
		req.Body = envelope.BytesBody("Id: " + id + "\n\n" + strings.Repeat(id+"\n", 20_000) + "end " + id + "\n")
		if s := m.Deliver(context.Background(), req)[0]; s.Outcome() != transport.Delivered {
			fmt.Println("no", s.Text())
			return 1
		}
		fmt.Println("ok", id)
	}
}

// Killed at any moment, what was acknowledged is there once and whole, and what was not harms nobody else: neither half
// a message nor a lock that was left behind.
func TestKilled(t *testing.T) {
	dir := t.TempDir()
	acknowledged := map[string]bool{}
	for run := range 15 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "MBOX_TEST_KILLED="+dir, fmt.Sprintf("MBOX_TEST_NAME=r%d", run))
		out, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		lines := bufio.NewScanner(out)
		for first := true; lines.Scan(); first = false {
			if first {
				time.AfterFunc(time.Duration(rand.IntN(120))*time.Millisecond, func() { _ = cmd.Process.Kill() })
			}
			id, ok := strings.CutPrefix(lines.Text(), "ok ")
			if !ok {
				t.Errorf("run %d: %s", run, lines.Text())
				continue
			}
			acknowledged[id] = true
		}
		_ = cmd.Wait()
		// a lock of a process that is gone counts as left behind when it is two seconds old
		then := time.Now().Add(-3 * time.Second)
		if err := os.Chtimes(filepath.Join(dir, "bob.lock"), then, then); err != nil && !os.IsNotExist(err) {
			t.Error(err)
		}
	}
	seen := map[string]int{}
	torn := 0
	for _, text := range strings.Split("\n"+read(t, filepath.Join(dir, "bob")), "\nFrom s@x ")[1:] {
		_, rest, _ := strings.Cut(text, "Id: ")
		id, rest, _ := strings.Cut(rest, "\n\n")
		if strings.TrimRight(rest, "\n") == strings.Repeat(id+"\n", 20_000)+"end "+id {
			seen[id]++
		} else {
			torn++
		}
	}
	for id := range acknowledged {
		if seen[id] != 1 {
			t.Errorf("%s was acknowledged and is there %d times", id, seen[id])
		}
	}
	if len(acknowledged) < 15 || torn > 15 {
		t.Errorf("%d messages acknowledged, %d torn", len(acknowledged), torn)
	}
	t.Logf("%d acknowledged, %d whole, %d torn by a kill", len(acknowledged), len(seen), torn)
}
