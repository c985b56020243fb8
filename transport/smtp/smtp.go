// Package smtp holds what both ends of SMTP and LMTP share: the reply, the parsers for paths and ESMTP parameters,
// xtext, the reader that turns the wire's dot-stuffed CRLF lines into Waybill's LF octets, and the writer that turns
// them back. Wire octets flow in on one side, values of package envelope and LF streams flow out on the other. The
// format is that of RFC 5321, RFC 3461 (DSN), RFC 1870 (SIZE), RFC 6152 and RFC 3030 (BODY), RFC 6531 (SMTPUTF8),
// RFC 4954 (AUTH=), RFC 2852 (BY=) and RFC 8689 (REQUIRETLS). Nothing here opens a connection or keeps a message.
package smtp

// Limits of RFC 5321 4.5.3.1 as this package applies them. They are what a peer may rely on, or more.
const (
	MaxCommandLine = 2048 // octets of a command line with CRLF; RFC 5321 4.5.3.1.4 asks for 512, DSN and AUTH= for more
	MaxLocalPart   = 255  // octets; RFC 5321 4.5.3.1.1 asks for 64
	MaxDomain      = 255  // octets; RFC 5321 4.5.3.1.2
	MaxLabel       = 63   // octets; RFC 1035 2.3.4
	MaxRoute       = 64   // hosts in a source route that is about to be dropped
	MaxEnvID       = 100  // octets of xtext; RFC 3461 4.4
	MaxORcpt       = 500  // octets of xtext; RFC 3461 4.2
	MaxReplyLine   = 512  // octets of a reply line with CRLF that we send; RFC 5321 4.5.3.1.5
)

// Ext is a set of ESMTP extensions: what a server offers, and so which parameters MAIL and RCPT may carry.
type Ext uint16

const (
	ExtSize Ext = 1 << iota
	Ext8BitMIME
	ExtDSN
	ExtUTF8
	ExtBinaryMIME
	ExtAuth
	ExtRequireTLS
	ExtDeliverBy
)
