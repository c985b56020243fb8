package qf

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"waybill/transport/envelope"
	"waybill/transport/envelope/lexeme"
)

// macroMark stands in header fields for sendmail's "$": a value that each mailer fills in.
const macroMark = '\x81'

// parse reads the lines of a control file. Each begins with a letter; one that begins with a blank goes on with the line
// before. "." ends it: without that, sendmail was not done with writing.
func (m *Message) parse(text string) error {
	if strings.Contains(text, "\x00") {
		return errors.New("there is a NUL in it")
	}
	p := parser{m: m}
	m.Envelope.Origin.UID = -1
	m.Envelope.Origin.Protocol = "local"
	var line string
	first, ended := true, false
	flush := func() error {
		if line == "" {
			return nil
		}
		if first && line[0] != 'V' {
			return errors.New("it does not begin with a version")
		}
		first = false
		return p.line(line[0], line[1:])
	}
	for next := range strings.SplitSeq(text, "\n") {
		if next != "" && (next[0] == ' ' || next[0] == '\t') && line != "" {
			line += "\n" + next
			continue
		}
		if err := flush(); err != nil {
			return err
		}
		if ended = next == "."; ended {
			break
		}
		line = next
	}
	switch {
	case !ended:
		return errors.New("it does not end")
	case !p.sender:
		return errors.New("it names no sender")
	case len(m.Envelope.Recipients) == 0:
		return errors.New("it names no recipient")
	case m.Envelope.Arrival.IsZero():
		return errors.New("it tells no time")
	}
	m.header = p.header.String()
	p.deliverBy()
	return nil
}

// deliverBy reads the ! line: an octet of flags (1: notify, 2: return, 16: trace), a blank, and the seconds that the
// message has from its arrival (RFC 2852).
func (p *parser) deliverBy() {
	flags, text, ok := strings.Cut(p.by, " ")
	if !ok || len(flags) != 1 {
		return
	}
	seconds, err := strconv.Atoi(text)
	if err != nil || seconds < -999_999_999 || seconds > 999_999_999 {
		p.m.Ignored = append(p.m.Ignored, "!"+p.by)
		return
	}
	e := &p.m.Envelope
	e.By = envelope.By{Until: e.Arrival.Add(time.Duration(seconds) * time.Second), Return: flags[0]&2 != 0, Trace: flags[0]&16 != 0}
}

// xtext decodes "+XX" (RFC 3461 4). What is not xtext stays as it is, without control characters.
func xtext(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '+' && i+2 < len(s) {
			if v, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil && v >= ' ' && v < 0x7f {
				b.WriteByte(byte(v))
				i += 2
				continue
			}
		}
		if s[i] >= ' ' && s[i] != 0x7f {
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

type parser struct {
	m           *Message
	header      strings.Builder
	sender      bool
	dropBcc     bool
	orcpt       string
	user, alias string // of the C line, for the recipients that follow
	by          string // of the ! line
}

func (p *parser) line(key byte, value string) error {
	m, e := p.m, &p.m.Envelope
	var err error
	switch key {
	case 'V':
		var v int
		if v, err = strconv.Atoi(value); err == nil && (v < 1 || v > 8) {
			err = fmt.Errorf("version %d is not known", v)
		}
	case 'T':
		e.Arrival, err = stamp(value)
	case 'K':
		m.LastTry, err = stamp(value)
	case 'N':
		m.Tries, err = strconv.Atoi(value)
	case 'B':
		switch b := envelope.BodyType(strings.ToUpper(value)); b {
		case envelope.Body7Bit, envelope.Body8BitMIME:
			e.BodyType = b
		default:
			m.Ignored = append(m.Ignored, "B"+value)
		}
	case 'F':
		p.flags(value)
	case 'S':
		p.sender = true
		e.Sender = address(value)
		if value == "<>" {
			e.Sender = ""
		}
	case 'Z':
		e.EnvID = value
	case 'M':
		m.Why = value
	case 'q':
		m.Quarantine = value
	case '$':
		p.macro(value)
	case 'C':
		p.controlling(value)
	case 'Q':
		p.orcpt = value
	case 'R':
		err = p.recipient(value)
	case 'H':
		p.field(value)
	case '!':
		p.by = value
	case 'A': // AUTH= (RFC 4954 5), xtext
		if who := strings.Trim(value, "<>"); who != "" && e.Origin.Auth == "" {
			e.Origin.Auth = xtext(who)
		}
	case 'P', 'I', 'L', 'D', 'd', 'r', 'E', 'X', 'Y', 'G':
		// Priority and inode say nothing here; final recipients are not kept.
	default:
		m.Ignored = append(m.Ignored, string(key)+value)
	}
	if err != nil {
		return fmt.Errorf("line %c%.60s: %w", key, value, err)
	}
	return nil
}

func stamp(s string) (time.Time, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n > 1<<40 {
		return time.Time{}, fmt.Errorf("%q is no time", s)
	}
	if n == 0 {
		return time.Time{}, nil
	}
	return time.Unix(n, 0), nil
}

// flags: d a RET parameter was given, n it was HDRS, b Bcc fields are not passed on, w the sender was warned.
func (p *parser) flags(s string) {
	has := func(f string) bool { return strings.Contains(s, f) }
	switch {
	case has("n"):
		p.m.Envelope.Ret = envelope.RetHeaders
	case has("d"):
		p.m.Envelope.Ret = envelope.RetFull
	}
	p.m.Warned = has("w")
	p.dropBcc = has("b")
}

// macro takes from the macros what says where the message came from.
func (p *parser) macro(s string) {
	o := &p.m.Envelope.Origin
	name, value := "", ""
	if strings.HasPrefix(s, "{") {
		name, value, _ = strings.Cut(s[1:], "}")
	} else if s != "" {
		name, value = s[:1], s[1:]
	}
	switch name {
	case "r":
		o.Protocol = value
	case "s":
		o.Helo = value
	case "_": // "user@host [address]", or "user@localhost"
		who, addr, _ := strings.Cut(value, " [")
		if addr, ok := strings.CutSuffix(addr, "]"); ok {
			o.ClientAddr = addr
			_, o.ClientName, _ = strings.Cut(who, "@")
			if o.ClientName == "" {
				o.ClientName = who
			}
		} else if user, _, ok := strings.Cut(who, "@"); ok {
			o.User = user
		}
	case "auth_authen":
		o.Auth = value
	case "{client_addr}", "client_addr":
		o.ClientAddr = value
	}
}

// controlling is the C line: user:uid:gid:alias, for the recipients behind it; older ones have user:alias, and an empty
// one ends it.
func (p *parser) controlling(s string) {
	parts := strings.Split(s, ":")
	p.user, p.alias = parts[0], ""
	if len(parts) > 1 {
		p.alias = parts[len(parts)-1]
	}
}

// recipient is the R line: flags, a colon and the address as it was given. N: there was a NOTIFY parameter; S, F, D: its
// words.
func (p *parser) recipient(s string) error {
	m := p.m
	flags, rest, ok := strings.Cut(s, ":")
	if !ok || strings.Trim(flags, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
		flags, rest = "", s // before version 2 there were none
	}
	r := envelope.Recipient{ORcpt: p.orcpt}
	p.orcpt = ""
	if strings.Contains(flags, "N") {
		for _, w := range []struct {
			flag string
			bit  envelope.Notify
		}{{"S", envelope.NotifySuccess}, {"F", envelope.NotifyFailure}, {"D", envelope.NotifyDelay}} {
			if strings.Contains(flags, w.flag) {
				r.Notify |= w.bit
			}
		}
		if r.Notify == 0 {
			r.Notify = envelope.NotifyNever
		}
	}
	user, alias := "", ""
	plain := strings.Trim(rest, `"`)
	switch {
	case strings.HasPrefix(plain, "|"):
		r.Command, user, alias = envelope.Command(strings.TrimSpace(plain[1:])), p.user, p.alias
	case strings.HasPrefix(plain, "/") && !strings.Contains(plain, "@"):
		r.File, user, alias = envelope.FileName(plain), p.user, p.alias
	default:
		r.Addr = address(rest)
		if r.Addr == "" {
			return errors.New("no address")
		}
	}
	if r.Name() == "" || r.Name() == "|" {
		return errors.New("no program")
	}
	m.Envelope.Recipients = append(m.Envelope.Recipients, r)
	m.Users, m.Aliases = append(m.Users, user), append(m.Aliases, alias)
	return nil
}

// field is the H line: "?flags?name: value". Fields with flags go to mailers that have one of them; those that sendmail
// added (D, F and M: Date, From, Message-Id) belong to the message, others are made anew.
func (p *parser) field(s string) {
	if rest, ok := strings.CutPrefix(s, "?"); ok {
		flags, field, ok := strings.Cut(rest, "?")
		if !ok {
			p.m.Ignored = append(p.m.Ignored, "H"+s)
			return
		}
		if flags != "" && !strings.ContainsAny(flags, "DFM") {
			return
		}
		s = field
	}
	name, _, ok := strings.Cut(s, ":")
	if !ok || strings.IndexByte(s, macroMark) >= 0 && strings.EqualFold(name, "Return-Path") || p.dropBcc && strings.EqualFold(name, "Bcc") {
		return
	}
	p.header.WriteString(s)
	p.header.WriteByte('\n')
}

// address is the address in a recipient as a user wrote it: "Carol <carol@example.org>", "carol@example.org (Carol)".
func address(s string) envelope.Address {
	s = lexeme.WithoutComments(s)
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			if i = lexeme.QuoteEnd(s, i); i < 0 {
				return envelope.Address(strings.TrimSpace(s))
			}
		case '<':
			if end := strings.LastIndexByte(s[i:], '>'); end > 0 {
				return envelope.Address(strings.TrimSpace(s[i+1 : i+end]))
			}
		}
	}
	return envelope.Address(strings.TrimSpace(s))
}
