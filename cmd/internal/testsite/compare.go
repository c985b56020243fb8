package testsite

import (
	"bytes"
	"fmt"
	"strings"
)

// Changes says which differences between what was sent and what arrived are right. Names of fields in lower case.
type Changes struct {
	Added    []string // fields that may be new; default: trace fields and those that the front end adds
	Removed  []string // fields that may be gone; default bcc
	Replaced []string // fields that may have another value (From of -F, To of an unqualified name)
	Quoted   bool     // lines "From " of the body arrive as ">From " (a mailbox)
}

var (
	usuallyAdded   = []string{"received", "return-path", "date", "from", "message-id", "x-authentication-warning"}
	usuallyRemoved = []string{"bcc", "return-path", "content-length", "full-name"}
)

// Compare returns an error that names the first difference between a message as sent and as it arrived, both with LF
// line ends; nil when only c's changes were made. Fields must keep their order, and the body every octet.
func Compare(sent, got []byte, c Changes) error {
	if c.Added == nil {
		c.Added = usuallyAdded
	}
	if c.Removed == nil {
		c.Removed = usuallyRemoved
	}
	sentFields, sentBody := split(sent)
	gotFields, gotBody := split(got)
	present := map[string]int{}
	for _, f := range sentFields {
		present[f.name]++
	}
	i := 0
	for _, g := range gotFields {
		for i < len(sentFields) && sentFields[i].raw != g.raw && member(c.Removed, sentFields[i].name) {
			i++
		}
		switch {
		case i < len(sentFields) && sentFields[i].raw == g.raw:
			i++
		case i < len(sentFields) && sentFields[i].name == g.name && member(c.Replaced, g.name):
			i++
		case g.name == "received" || g.name == "return-path" || member(c.Added, g.name) && present[g.name] == 0:
		default:
			want := "nothing more"
			if i < len(sentFields) {
				want = fmt.Sprintf("%q", sentFields[i].raw)
			}
			return fmt.Errorf("header: got %q, want %s", g.raw, want)
		}
	}
	for ; i < len(sentFields); i++ {
		if !member(c.Removed, sentFields[i].name) {
			return fmt.Errorf("header: %q is missing", sentFields[i].raw)
		}
	}
	if c.Quoted {
		sentBody = bytes.ReplaceAll(append([]byte("\n"), sentBody...), []byte("\nFrom "), []byte("\n>From "))[1:]
	}
	if n := len(sentBody); n > 0 && sentBody[n-1] != '\n' {
		sentBody = append(bytes.Clone(sentBody), '\n') // the one change to a body that every mailer makes
	}
	if !bytes.Equal(sentBody, gotBody) {
		at := 0
		for at < len(sentBody) && at < len(gotBody) && sentBody[at] == gotBody[at] {
			at++
		}
		return fmt.Errorf("body: %d octets sent, %d arrived, different at octet %d: sent %.60q, got %.60q",
			len(sentBody), len(gotBody), at, sentBody[at:], gotBody[at:])
	}
	return nil
}

type field struct{ name, raw string }

// split cuts a message into its fields and its body.
func split(message []byte) ([]field, []byte) {
	var fields []field
	for len(message) > 0 {
		line := message
		if end := bytes.IndexByte(message, '\n'); end >= 0 {
			line = message[:end+1]
		}
		if string(line) == "\n" {
			return fields, message[1:]
		}
		name, _, isField := strings.Cut(string(line), ":")
		switch {
		case (line[0] == ' ' || line[0] == '\t') && len(fields) > 0:
			fields[len(fields)-1].raw += string(line)
		case isField && !strings.ContainsAny(strings.TrimRight(name, " \t"), " \t"):
			fields = append(fields, field{strings.ToLower(strings.TrimRight(name, " \t")), string(line)})
		default:
			return fields, message
		}
		message = message[len(line):]
	}
	return fields, nil
}

func member(names []string, name string) bool {
	for _, n := range names {
		if n == name {
			return true
		}
	}
	return false
}

// LF turns the CRLF line ends of a delivery by SMTP into LF.
func LF(data []byte) []byte { return bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n")) }

// CRLF is the reverse of LF.
func CRLF(data []byte) []byte { return bytes.ReplaceAll(data, []byte("\n"), []byte("\r\n")) }
