package app

import (
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/iotest"

	"waybill/queue/maillog"
	"waybill/transport/smtpserver"
)

// TestSessionIsLogged has what sendmail -bs logs of sessions that bring no message.
func TestSessionIsLogged(t *testing.T) {
	for say, want := range map[string]string{
		"HELO c.test\r\nQUIT\r\n": "ID: PEER did not issue MAIL/EXPN/VRFY/ETRN during connection to stdin",
		"VRFY bob\r\nQUIT\r\n":    "ID: PEER: VRFY bob",
		"EHLO c.test\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<nobody-here>\r\nRCPT TO:<root>\r\nRSET\r\nQUIT\r\n": "ID: <nobody-here>... User unknown\n" +
			"ID: from=<a@example.org>, size=0, class=0, nrcpts=1, proto=ESMTP, relay=PEER",
		"MAIL FROM:<bad@example.org>\r\nQUIT\r\n": "ID: ruleset=check_mail, arg1=<bad@example.org>, relay=PEER, reject=550 5.7.1 <bad@example.org>... Access denied\n" +
			"ID: from=<bad@example.org>, size=0, class=0, nrcpts=0, proto=SMTP, relay=PEER",
	} {
		dir := t.TempDir()
		if err := os.Chmod(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		config, log := filepath.Join(dir, "x.cf"), filepath.Join(dir, "log")
		if err := os.WriteFile(config, []byte("V10/Berkeley\nDjmail.example.org\nCwmail.example.org\nO QueueDirectory="+dir+"\nO OperatorChars=.:%@!^/[]+\n"+
			"Mlocal, P=/bin/true, F=lsDFMAw5S, A=x $u\nMprog, P=/bin/sh, F=lsDFMo, A=sh -c $u\n"+
			"Scheck_mail\nR<bad@$*>\t$#error $@ 5.7.1 $: \"550 Access denied\"\nS0\nR$+\t$#local $: $1\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := openCF(config, slog.LevelError, nil)
		if err != nil {
			t.Fatal(err)
		}
		if s.mail, err = maillog.Open(log, maillog.Options{Tag: "sendmail", Host: "mail", Classic: s.cfLog(s.cf.conf)}); err != nil {
			t.Fatal(err)
		}
		s.cf.pipe = true
		server, err := s.server(true)
		if err != nil {
			t.Fatal(err)
		}
		pipe := struct {
			io.Reader
			io.Writer
		}{iotest.OneByteReader(strings.NewReader(say)), io.Discard}
		if err := server.ServeConn(t.Context(), pipe, smtpserver.Client{Name: "localhost"}); err != nil {
			t.Error(err)
		}
		peer := frontEnds{s: s}.userName(os.Getuid()) + "@localhost"
		s.close(t.Context())
		text, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		got := regexp.MustCompile(`(?m)^.*?sendmail\[\d+\]: `).ReplaceAllString(string(text), "")
		got = regexp.MustCompile(`(?m)^\w{14,}: `).ReplaceAllString(strings.ReplaceAll(got, peer, "PEER"), "ID: ")
		if strings.TrimSpace(got) != want {
			t.Errorf("%q is logged as\n%s\nnot\n%s", say, got, want)
		}
	}
}
