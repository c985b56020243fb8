package pipe

import (
	"context"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"waybill/transport"
	"waybill/transport/smtpclient"
)

// LMTP with a program on its standard input and output: the client of package smtpclient speaks it.
func TestDialogue(t *testing.T) {
	dir, users := site(t)
	lmtpd := script(t, dir+"/lmtpd", `echo "$0 $*" >`+dir+`/args; id -u >>`+dir+`/args
printf '220 x LMTP\r\n'
while IFS= read -r line; do
  line=$(printf '%s' "$line" | tr -d '\r'); echo "$line" >>`+dir+`/got
  case $line in
  LHLO*) printf '250 x\r\n';; MAIL*) printf '250 2.1.0 ok\r\n';; 'RCPT TO:<nosuch>'*) printf '550 5.1.1 no\r\n';; RCPT*) printf '250 2.1.5 ok\r\n';;
  DATA) printf '354 go\r\n'; while IFS= read -r l; do l=$(printf '%s' "$l" | tr -d '\r'); [ "$l" = . ] && break; echo "$l" >>`+dir+`/got; done; printf '250 2.0.0 bob\r\n452 4.2.2 full\r\n';;
  QUIT) printf '221 bye\r\n'; exit 0;; *) printf '250 ok\r\n';;
  esac
done`)
	d, err := NewDialer(Config{Program: lmtpd, Args: []string{"lmtpd", "-l"}, Users: users, User: "prog"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	c, err := smtpclient.New(smtpclient.Config{Hello: "x", LMTP: true, Socket: "program", Dial: d.Dial, TLS: smtpclient.TLSNever})
	if err != nil {
		t.Fatal(err)
	}
	statuses := c.Deliver(context.Background(), request(user("bob"), user("nosuch"), user("carol")))
	check(t, "bob", statuses[0], transport.Delivered, "2.0.0")
	check(t, "nosuch", statuses[1], transport.Failed, "5.1.1")
	check(t, "carol", statuses[2], transport.Deferred, "4.2.2")
	c.Close()
	if got := read(t, dir+"/got"); !strings.Contains(got, "RCPT TO:<carol>\nDATA\nSubject: hi\n\nbody\n") {
		t.Errorf("the program got %q", got)
	}
	if _, err := NewDialer(Config{Program: lmtpd, Args: []string{"lmtpd", "$u"}}, nil); err == nil {
		t.Error("a dialogue with a recipient as an argument is accepted")
	}
	if _, err := NewDialer(Config{}, nil); err == nil {
		t.Error("a dialogue with nothing is accepted")
	}
	missing, err := NewDialer(Config{Program: dir + "/missing", Args: []string{"x"}, Users: users, User: "prog"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := missing.Dial(context.Background(), "", ""); err == nil {
		t.Error("a missing program")
	}
}

func TestDialogueIsKilled(t *testing.T) {
	dir, users := site(t)
	d, err := NewDialer(Config{Program: script(t, dir+"/hang", "trap '' TERM HUP; echo $$ >"+dir+"/pid; exec sleep 1000"), Args: []string{"hang"}, Users: users, User: "prog"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := d.Dial(context.Background(), "", "")
	if err != nil {
		t.Fatal(err)
	}
	for range 3000 { // it runs
		if text, err := os.ReadFile(dir + "/pid"); err == nil && strings.HasSuffix(string(text), "\n") {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err := conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); !os.IsTimeout(err) {
		t.Errorf("reading from a silent program: %v", err)
	}
	begin := time.Now()
	conn.Close()
	if took := time.Since(begin); took > 30*time.Second {
		t.Errorf("took %v", took)
	}
	if _, err := os.Stat("/proc/" + strings.TrimSpace(read(t, dir+"/pid"))); err == nil {
		t.Error("the program lives on")
	}
}
