package uucp

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"waybill/transport/envelope"
	"waybill/transport/fromline"
	"waybill/transport/sysexits"
)

// Caller says on whose behalf rmail or rsmtp runs.
type Caller struct {
	// Machine is the neighbour whose job uuxqt is running, UU_MACHINE in the environment; empty when a local program
	// called. With it the arguments came over the network: no options, and the return path begins with it.
	Machine string
	// Domain follows the site in the name of the client ("alpha.UUCP") and is the protocol; empty: "UUCP".
	Domain string
}

// Incoming is a message that came by UUCP.
type Incoming struct {
	Sender     envelope.Address   // the return path from here, "alpha!beta!bob"; empty: the null sender
	Recipients []envelope.Address // as the caller named them, never options, never empty
	Protocol   string             // for the Received line, "UUCP"
	Host       string             // who gave it to us, "alpha.UUCP"; empty when nobody says
	BodyType   envelope.BodyType
	Message    io.Reader // header and body, From lines taken off; to be read before the next one
}

// Errors of the other side. Jobs that end with them are set aside by uuxqt (.Failed), and its log says so.
var (
	ErrUsage  = errors.New("usage")         // the arguments
	ErrFormat = errors.New("not a message") // the standard input
)

// ExitStatus is how rmail and rsmtp end for an error of this package; other errors are temporary.
func ExitStatus(err error) int {
	switch {
	case err == nil:
		return sysexits.OK
	case errors.Is(err, ErrUsage):
		return sysexits.Usage
	case errors.Is(err, ErrFormat):
		return sysexits.DataErr
	}
	return sysexits.TempFail
}

const (
	maxFromLines = 100
	maxFromLine  = 4096
	maxPath      = 1024 // octets of a return path
)

// ReadMail reads what rmail gets: users as arguments, From lines and the message on standard input.
//
// The From lines stand one for each hop, the last hop first:
//
//	From uucp DATE remote from alpha
//	>From uucp DATE remote from beta
//	>From bob DATE remote from gamma
//
// The return path is alpha!beta!gamma!bob: the sites of all lines and the user of the last, whose own path counts too. A null sender travels as
// MAILER-DAEMON and is turned back, so that bounces never bounce.
func ReadMail(args []string, stdin io.Reader, by Caller) (*Incoming, error) {
	m := &Incoming{}
	for _, a := range args {
		if err := validUser(a); err != nil {
			return nil, err
		}
		m.Recipients = append(m.Recipients, envelope.Address(a))
	}
	if len(m.Recipients) == 0 {
		return nil, fmt.Errorf("%w: no user is named", ErrUsage)
	}
	in := bufio.NewReaderSize(stdin, 64<<10)
	var sites []string
	user, lines := "", 0
	for ; lines < maxFromLines; lines++ {
		start, err := in.Peek(6)
		if err != nil && err != io.EOF {
			return nil, err
		}
		if !strings.HasPrefix(string(start), "From ") && string(start) != ">From " {
			break
		}
		line, err := fromLine(in)
		if err != nil {
			return nil, err
		}
		sender, _, remote, ok := fromline.Read(line)
		if !ok {
			return nil, fmt.Errorf("%w: From line %q", ErrFormat, line)
		}
		if remote != "" {
			sites = append(sites, strings.Split(remote, "!")...)
		}
		user = sender
	}
	if i := strings.LastIndexByte(unquotedPart(user), '!'); i >= 0 {
		sites = append(sites, strings.Split(user[:i], "!")...)
		user = user[i+1:]
	}
	switch _, err := in.Peek(1); {
	case err == io.EOF:
		return nil, fmt.Errorf("%w: no data", ErrFormat)
	case err != nil:
		return nil, err
	case lines == 0:
		return nil, fmt.Errorf("%w: no From line", ErrFormat)
	case lines == maxFromLines:
		return nil, fmt.Errorf("%w: more than %d From lines", ErrFormat, maxFromLines)
	}
	// Whatever the lines say, it came from the machine that uuxqt knows.
	if by.Machine != "" && (len(sites) == 0 || !strings.EqualFold(sites[0], by.Machine)) {
		sites = append([]string{by.Machine}, sites...)
	}
	var err error
	m.Sender, err = returnPath(sites, user)
	if err != nil {
		return nil, err
	}
	m.origin(by, sites)
	m.Message = in
	return m, nil
}

// origin notes where the message came from.
func (m *Incoming) origin(by Caller, sites []string) {
	m.Protocol = by.Domain
	if m.Protocol == "" {
		m.Protocol = "UUCP"
	}
	if len(sites) > 0 {
		m.Host = sites[0] + "." + m.Protocol
	}
}

// fromLine reads one line, without its end.
func fromLine(in *bufio.Reader) (string, error) {
	line, err := in.ReadSlice('\n')
	if err != nil && err != io.EOF && err != bufio.ErrBufferFull {
		return "", err
	}
	if len(line) > maxFromLine {
		return "", fmt.Errorf("%w: a From line of more than %d octets", ErrFormat, maxFromLine)
	}
	return strings.TrimRight(string(line), "\r\n"), nil
}

// unquotedPart is the beginning of an address up to its first quote: no "!" behind that separates sites.
func unquotedPart(s string) string {
	before, _, _ := strings.Cut(s, `"`)
	return before
}

func returnPath(sites []string, user string) (envelope.Address, error) {
	if user == "<>" || strings.EqualFold(user, "MAILER-DAEMON") {
		return "", nil
	}
	for _, s := range sites {
		if s == "" || strings.ContainsAny(s, " \t<>()\"\\,;") {
			return "", fmt.Errorf("%w: site %q in a From line", ErrFormat, s)
		}
	}
	path := strings.Join(append(sites, user), "!")
	if user == "" || len(path) > maxPath {
		return "", fmt.Errorf("%w: return path of %d octets", ErrFormat, len(path))
	}
	for i := 0; i < len(path); i++ {
		if path[i] < ' ' || path[i] == 0x7f {
			return "", fmt.Errorf("%w: control character in the return path", ErrFormat)
		}
	}
	return envelope.Address(path), nil
}

// validUser refuses what could become something else than a user further on.
func validUser(a string) error {
	switch {
	case a == "" || len(a) > maxPath:
		return fmt.Errorf("%w: a user name of %d octets", ErrUsage, len(a))
	case a[0] == '-':
		return fmt.Errorf("%w: option %q from the network", ErrUsage, a)
	}
	for i := 0; i < len(a); i++ {
		if a[i] < ' ' || a[i] == 0x7f {
			return fmt.Errorf("%w: control character in user name %q", ErrUsage, a)
		}
	}
	return nil
}
