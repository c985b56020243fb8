// Package queue is the one place where rules meet transports. Messages flow in through Accept, from SMTP, from local
// programs and from the queue's own notices; they are made durable in the spool (package spool, README.md there) before
// anybody is told that they are safe. An attempt asks the rules about each recipient, expands local ones, hands the
// message to the transports, writes down what became of each recipient, and only then forgets it. What could not be
// delivered is tried again with growing delays until it is delivered or its sender was told.
//
//	ports.go    what the queue asks of others: rules, transports, aliases, notices, the mail log
//	accept.go   a message comes in
//	attempt.go  one try at one message; deliver.go hands it to the transports
//	plan.go     when the next try is, and when it is given up, by recipient
//	limits.go   how much each destination gets at a time, and what waits for it
//	run.go      the runner: what is due, in which order; once.go is a queue run without one
//	select.go   which messages an operator means; operate.go, detail.go, list.go what they can do and see
package queue

import (
	"context"
	"time"

	"waybill/queue/dsn"
	"waybill/transport"
	"waybill/transport/envelope"
)

// Question is what the queue asks the rules about one recipient.
type Question struct {
	Recipient envelope.Address
	Sender    envelope.Address
	Named     bool // the submitter said who the sender is
	Origin    envelope.Origin
	Size      int64 // octets of the message; -1 when not known yet
	Priority  int   // as header and submitter say
	Attempts  int   // earlier attempts of this message
	Arrival   time.Time
	Asked     envelope.When // what the submitter asked for; the rules decide
	// Failures, if not nil, tells how many deliveries to a host have failed in a row.
	Failures func(mailer, host string) int
	// Recipients is how many the message has.
	Recipients int
	// Header returns the value of the message's first field of that name; empty when there is none. Never nil.
	Header func(name string) string
}

// Decision is the rules' answer.
type Decision struct {
	Mailer, Host, User string
	When               envelope.When // WhenDefault: as asked for, else background
	NotBefore          time.Time     // zero: any time
	Priority           int           // larger goes first; the Question's where the rules say nothing
	// Refused, if set, is the answer instead of a mailer: Failed, Deferred, or Discarded by an explicit rule. User is then
	// whom it is about, where that is another than the question's.
	Refused *transport.Status
	// Moved tells that it was a user of this host, whom nobody knows here, before the rules sent it elsewhere (sendmail's
	// ruleset 5).
	Moved bool
	Why   []string // the rules that led here, for people
}

// Router decides who carries the message for a recipient, and when. An error means "not now".
type Router interface {
	Route(ctx context.Context, q Question) (Decision, error)
}

// Mailer is one configured transport.
type Mailer struct {
	transport.Transport
	Local         bool // its users are ours: aliases and .forward files apply before it
	Concurrency   int  // deliveries to one host at a time; 0: DefaultConcurrency
	MaxRecipients int  // recipients in one delivery; 0: 100
}

// LocalUser is a recipient that the rules gave to a local mailer.
type LocalUser struct {
	Name  string // as the rules say it, with its "+detail"
	Stage string // the Member's that it came from; empty for a recipient of the envelope
	Depth int    // expansions before this one
	// Trail holds the names through which the message came here, the oldest first: a name that comes again is a loop.
	Trail  []string
	Sender envelope.Address
	Host   string // what the rules gave the mailer as a host: for a user of this host, sendmail's rules put "+detail" there
}

// Member is one of those that a local user stands for. Exactly one of Addr, Command, File and Refused is set.
type Member struct {
	Addr    envelope.Address // goes through the rules like any recipient
	Command envelope.Command
	File    envelope.FileName
	As      string // login name with whose rights a command or file is used; empty: the configured default
	// Stage comes back in LocalUser when Addr turns out to be local: the Expander's own note of which steps were taken
	// already ("no aliases", "neither aliases nor .forward"). It does not begin with "refused".
	Stage string
	// Refused is the end of an entry that may not be used (a program of a user without a login shell): a Failed
	// status. Name is that entry, for the report and the log.
	Refused *transport.Status
	Name    string
	Where   string // file and line that named Addr, for reports; empty: an alias
	From    string // the :include: file that named it, for reports
}

// Expansion is what one step makes of a local user: exactly one of Mailbox, Members and Status is set.
type Expansion struct {
	Mailbox string // final: this user's mailbox
	Detail  string // what stood behind "+", for the mailbox
	// Members replace the user.
	Members []Member
	// Owner, with HasOwner, becomes the sender of what goes to Members (owner-list aliases).
	Owner    envelope.Address
	HasOwner bool
	// Status, if not nil, ends it: an unknown user, an alias loop, a refusal; Failed or Discarded.
	Status *transport.Status
	// Told are the lines with which sendmail -v tells of Members; nil: the queue finds words of its own.
	Told []string
	// Odd are complaints about the list behind Members, which is not well formed; an empty one has no words.
	Odd []string
	// Loop says that Status is the end of a loop: where a message has other recipients, nobody is missing.
	Loop bool
}

// Expander knows aliases, .forward files and who exists. One call takes one step; the queue calls it again for members
// that are local. An error means "not now", never "unknown".
type Expander interface {
	Expand(ctx context.Context, user LocalUser) (Expansion, error)
}

// Notifier writes notices; *dsn.Composer does.
type Notifier interface {
	Compose(n dsn.Notice) (dsn.Message, error)
}

// Copier is a Notifier that writes some notices again, for somebody else who wants to see them all.
type Copier interface {
	Copy(n dsn.Notice) (m dsn.Message, wanted bool, err error)
}

// Logger gets what the mail log tells. Each recipient of an accepted message, and each that came by expansion, gets
// exactly one Tried with Final set, or the message gets one Removed.
type Logger interface {
	Accepted(a Accepted)
	Tried(t Tried)
	Noticed(n Noticed)
	Removed(r Removed)
}

// Accepted is logged when a message is safe.
type Accepted struct {
	ID        string
	Envelope  *envelope.Envelope
	Size      int64
	MessageID string
	Given     int64 // Size without what was added on this host
}

// Tried is logged for each recipient in each attempt.
type Tried struct {
	ID       string
	To       string             // who was tried: address, "|command" or file
	Orig     envelope.Recipient // the envelope's recipient behind it
	Mailer   string
	Host     string
	As       string // controlling user
	Size     int64  // octets of the message
	Priority int    // of the message
	Rcpts    int    // recipients that the message had in this attempt
	Attempts int    // earlier ones
	Status   transport.Status
	Final    bool          // nothing more will be tried for it: delivered, relayed, discarded, or failed
	Expanded bool          // it was replaced by members, who get their own lines
	Age      time.Duration // since arrival
	Took     time.Duration // this attempt

	Sender *envelope.Envelope // of the message
	Local  bool               // it went to a mailer of this host
	More   bool               // another recipient of the same attempt follows
	Queued bool               // nothing was tried: it waits for a queue run
}

// Noticed is logged when the sender or the postmaster was told something, or would have been.
type Noticed struct {
	ID    string // the message that is reported on
	New   string // the notice; empty when it was discarded
	Kind  dsn.Kind
	Cause string
	// About is what sendmail calls the notice, where that is not the failure of a recipient; empty: it is.
	About string
	// Status is the outcome of the last recipient that the notice tells of.
	Status transport.Status
}

// Removed is logged when an operator took a message away.
type Removed struct {
	ID string
	By string
}
