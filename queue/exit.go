package queue

import (
	"strings"

	"waybill/transport"
	"waybill/transport/sysexits"
)

// ExitOf is the exit status that sendmail has for an outcome: what the transport says, or what the enhanced code means.
// What waits in the queue is no failure for the caller.
func ExitOf(s transport.Status) int {
	if s.Outcome() != transport.Failed {
		return sysexits.OK
	}
	if s.Exit != 0 {
		return s.Exit
	}
	_, detail, _ := strings.Cut(s.Code(), ".")
	switch detail {
	case "1.1", "1.6", "2.1":
		return sysexits.NoUser
	case "1.2", "4.4":
		return sysexits.NoHost
	case "1.3", "1.7":
		return sysexits.Usage
	case "7.1":
		return sysexits.NoPerm
	case "3.5":
		return sysexits.Config
	}
	return sysexits.Unavailable
}
