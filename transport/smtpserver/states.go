package smtpserver

import "context"

// The state of a connection, and with it every command that is legal. There is no other place where the order of
// commands is decided.
//
//	fresh    connected and greeted by us, the client has not said who it is
//	ready    the client has said EHLO, HELO or LHLO; no transaction
//	mail     MAIL was accepted, no recipient yet
//	rcpt     at least one recipient was accepted
//	chunks   BDAT has begun the message and not ended it (RFC 3030 2)
//	closing  the last reply was sent
//
//	fresh --EHLO--> ready --MAIL--> mail --RCPT--> rcpt --DATA, BDAT LAST--> ready
//	                                               rcpt --BDAT--> chunks --BDAT LAST--> ready
//	any but fresh --EHLO, RSET--> ready        any --STARTTLS--> fresh        any --QUIT--> closing
//
// The exchange inside AUTH and the lines behind DATA are not commands and have no states here: they are read by the
// handler of the command.
type state uint8

const (
	fresh state = 1 << iota
	ready
	mail
	rcpt
	chunks
	closing

	anytime = fresh | ready | mail | rcpt
)

var stateWords = map[state]string{fresh: "fresh", ready: "ready", mail: "mail", rcpt: "rcpt", chunks: "chunks", closing: "closing"}

func (s state) String() string { return stateWords[s] }

// command is a verb that the server knows.
type command struct {
	verb  string
	legal state // the states in which it may come
	arg   argRule
	junk  bool // it does not bring a message nearer: its number is limited (Config.MaxJunk)
	run   func(c *conn, ctx context.Context, arg string)
}

// argRule says what may stand behind the verb.
type argRule uint8

const (
	argNone argRule = iota // nothing; 501 otherwise (RFC 5321 4.3.2)
	argNeed                // something; 501 otherwise
	argMay
)

// commands is every verb, and the states in which it is legal. In any other state the reply is 503.
func commands() []command {
	return []command{
		{"EHLO", anytime, argNeed, true, (*conn).ehlo},
		{"HELO", anytime, argNeed, true, (*conn).helo},
		{"LHLO", anytime, argNeed, true, (*conn).lhlo},
		{"MAIL", ready, argNeed, false, (*conn).mail},
		{"RCPT", mail | rcpt, argNeed, false, (*conn).rcpt},
		{"DATA", rcpt, argNone, false, (*conn).data},
		{"BDAT", anytime, argMay, false, (*conn).bdat},          // legal in rcpt; elsewhere its handler must read the octets that follow
		{"RSET", anytime | chunks, argNone, true, (*conn).rset}, // RFC 5321 4.1.4: at any time
		{"NOOP", anytime | chunks, argMay, true, (*conn).noop},
		{"QUIT", anytime | chunks, argNone, false, (*conn).quit},
		{"STARTTLS", anytime, argNone, false, (*conn).starttls},
		{"AUTH", ready, argNeed, false, (*conn).auth}, // RFC 4954 4: not in a transaction
		{"XCLIENT", fresh | ready, argNeed, false, (*conn).xclient},
		{"VRFY", anytime, argNeed, true, (*conn).vrfy},
		{"EXPN", anytime, argNeed, true, (*conn).expn},
		{"HELP", anytime, argMay, true, (*conn).help},
		{"ETRN", ready, argNeed, true, (*conn).etrn}, // RFC 1985 5.2: not in a transaction
	}
}
