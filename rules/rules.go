// Package rules decides who carries a message, by which route, and when. Rule files flow in through Load (our own
// language, package lang) or a compiled program through FromProgram (sendmail.cf, package compat/cf); questions about
// one recipient or one stage of a reception flow in through Route and Accept, and a Decision or a Verdict flows out.
//
//	load.go      files -> syntax trees -> checks -> program -> Router
//	route.go     the decision: canonify, route, send
//	schedule.go  how often and how long mail is tried
//	accept.go    the policy for what is received
//	settings.go  settings with their defaults
//	tables.go    lookup tables, classes from files, and when to read them again
//	tests.go     the test blocks of the files
//	explain.go   why a decision came out as it did
//
// A Router is safe for concurrent use. An error always means "not now": it is never a "no".
package rules

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"waybill/rules/eval"
	"waybill/rules/lang"
	"waybill/rules/trace"
)

// When is the moment at which delivery is tried.
type When uint8

const (
	Unset      When = iota // the rules do not say
	Now                    // before the client is answered
	Background             // after the answer, at once
	Queue                  // at the next queue run
	Defer                  // at a queue run, and no DNS before it
)

var whenWords = [...]string{"", "now", "background", "queue", "defer"}

func (w When) String() string { return whenWords[w] }

// Client is who brought a message. The zero Client is a program on this machine.
type Client struct {
	Addr netip.Addr // invalid for local submission
	Name string     // verified name, empty when there is none
	// NameLater says that Name is empty because the DNS did not answer: rules that ask for the name have no answer now.
	NameLater bool
	Helo      string // what it called itself
	Auth      string // authenticated identity
	TLS       string // version and cipher, empty without TLS
}

// Query is what is asked about one recipient. Only Recipient is needed.
type Query struct {
	Recipient, Sender string // as in the envelope, without angle brackets; the null sender is empty
	Client            Client
	Size              int64     // octets, 0 when not known
	Priority          int       // as header and submitter say; larger goes first
	Load              float64   // load average of the last minute
	Time              time.Time // zero: now
	Header            func(name string) string
	Attempts          int           // delivery attempts made so far
	Age               time.Duration // since the message was accepted
	Recipients        int           // of the message
	// Failures, if not nil, tells how many deliveries to a host have failed in a row: the health of a destination.
	Failures func(mailer, host string) int
	// Error is what is known of the temporary failure that Schedule is asked about: its classes and its codes ("connect",
	// "4.4.1"); empty before an attempt.
	Error []string
	NoDNS bool // delivery mode "defer": tables must not ask the DNS
}

// Decision is what the rules say about a recipient: either a mailer with host and user, or a refusal.
type Decision struct {
	Mailer, Host, User string
	When               When
	NotBefore          time.Time // zero: any time
	Priority           int       // as the send rules say, else the Query's
	Refusal            *Refusal  // not nil: nobody carries it
	Why                []Step    // how it came to this; only with a Tracer
}

// Refusal is an answer instead of a delivery.
type Refusal struct {
	Code           int    // SMTP, 400 to 599; 4xx is temporary
	Enhanced, Text string // RFC 3463 code, and a line for people
	Discard        bool   // take it and throw it away; the rest is empty then
}

// Temporary reports whether trying again may help.
func (r *Refusal) Temporary() bool { return r.Code/100 == 4 }

// Stage is a moment of a reception at which a policy is asked.
type Stage string

const (
	StageConnect Stage = "connect" // a client connected; the rules see its name, or its address in brackets
	StageHelo    Stage = "helo"    // they see what it calls itself
	StageMail    Stage = "mail"    // they see the sender; "<>" for the null sender
	StageRcpt    Stage = "rcpt"    // they see the recipient
	StageData    Stage = "data"    // they see nothing
	StageHeader  Stage = "header"  // they see the value of Query.Header(name); use AcceptHeader
	StageMessage Stage = "message" // they see nothing; size and header are known
)

// Verdict is the answer of an accept block. The zero Verdict accepts.
type Verdict struct {
	Refusal    *Refusal // not nil: do not accept, or discard
	Quarantine string   // not empty: accept, and hold it for this reason
	Decided    bool     // a rule decided; false when none matched
	Why        []Step   // only with a Tracer
}

// Tracer hears of every event of an evaluation. With one, Decision.Why and Verdict.Why are filled.
type Tracer = trace.Tracer

// Explained returns a Tracer that ignores the events: it is there so that Why is filled.
func Explained() Tracer { return quiet{} }

type quiet struct{}

func (quiet) Event(*trace.Event) {}

// Diagnostics is the error of Load: all that is wrong, in order. Each says where, and how to mend it.
type Diagnostics = lang.Diagnostics

// Diagnostic is one of them.
type Diagnostic = lang.Diagnostic

// entries are where the program keeps the rulesets that every decision needs.
type entries struct{ canonify, route, send int }

// Router decides by one set of rules. What does not come from table and class files never changes.
type Router struct {
	engine      *eval.Engine
	settings    Settings
	canonify    string // ruleset to run first; empty when there is none
	route       string
	hasSend     bool
	at          entries // places of these rulesets in the program
	hasSchedule bool
	macros      bool            // some rule asks for macros of the message
	prioOnly    bool            // some line of a send block sets a priority and nothing else
	mailers     map[string]bool // names in lower case; nil: do not check
	tables      *tables
	now         *atomic.Pointer[world] // of tables and classes
	pinned      *world                 // not nil: it counts instead
	asksFiles   bool                   // some rule asks a table
	files       []string
	sources     map[string]*lang.Source
	tests       []testBlock
	defines     []*lang.Define
	warnings    Diagnostics
	runs        *sync.Pool // of *run
}
