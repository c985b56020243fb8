package authsock

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
)

// listen serves each connection with f.
func listen(t *testing.T, f func(net.Conn)) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sock")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				f(c)
			}()
		}
	}()
	return path
}

func TestDovecot(t *testing.T) {
	hello := "VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nMECH\tLOGIN\tplaintext\nSPID\t1\nCUID\t2\nCOOKIE\tabc\nDONE\n"
	for _, c := range []struct {
		hello, answer string
		ok, err       bool
	}{
		{hello, "OK\t1\tuser=tester\n", true, false},
		{hello, "FAIL\t1\tuser=tester\n", false, false},
		{hello, "FAIL\t1\tuser=tester\ttemp\n", false, true},
		{hello, "FAIL\t1\tcode=temp_fail\n", false, true},
		{hello, "OK\t7\tuser=root\nFAIL\t1\n", false, false},
		{hello, "CONT\t1\t\n", false, true},
		{hello, "", false, true},
		{"VERSION\t2\t0\nDONE\n", "OK\t1\n", false, true},
		{"VERSION\t1\t0\nMECH\tGSSAPI\nDONE\n", "OK\t1\n", false, true},
		{strings.Repeat("x", 100_000), "OK\t1\n", false, true},
		{"", "", false, true},
	} {
		path := listen(t, func(conn net.Conn) {
			br := bufio.NewReader(conn)
			br.ReadString('\n')
			br.ReadString('\n')
			io.WriteString(conn, c.hello)
			if c.hello == "" {
				return
			}
			line, _ := br.ReadString('\n')
			want := "AUTH\t1\tPLAIN\tservice=smtp\tsecured\tresp=" + base64.StdEncoding.EncodeToString([]byte("\x00tester\x00pass\tword")) + "\n"
			if line != "" && line != want {
				t.Errorf("asked %q", line)
			}
			io.WriteString(conn, c.answer)
		})
		if ok, err := (Dovecot{path}).Verify(context.Background(), "tester", "pass\tword"); ok != c.ok || (err != nil) != c.err {
			t.Errorf("%q: %v, %v", c.answer, ok, err)
		}
	}
	if _, err := (Dovecot{"/nonexistent"}).Verify(context.Background(), "a", "b"); err == nil {
		t.Error("no socket is no answer")
	}
}

func TestSaslauthd(t *testing.T) {
	for _, c := range []struct {
		answer  string
		ok, err bool
	}{{"OK", true, false}, {"NO authentication failed", false, false}, {"what", false, true}, {"", false, true}} {
		path := listen(t, func(conn net.Conn) {
			var got []string
			for range 4 {
				var n [2]byte
				io.ReadFull(conn, n[:])
				b := make([]byte, binary.BigEndian.Uint16(n[:]))
				io.ReadFull(conn, b)
				got = append(got, string(b))
			}
			if fmt.Sprint(got) != "[tester hunter2 smtp example.org]" {
				t.Errorf("asked %q", got)
			}
			conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(c.answer))), c.answer...))
		})
		if ok, err := (Saslauthd{Path: path, Realm: "example.org"}).Verify(context.Background(), "tester", "hunter2"); ok != c.ok || (err != nil) != c.err {
			t.Errorf("%q: %v, %v", c.answer, ok, err)
		}
	}
	path := listen(t, func(net.Conn) {})
	if _, err := (Saslauthd{Path: path}).Verify(context.Background(), "a", "b"); err == nil {
		t.Error("a cut is no answer")
	}
}
