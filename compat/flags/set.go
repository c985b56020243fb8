package flags

import (
	"strconv"
	"strings"
	"time"

	"waybill/transport/envelope"
	"waybill/transport/sysexits"
)

// set obeys one flag.
func (p *parse) set(letter byte, value string) *Error {
	v := p.v
	switch letter {
	case 'A':
		if value == "c" || value == "m" { // anything else is passed over
			v.ConfigChoice = value[0]
		}
	case 'B':
		switch {
		case strings.EqualFold(value, "7bit"):
			v.Body = envelope.Body7Bit
		case strings.EqualFold(value, "8bitmime"):
			v.Body = envelope.Body8BitMIME
		default:
			p.complain("Illegal body type "+clean(value), sysexits.Usage) // the message goes out all the same
		}
	case 'b':
		return p.setMode(value)
	case 'C':
		v.ConfigFile = value
	case 'c':
		return p.setOption("HoldExpensive", "true")
	case 'D':
		if len(v.Debug) > 0 {
			return usage("-D file must be before -d")
		}
		v.DebugFile = value
	case 'd':
		v.Debug = append(v.Debug, value)
	case 'e':
		return p.setOption("ErrorMode", value)
	case 'F':
		v.FullName = value
	case 'f', 'r':
		if v.SenderFlag != 0 {
			return usage(`More than one "from" person`)
		}
		v.SenderFlag, v.Sender = letter, value
	case 'G':
		v.Gateway = true
	case 'h':
		n, err := strconv.Atoi(strings.TrimSpace(value))
		if err != nil {
			return usage("Bad hop count (" + clean(value) + ")")
		}
		v.Hops = max(0, min(n, 1_000_000))
	case 'I', 'U':
		return usage("") // Debian's sendmail exits without a word
	case 'i':
		return p.setOption("IgnoreDots", "true")
	case 'L':
		v.LogTag = value[:min(len(value), 32)]
	case 'M':
		return p.setMacro(value)
	case 'm':
		return p.setOption("MeToo", "true")
	case 'N':
		n, ok := envelope.ParseNotify(value)
		if !ok {
			return usage("Invalid -N argument")
		}
		if n != envelope.NotifyNever && v.Notify != envelope.NotifyNever {
			n |= v.Notify // several -N add up
		}
		v.Notify, v.NotifyFlag = n, true
	case 'n':
		v.NoAliases = true
	case 'O':
		return p.setLongOption(value)
	case 'o':
		return p.setShortOption(value)
	case 'p':
		v.Protocol, v.ProtoHost, _ = strings.Cut(value, ":")
	case 'Q':
		v.Quarantines, v.Quarantine = true, value
	case 'q':
		return p.setQueue(value)
	case 'R':
		if v.Ret != envelope.RetDefault {
			return usage("Duplicate -R flag")
		}
		switch {
		case strings.EqualFold(value, "full"):
			v.Ret = envelope.RetFull
		case strings.EqualFold(value, "hdrs"):
			v.Ret = envelope.RetHeaders
		default:
			return usage("Invalid -R value")
		}
	case 's':
		return p.setOption("SaveFromLine", "true")
	case 't':
		v.Recipients = true
	case 'T': // a queue time once; Debian's sendmail says so twice and goes on
		p.complain("Invalid time unit `T'", sysexits.Usage)
		p.complain("Invalid time unit `T'", sysexits.Usage)
	case 'V':
		if !xtext(value) {
			return usage("Invalid syntax in -V flag")
		}
		v.EnvID = value
	case 'v':
		return p.setOption("Verbose", "true")
	case 'X':
		v.TrafficLog = value
	}
	return nil
}

func (p *parse) complain(line string, exit int) {
	p.v.Complaints = append(p.v.Complaints, line)
	p.v.Exit = exit
}

func (p *parse) setMode(value string) *Error {
	letter := value[0:min(1, len(value))]
	if letter == "z" {
		return usage("Frozen configurations unsupported")
	}
	if letter == "a" { // ARPANET mode: CRLF at line ends is read in any mode, and mail has its sender from the caller
		p.v.Mode, p.modeSet = Deliver, true
		return nil
	}
	if letter == "m" { // the default, which says nothing: -q goes before it
		if !p.v.Queue.Asked {
			p.v.Mode, p.modeSet = Deliver, false
		}
		return nil
	}
	for _, m := range modes {
		if letter == string(rune(m.Letter)) {
			p.v.Mode, p.modeSet = Mode(m.Letter), true
			return nil
		}
	}
	return usage("Invalid operation mode " + clean(letter))
}

func (p *parse) setMacro(value string) *Error {
	if value == "" {
		return &Error{Text: "Name required for macro/class", Exit: sysexits.Software}
	}
	name, rest := value, ""
	if strings.HasPrefix(value, "{") {
		end := strings.IndexByte(value, '}')
		if end < 0 {
			return usage("Unbalanced { in -M flag")
		}
		name, rest = value[1:end], value[end+1:]
	} else {
		name, rest = value[:1], value[1:]
	}
	if name != "r" && name != "s" {
		p.unsafe("-M" + clean(name))
	}
	p.v.Macros = append(p.v.Macros, Macro{name, rest})
	return nil
}

// setQueue reads the value of -q: nothing, an interval, or one of f p G L I R S Q, the last four after an optional "!".
func (p *parse) setQueue(value string) *Error {
	q := &p.v.Queue
	q.Asked = true
	spec, not := strings.CutPrefix(value, "!")
	if spec == "" {
		return nil
	}
	text := spec[1:]
	switch spec[0] {
	case 'I', 'R', 'S':
		q.Select = append(q.Select, Selector{spec[0], not, text})
	case 'Q':
		q.Quarantined = true
		if text != "" {
			q.Select = append(q.Select, Selector{'Q', not, text})
		}
	case 'G':
		if not || q.Group != "" {
			return usage("Cannot use more than one queue group, nor a negated one, with -qG")
		}
		q.Group = text
	case 'L':
		q.Lost = true
	case 'f':
		q.Foreground = true
	case 'p':
		q.Persistent = true
		if text != "" {
			return p.setInterval(text)
		}
		q.Interval = time.Second
	default:
		return p.setInterval(value)
	}
	return nil
}

func (p *parse) setInterval(value string) *Error {
	d, ok := Duration(value, time.Minute)
	if !ok {
		var lines []string
		for _, unit := range strings.Map(func(c rune) rune {
			if strings.ContainsRune("0123456789smhdw", c) {
				return -1
			}
			return c
		}, value) {
			lines = append(lines, "Invalid time unit `"+clean(string(unit))+"'")
		}
		if len(lines) == 0 {
			lines = []string{"Invalid time unit `" + clean(value[:1]) + "'"}
		}
		return usage(strings.Join(lines, "\n"))
	}
	p.v.Queue.Interval = d
	return nil
}

// Duration reads a time as sendmail writes it: numbers with the units s m h d w, put together ("1h30m"). A number
// without a unit counts in the given one. Times beyond a hundred years are refused.
func Duration(s string, unit time.Duration) (time.Duration, bool) {
	var total time.Duration
	for s != "" {
		digits := 0
		for digits < len(s) && s[digits] >= '0' && s[digits] <= '9' {
			digits++
		}
		n, err := strconv.ParseInt(s[:digits], 10, 32)
		if err != nil {
			return 0, false
		}
		s = s[digits:]
		u := unit
		if s != "" {
			switch s[0] {
			case 's':
				u = time.Second
			case 'm':
				u = time.Minute
			case 'h':
				u = time.Hour
			case 'd':
				u = 24 * time.Hour
			case 'w':
				u = 7 * 24 * time.Hour
			default:
				return 0, false
			}
			s = s[1:]
		}
		const limit = 100 * 366 * 24 * time.Hour
		if time.Duration(n) > limit/u {
			return 0, false
		}
		total += time.Duration(n) * u
		if total > limit {
			return 0, false
		}
	}
	return total, true
}

// xtext reports whether s is xtext of RFC 3461 4: printable ASCII, with "+" and "=" only as +XX, in either case as sendmail has it.
func xtext(s string) bool {
	const maxEnvID = 1000 // RFC 3461 4.4 allows 100 characters; sendmail passes on what it gets, also nothing
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '+':
			if i+2 >= len(s) || !hexDigit(s[i+1]) || !hexDigit(s[i+2]) {
				return false
			}
			i += 2
		case c == '=' || c < '!' || c > '~':
			return false
		}
	}
	return len(s) <= maxEnvID
}

func hexDigit(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'A' && c <= 'F' || c >= 'a' && c <= 'f'
}

// clean makes a piece of the command line safe to print: control characters become "?".
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}
