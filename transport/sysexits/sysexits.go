// Package sysexits names the exit statuses that Unix mail programs have agreed on since 4.0BSD (sysexits.h).
// A caller of sendmail reads them, and a program that we deliver to answers with them.
package sysexits

const (
	OK          = 0  // success
	Usage       = 64 // the command line was wrong
	DataErr     = 65 // the message or an address was malformed
	NoInput     = 66 // an input file did not exist or could not be read
	NoUser      = 67 // the addressed user does not exist
	NoHost      = 68 // the addressed host does not exist
	Unavailable = 69 // the service is not available, for good
	Software    = 70 // an error of our own
	OSErr       = 71 // the operating system failed us (fork, pipe)
	OSFile      = 72 // a system file is missing or damaged
	CantCreat   = 73 // an output file could not be created
	IOErr       = 74 // reading or writing failed
	TempFail    = 75 // try again later
	Protocol    = 76 // the peer broke the protocol
	NoPerm      = 77 // not permitted
	Config      = 78 // the configuration is wrong
)
