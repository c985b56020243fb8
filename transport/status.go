package transport

import (
	"strings"
)

// Outcome is what became of one recipient in one attempt.
type Outcome uint8

const (
	Deferred  Outcome = iota // not now: try again. The zero Status is this, so that nothing forgotten becomes "no"
	Delivered                // in its mailbox, program or file: final delivery
	Relayed                  // accepted by the next hop
	Failed                   // never: the sender is told
	Discarded                // thrown away because a rule said so
)

var outcomeWords = [...]string{"deferred", "delivered", "relayed", "failed", "discarded"}

func (o Outcome) String() string { return outcomeWords[o] }

// Status is the outcome for one recipient: never without a code and a reason. Make one with NewStatus.
type Status struct {
	outcome Outcome
	code    string
	text    string

	Remote     string // the host that decided, "mx.example.com [192.0.2.1]"; empty when it was us
	Reply      string // that host's reply as one line, "550 5.1.1 no such user"; empty when there was none
	Diagnostic string // the kind of Reply in a DSN: "smtp", "x-unix" (RFC 3464 2.3.6); empty when Reply is
	TLS        string // "TLSv1.3 TLS_AES_128_GCM_SHA256 verified" when the next hop was reached with TLS
	DSN        bool   // the next hop took over NOTIFY, ORCPT, RET and ENVID: success is its to report (RFC 3461 5.2.1)
	By         bool   // the next hop took over DELIVERBY (RFC 2852)
	Plain      bool   // the next hop does not promise enhanced codes (RFC 2034)
	Exit       int    // the exit status that sendmail would end with; 0 leaves it to the code
	// Transcript are lines for the transcript of a notice: what a program printed, or the dialogue with a host in
	// sendmail's form. It lives as long as the attempt.
	Transcript []string
	Taken      string // the reply with which the next hop took the recipient, for a report of success; mostly empty
	// Became is what the rules made of an address before they refused it, for the report; mostly empty.
	Became string
}

// NewStatus returns a status with an enhanced code (RFC 3463, "5.1.1") and a text of one line for people. A status
// must have both, and the first digit of the code must fit the outcome (2: delivered, relayed, discarded; 4: deferred;
// 5: failed). One that breaks this is a mistake of ours, and no mistake of ours may lose mail: it becomes
// Deferred 4.3.5 with a text that says so.
func NewStatus(o Outcome, code, text string) Status {
	want := byte('2')
	switch o {
	case Deferred:
		want = '4'
	case Failed:
		want = '5'
	}
	text = strings.TrimSpace(text)
	if text == "" || !ValidCode(code) || code[0] != want {
		return Status{outcome: Deferred, code: "4.3.5", text: "internal error: " + o.String() + " status with code " + quoted(code) + " and text " + quoted(text)}
	}
	return Status{outcome: o, code: code, text: text}
}

func quoted(s string) string { return `"` + s + `"` }

// ValidCode reports whether s is an enhanced status code of class 2, 4 or 5 (RFC 3463 2).
func ValidCode(s string) bool {
	part := strings.Split(s, ".")
	if len(part) != 3 || (part[0] != "2" && part[0] != "4" && part[0] != "5") {
		return false
	}
	for _, p := range part[1:] {
		if len(p) < 1 || len(p) > 3 || strings.Trim(p, "0123456789") != "" {
			return false
		}
	}
	return true
}

// Outcome tells what became of the recipient.
func (s Status) Outcome() Outcome { return s.outcome }

// Code is the enhanced status code, "4.4.1". The zero Status has "4.3.0".
func (s Status) Code() string {
	if s.code == "" {
		return "4.3.0"
	}
	return s.code
}

// Text is the reason in one line, for people.
func (s Status) Text() string {
	if s.text == "" {
		return "no status was given"
	}
	return s.text
}
