package app

import (
	"strconv"
	"strings"
	"time"

	"waybill/queue/maillog"
	"waybill/queue/spool"
	"waybill/transport/smtp"
)

// cfTrace is what the log is to have of a session in sendmail's words.
type cfTrace struct {
	id     string // of the transaction at hand; empty: none was needed
	sender string // that MAIL gave, as it was written; empty: there was no MAIL
	rcpts  int    // that were taken
	spoke  bool   // the client asked for something
}

// logID is the id of lines about a transaction that has no message yet.
func (s cfSession) logID() string {
	if s.trace.id == "" {
		s.trace.id = new(spool.IDs).New(time.Now())
	}
	return s.trace.id
}

// refusedLine logs a refusal as sendmail does: of a user whom nobody knows it says no more than that.
func (s cfSession) refusedLine(r maillog.Reject) {
	_, text, _ := strings.Cut(r.Text, " ")
	if _, said, ok := strings.Cut(text, " "); ok && r.Ruleset == "check_rcpt" && r.Verb == "reject" && strings.HasSuffix(said, "... User unknown") {
		s.site.mail.Line(s.logID(), said)
		return
	}
	r.ID, r.Relay = s.logID(), s.Peer()
	s.site.mail.Reject(r)
}

// asked notes that the client looks for somebody.
func (s cfSession) asked(command, name string) {
	s.trace.spoke = true
	s.site.mail.Line(s.logID(), s.Peer()+": "+command+" "+name)
}

// unfinished logs a transaction that ends before there is a message.
func (s cfSession) unfinished() {
	if t := s.trace; t.sender != "" {
		proto := s.client.Protocol(false)
		s.site.mail.Line(s.logID(), "from="+smtp.Printable(t.sender)+", size=0, class=0, nrcpts="+strconv.Itoa(t.rcpts)+", proto="+proto+", relay="+s.Peer())
	}
	s.trace.id, s.trace.sender, s.trace.rcpts = "", "", 0
}
