package spool

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"waybill/transport/envelope"
)

// maxEnvelope is the largest envelope that is read, in octets: some 100,000 recipients.
const maxEnvelope = 16 << 20

const hexDigits = "0123456789abcdef"

// appendWord writes s so that it is one word: no blank, no control character.
func appendWord(b []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == ' ':
			b = append(b, '\\', 's')
		default:
			b = appendEscaped(b, c)
		}
	}
	return b
}

// appendText writes s as the rest of a line: blanks stay.
func appendText(b []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		b = appendEscaped(b, s[i])
	}
	return b
}

func appendEscaped(b []byte, c byte) []byte {
	switch {
	case c == '\\':
		return append(b, '\\', '\\')
	case c < ' ' || c == 0x7f:
		return append(b, '\\', 'x', hexDigits[c>>4], hexDigits[c&15])
	}
	return append(b, c)
}

// unescape undoes appendWord and appendText. It accepts nothing that they do not write.
func unescape(s string) (string, error) {
	if strings.IndexByte(s, '\\') < 0 {
		return s, nil
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			b = append(b, s[i])
			continue
		}
		i++
		switch {
		case i < len(s) && s[i] == '\\':
			b = append(b, '\\')
		case i < len(s) && s[i] == 's':
			b = append(b, ' ')
		case i+2 < len(s) && s[i] == 'x':
			hi, lo := strings.IndexByte(hexDigits, s[i+1]), strings.IndexByte(hexDigits, s[i+2])
			if hi < 0 || lo < 0 {
				return "", fmt.Errorf("bad escape in %q", s)
			}
			b = append(b, byte(hi<<4|lo))
			i += 2
		default:
			return "", fmt.Errorf("bad escape in %q", s)
		}
	}
	return string(b), nil
}

// field appends " name=value" unless value is empty.
func field(b []byte, name, value string) []byte {
	if value == "" {
		return b
	}
	b = append(b, ' ')
	b = append(b, name...)
	b = append(b, '=')
	return appendWord(b, value)
}

// fields calls f for each name=value word of s, unescaped.
func fields(s string, f func(name, value string) error) error {
	for s != "" {
		var word string
		word, s, _ = strings.Cut(s, " ")
		name, value, ok := strings.Cut(word, "=")
		if !ok || name == "" {
			return fmt.Errorf("%q is not name=value", word)
		}
		value, err := unescape(value)
		if err != nil {
			return err
		}
		if err := f(name, value); err != nil {
			return err
		}
	}
	return nil
}

// AppendEnvelope writes e as text lines, without the empty line that ends an envelope in a file. Recipients that are
// commands or files have no form here: they exist only behind an expansion (see Child).
func AppendEnvelope(b []byte, e *envelope.Envelope) ([]byte, error) {
	line := func(key, value string) {
		b = append(b, key...)
		b = append(b, ' ')
		b = appendText(b, value)
		b = append(b, '\n')
	}
	opt := func(key, value string) {
		if value != "" {
			line(key, value)
		}
	}
	opt("id", e.ID)
	line("from", "<"+string(e.Sender)+">")
	if !e.Arrival.IsZero() {
		line("arrival", fmt.Sprintf("%d.%09d", e.Arrival.Unix(), e.Arrival.Nanosecond()))
	}
	opt("body-type", string(e.BodyType))
	if e.SMTPUTF8 {
		b = append(b, "smtputf8\n"...)
	}
	if e.RequireTLS {
		b = append(b, "requiretls\n"...)
	}
	if by := e.By; !by.Until.IsZero() {
		mode := "N"
		if by.Return {
			mode = "R"
		}
		if by.Trace {
			mode += "T"
		}
		line("by", fmt.Sprintf("%d.%09d;%s", by.Until.Unix(), by.Until.Nanosecond(), mode))
	}
	opt("ret", string(e.Ret))
	opt("envid", e.EnvID)
	if e.When != envelope.WhenDefault {
		line("when", e.When.String())
	}
	if e.Priority != 0 {
		line("priority", strconv.Itoa(e.Priority))
	}
	if e.Hops != 0 {
		line("hops", strconv.Itoa(e.Hops))
	}
	if e.Made != 0 {
		line("made", strconv.Itoa(e.Made))
	}
	if e.Again != 0 {
		line("again", strconv.Itoa(e.Again))
	}
	opt("for", string(e.For))
	if e.Untold {
		b = append(b, "untold\n"...)
	}
	if e.Named {
		b = append(b, "named\n"...)
	}
	if e.Anyway {
		b = append(b, "anyway\n"...)
	}
	if e.Joint {
		b = append(b, "joint\n"...)
	}
	for _, w := range e.Wrong {
		line("wrong", w)
	}
	o := e.Origin
	b = append(b, "origin"...)
	for _, f := range [...][2]string{{"protocol", o.Protocol}, {"name", o.ClientName}, {"addr", o.ClientAddr}, {"helo", o.Helo}, {"auth", o.Auth}, {"tls", o.TLS}, {"user", o.User}} {
		b = field(b, f[0], f[1])
	}
	b = field(b, "uid", strconv.Itoa(o.UID))
	b = append(b, '\n')
	for i, r := range e.Recipients {
		if r.Command != "" || r.File != "" {
			return nil, fmt.Errorf("recipient %d is a program or a file: not in an envelope", i)
		}
		b = append(b, "rcpt"...)
		b = appendRecipient(b, r)
		b = append(b, '\n')
	}
	return b, nil
}

func appendRecipient(b []byte, r envelope.Recipient) []byte {
	b = field(b, "notify", r.Notify.String())
	b = field(b, "orcpt", r.ORcpt)
	return field(b, "addr", "<"+string(r.Addr)+">")
}

var errSyntax = errors.New("envelope line not understood")

// ParseEnvelope reads what AppendEnvelope writes. A line that it does not know is an error: a guess could lose a
// recipient or what the sender asked for.
func ParseEnvelope(text string) (*envelope.Envelope, error) {
	e := &envelope.Envelope{Origin: envelope.Origin{UID: -1}}
	seen := map[string]bool{}
	for n := 1; text != ""; n++ {
		line, rest, ok := strings.Cut(text, "\n")
		if !ok {
			return nil, fmt.Errorf("envelope line %d has no end", n)
		}
		text = rest
		key, value, _ := strings.Cut(line, " ")
		if key != "rcpt" {
			if seen[key] {
				return nil, fmt.Errorf("envelope line %d: second %q", n, key)
			}
			seen[key] = true
		}
		if err := parseLine(e, key, value); err != nil {
			return nil, fmt.Errorf("envelope line %d (%q): %w", n, key, err)
		}
	}
	if !seen["from"] {
		return nil, errors.New("envelope without a from line")
	}
	return e, nil
}

func parseLine(e *envelope.Envelope, key, value string) error {
	switch key {
	case "rcpt":
		r, err := parseRecipient(value)
		e.Recipients = append(e.Recipients, r)
		return err
	case "origin":
		return parseOrigin(&e.Origin, value)
	}
	value, err := unescape(value)
	if err != nil {
		return err
	}
	switch key {
	case "id":
		if !ValidID(value) {
			return fmt.Errorf("%q is not a queue id", value)
		}
		e.ID = value
	case "from":
		e.Sender, err = parsePath(value)
	case "arrival":
		e.Arrival, err = parseTime(value)
	case "body-type":
		switch bt := envelope.BodyType(value); bt {
		case envelope.Body7Bit, envelope.Body8BitMIME, envelope.BodyBinaryMIME:
			e.BodyType = bt
		default:
			return errSyntax
		}
	case "smtputf8":
		e.SMTPUTF8 = true
	case "requiretls":
		e.RequireTLS = true
	case "by":
		until, mode, _ := strings.Cut(value, ";")
		mode, e.By.Trace = strings.CutSuffix(mode, "T")
		if e.By.Return = mode == "R"; mode != "R" && mode != "N" {
			return errSyntax
		}
		e.By.Until, err = parseTime(until)
	case "ret":
		switch r := envelope.Ret(value); r {
		case envelope.RetFull, envelope.RetHeaders:
			e.Ret = r
		default:
			return errSyntax
		}
	case "envid":
		e.EnvID = value
	case "when":
		for w := envelope.WhenNow; w <= envelope.WhenDefer; w++ {
			if w.String() == value {
				e.When = w
				return nil
			}
		}
		return errSyntax
	case "priority":
		e.Priority, err = strconv.Atoi(value)
	case "hops":
		e.Hops, err = strconv.Atoi(value)
	case "made":
		e.Made, err = strconv.Atoi(value)
	case "again":
		e.Again, err = strconv.Atoi(value)
	case "for":
		e.For = envelope.Address(value)
	case "named":
		e.Named = true
	case "wrong":
		e.Wrong = append(e.Wrong, value)
	case "anyway":
		e.Anyway = true
	case "joint":
		e.Joint = true
	case "untold":
		e.Untold = true
	default:
		return errSyntax
	}
	return err
}

func parsePath(s string) (envelope.Address, error) {
	if len(s) < 2 || s[0] != '<' || s[len(s)-1] != '>' {
		return "", fmt.Errorf("%q is not an address in angle brackets", s)
	}
	return envelope.Address(s[1 : len(s)-1]), nil
}

func parseTime(s string) (time.Time, error) {
	sec, nano, _ := strings.Cut(s, ".")
	n, err := strconv.ParseInt(sec, 10, 64)
	if err != nil || n < 0 {
		return time.Time{}, fmt.Errorf("%q is not a time", s)
	}
	var ns int64
	if nano != "" {
		if ns, err = strconv.ParseInt(nano, 10, 64); err != nil || ns < 0 || len(nano) != 9 {
			return time.Time{}, fmt.Errorf("%q is not a time", s)
		}
	}
	return time.Unix(n, ns), nil
}

func parseRecipient(value string) (envelope.Recipient, error) {
	var r envelope.Recipient
	found := false
	err := fields(value, func(name, value string) (err error) {
		switch name {
		case "notify":
			var ok bool
			if r.Notify, ok = envelope.ParseNotify(value); !ok {
				return fmt.Errorf("bad notify %q", value)
			}
		case "orcpt":
			r.ORcpt = value
		case "addr":
			found = true
			r.Addr, err = parsePath(value)
		default:
			return fmt.Errorf("unknown field %q", name)
		}
		return err
	})
	if err == nil && (!found || r.Addr == "") {
		err = errors.New("recipient without an address")
	}
	return r, err
}

func parseOrigin(o *envelope.Origin, value string) error {
	return fields(value, func(name, value string) (err error) {
		switch name {
		case "protocol":
			o.Protocol = value
		case "name":
			o.ClientName = value
		case "addr":
			o.ClientAddr = value
		case "helo":
			o.Helo = value
		case "auth":
			o.Auth = value
		case "tls":
			o.TLS = value
		case "user":
			o.User = value
		case "uid":
			o.UID, err = strconv.Atoi(value)
		default:
			return fmt.Errorf("unknown field %q", name)
		}
		return err
	})
}
