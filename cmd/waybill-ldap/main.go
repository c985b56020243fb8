// Command waybill-ldap asks directories for tables of class ldap. What flows in are requests of the protocol of socketmap,
// "NAME KEY" as a netstring, over standard input or a Unix socket; what flows out are its answers: "OK VALUE", "NOTFOUND ",
// or "TEMP WHY" with what sendmail says. Where to ask and what for is on the command line, in the words of a K line
// (Sendmail Operations Guide 5.11). The engine starts it for its tables; it speaks LDAP so that nothing else has to.
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"waybill/rules/table"
	"waybill/transport/sysexits"
)

// idle is how long the program waits for the next request on standard input before it ends; whoever needs it starts it
// again.
const idle = 10 * time.Minute

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

func run(args []string, in *os.File, out, complaints io.Writer) int {
	fs := flag.NewFlagSet("waybill-ldap", flag.ContinueOnError)
	fs.SetOutput(complaints)
	socket := fs.String("listen", "", "serve everybody who may connect to this Unix `socket`, instead of standard input")
	fs.Usage = func() {
		fmt.Fprintln(complaints, "usage: waybill-ldap [-listen SOCKET] [--] NAME OPTION...")
		fs.PrintDefaults()
	}
	if err := fs.Parse(args); err != nil {
		return sysexits.Usage
	}
	if fs.NArg() < 1 {
		fs.Usage()
		return sysexits.Usage
	}
	name := fs.Arg(0)
	spec, says, broken := table.ParseLDAP(name, fs.Args()[1:])
	for _, say := range says {
		fmt.Fprintf(complaints, "waybill-ldap: %s\n", say)
	}
	if broken {
		return sysexits.Config
	}
	if *socket != "" {
		return listen(*socket, name, spec, complaints)
	}
	s := &server{name: name, dir: newDirectory(name, spec)}
	defer s.dir.close()
	var conn net.Conn
	if c, err := net.FileConn(in); err == nil { // a socket, that the engine keeps the other end of
		conn, out = c, c
		defer c.Close()
		s.serve(c, out, func() { conn.SetReadDeadline(time.Now().Add(idle)) })
		return sysexits.OK
	}
	s.serve(in, out, func() {})
	return sysexits.OK
}

// listen serves a Unix socket, each connection with a connection to the directory of its own.
func listen(path, name string, spec *table.LDAP, complaints io.Writer) int {
	if info, err := os.Lstat(path); err == nil && info.Mode()&os.ModeSocket != 0 {
		os.Remove(path) // of a program that has gone; one that runs keeps what it has open
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		fmt.Fprintf(complaints, "waybill-ldap: %v\n", err)
		return sysexits.OSErr
	}
	defer l.Close()
	for {
		conn, err := l.Accept()
		if err != nil {
			fmt.Fprintf(complaints, "waybill-ldap: %v\n", err)
			return sysexits.OSErr
		}
		go func() {
			defer conn.Close()
			s := &server{name: name, dir: newDirectory(name, spec)}
			defer s.dir.close()
			s.serve(conn, conn, func() { conn.SetReadDeadline(time.Now().Add(idle)) })
		}()
	}
}

// server answers requests, one after the other.
type server struct {
	name string
	dir  *directory
}

// serve answers until the other end closes, or says what is no request.
func (s *server) serve(in io.Reader, out io.Writer, before func()) {
	requests := bufio.NewReader(in)
	for {
		before()
		request, err := table.ReadNetstring(requests)
		if err != nil {
			return
		}
		if err := table.WriteNetstring(out, s.answer(request)); err != nil {
			return
		}
	}
}

// answer is the answer to one request.
func (s *server) answer(request string) string {
	name, key, ok := strings.Cut(request, " ")
	switch {
	case !ok:
		return "PERM a request is a name and a key"
	case name == s.name+"\x00hello": // is the directory there?
		if err := s.dir.connect(); err != nil {
			return "TEMP " + err.Error()
		}
		return "OK "
	case !strings.EqualFold(name, s.name):
		return "PERM there is no map " + name + " here"
	}
	parts := strings.Split(key, "\x00")
	value, err := s.dir.lookup(parts[0], parts[1:])
	switch {
	case errors.Is(err, errNotFound):
		return "NOTFOUND "
	case err != nil:
		return "TEMP " + err.Error()
	}
	return "OK " + value
}
