// Package envelope holds the words that every part of Waybill shares: who sends, who receives, and where the
// octets of the message are. It flows from whoever accepts a message (the front end, the SMTP server) through
// the queue to the transport that delivers it. It imports the standard library only.
package envelope

import (
	"strings"
	"time"
)

// Address is a mailbox as in an SMTP path, without the angle brackets (RFC 5321 4.1.2): "bob@example.org", "bob",
// "site!bob". The empty Address is the null sender "<>". An Address never names a program or a file: see Command
// and FileName.
type Address string

// Null reports whether a is the null sender.
func (a Address) Null() bool { return a == "" }

// Split cuts a at its last "@" outside quotes. Without one, domain is empty and local is the whole address.
func (a Address) Split() (local, domain string) {
	quoted := false
	at := -1
	for i := 0; i < len(a); i++ {
		switch a[i] {
		case '\\':
			i++
		case '"':
			quoted = !quoted
		case '@':
			if !quoted {
				at = i
			}
		}
	}
	if at < 0 {
		return string(a), ""
	}
	return string(a[:at]), string(a[at+1:])
}

// Domain is the part of a behind the last "@" outside quotes, in lower case; empty where there is none.
func (a Address) Domain() string {
	_, domain := a.Split()
	return strings.ToLower(domain)
}

// Command is a program that an alias, a .forward file or the configuration named as a recipient, without its "|". It may
// keep the quotes that it was written with: those of |"command", and of "|command" with the "|" in them.
// Nothing that arrives from the network is ever converted into one.
type Command string

// FileName is an absolute path that an alias, a .forward file or the configuration named as a recipient. Nothing
// that arrives from the network is ever converted into one.
type FileName string

// BodyType is what the sender declared about the octets of the body (RFC 6152, RFC 3030).
type BodyType string

const (
	BodyUndeclared BodyType = ""
	Body7Bit       BodyType = "7BIT"
	Body8BitMIME   BodyType = "8BITMIME"
	BodyBinaryMIME BodyType = "BINARYMIME"
)

// Notify is the set of events of which the sender wants to hear (RFC 3461 4.1). Zero is the default, which is
// failure and delay.
type Notify uint8

const (
	NotifyNever Notify = 1 << iota
	NotifySuccess
	NotifyFailure
	NotifyDelay
)

// WantsFailure reports whether a failure must be reported to the sender.
func (n Notify) WantsFailure() bool { return n == 0 || n&NotifyFailure != 0 }

// WantsDelay reports whether a long delay is reported to the sender.
func (n Notify) WantsDelay() bool { return n == 0 || n&NotifyDelay != 0 }

// WantsSuccess reports whether a delivery is reported to the sender.
func (n Notify) WantsSuccess() bool { return n&NotifySuccess != 0 }

// String renders n as the value of a NOTIFY parameter: "NEVER", "SUCCESS,FAILURE"; empty for the default.
func (n Notify) String() string {
	if n&NotifyNever != 0 {
		return "NEVER"
	}
	var words []string
	for _, w := range notifyWords {
		if n&w.bit != 0 {
			words = append(words, w.word)
		}
	}
	return strings.Join(words, ",")
}

var notifyWords = []struct {
	word string
	bit  Notify
}{{"SUCCESS", NotifySuccess}, {"FAILURE", NotifyFailure}, {"DELAY", NotifyDelay}}

// ParseNotify reads the value of a NOTIFY parameter, in any case. NEVER excludes the other words (RFC 3461 4.1).
func ParseNotify(s string) (Notify, bool) {
	if strings.EqualFold(s, "NEVER") {
		return NotifyNever, true
	}
	var n Notify
next:
	for word := range strings.SplitSeq(s, ",") {
		for _, w := range notifyWords {
			if strings.EqualFold(word, w.word) {
				n |= w.bit
				continue next
			}
		}
		return 0, false
	}
	return n, true
}

// Ret says how much of the message a failure notice returns (RFC 3461 4.3).
type Ret string

const (
	RetDefault Ret = ""
	RetFull    Ret = "FULL"
	RetHeaders Ret = "HDRS"
)

// Nobody as Envelope.For keeps a Received line from naming anybody.
const Nobody Address = "-"

// Listed as Envelope.For, from a front end, is Nobody and says that the recipients were read from the header (sendmail -t).
const Listed Address = "-t"

// When says at which moment delivery is tried.
type When uint8

const (
	WhenDefault    When = iota // as the rules decide
	WhenNow                    // try before answering (sendmail's interactive mode)
	WhenBackground             // commit, answer, try at once
	WhenQueue                  // commit, answer, wait for a queue run or a time window
	WhenDefer                  // as WhenQueue, and look nothing up in the DNS before
)

var whenWords = [...]string{"default", "now", "background", "queue", "defer"}

func (w When) String() string { return whenWords[w] }

// Origin says where a message came from, for the Received line, the log and the rules. A field that is not known is
// empty.
type Origin struct {
	Protocol   string // the "with" word of RFC 3848: SMTP, ESMTP, ESMTPS, ESMTPSA, LMTP; "local" for the front end
	ClientName string // verified name of the peer, or its address in brackets
	ClientAddr string // IP address of the peer, without brackets
	Helo       string // what the peer called itself
	Auth       string // authenticated identity
	TLS        string // "TLSv1.3 TLS_AES_128_GCM_SHA256", empty without TLS
	User       string // login name of the local submitter
	UID        int    // user id of the local submitter; -1 when it came by network
}

// Recipient is one recipient of an envelope. Exactly one of Addr, Command and File is set.
type Recipient struct {
	Addr    Address
	Command Command
	File    FileName

	Notify Notify
	ORcpt  string // ORCPT as received, "rfc822;" and xtext (RFC 3461 4.2); empty when none was given
}

// Name is what logs and listings show for r: the address, "|command", or the file's path.
func (r Recipient) Name() string {
	switch {
	case strings.HasPrefix(string(r.Command), `"|`):
		return string(r.Command)
	case r.Command != "":
		return "|" + string(r.Command)
	case r.File != "":
		return string(r.File)
	}
	return strings.TrimPrefix(string(r.Addr), NoAlias)
}

// NoAlias before a local address says that no alias counts for it (sendmail -n). It is our sign, and never shown.
const NoAlias = `\\`

// By is the wish that a message be delivered within a time (RFC 2852). The zero By wishes nothing.
type By struct {
	Until  time.Time
	Return bool // after that the message is returned; otherwise its sender is told of the delay
	Trace  bool // the sender hears of each hop
}

// Over reports whether the time has passed.
func (b By) Over(now time.Time) bool { return !b.Until.IsZero() && now.After(b.Until) }

// Envelope is all that travels with a message and is not the message.
type Envelope struct {
	ID         string // queue id, sendmail's shape: 14 letters and digits; empty until one is given
	Sender     Address
	Recipients []Recipient
	Arrival    time.Time
	Origin     Origin

	BodyType   BodyType
	SMTPUTF8   bool
	RequireTLS bool // REQUIRETLS (RFC 8689): no hop may pass the message on without verified TLS
	By         By   // DELIVERBY (RFC 2852)
	Ret        Ret
	EnvID      string // ENVID, xtext as received (RFC 3461 4.4)

	When     When // what the caller asked for (-odX); WhenDefault leaves it to the rules
	Priority int  // larger goes first; 0 is ordinary mail. Range -1000..1000
	Hops     int  // number of Received lines when it came in

	// Made is how many octets of the message this host has put to what came in, without the Received line of the queue:
	// a size that is announced to the next hop, sendmail-wise, is that of what the sender wrote.
	Made int
	// Again is the size of the header fields but Received in a queue file of sendmail, which counts with a sendmail.cf for
	// what is announced when a message is taken up again; 0: not known.
	Again int
	// For is the recipient that the Received line names; empty: the only one there is, Nobody: none.
	For Address
	// Untold keeps notices from the sender about failures in an attempt for which the caller waits: that one does the
	// telling (sendmail -odi with error mode p).
	Untold bool
	// Named says that whoever submitted the message said who its sender is (sendmail -f).
	Named bool
	// Anyway takes recipients who cannot exist like any others: the caller knows, and wants the sender to be told by mail.
	Anyway bool
	// Joint keeps recipients who cannot exist with the others, where there are others: one notice tells of all failures.
	Joint bool
	// Wrong are the reasons for which other recipients of the submission were refused, for a listing that speaks of the
	// whole (sendmail's mailq).
	Wrong []string
}
