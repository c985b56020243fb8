package envelope

import (
	"bufio"
	"errors"
	"io"
	"strings"
)

// HeaderLimits bound what ReadHeader keeps in memory. A field that is zero takes the value of DefaultHeaderLimits.
type HeaderLimits struct {
	Octets int // of the whole section, line ends included
	Lines  int // continuation lines included
	Fields int
}

// DefaultHeaderLimits suit any mail that people send; sendmail's own limit (MaxHeadersLength) is 32768 octets.
var DefaultHeaderLimits = HeaderLimits{Octets: 256 << 10, Lines: 8192, Fields: 2048}

// ErrHeaderTooLong tells that a header section is longer than the limits. The fields before the limit are returned
// with it.
var ErrHeaderTooLong = errors.New("header section is longer than the limit")

// Field is one header field as it stands in the message (RFC 5322 2.2).
type Field struct {
	Name string // as written, without blanks before the colon
	Raw  string // the whole field: name, colon, continuation lines, and the final LF
}

// Is reports whether f has this name, in any case.
func (f Field) Is(name string) bool { return strings.EqualFold(f.Name, name) }

// Value is the text behind the colon on one line: line ends of folding are removed (RFC 5322 2.2.3), and blanks at
// both ends.
func (f Field) Value() string {
	v := f.Raw[strings.IndexByte(f.Raw, ':')+1:]
	return strings.Trim(strings.ReplaceAll(v, "\n", ""), " \t")
}

// Header is the header section of a message, fields in order.
type Header struct {
	Fields []Field
	// Octets is where the body begins: the length of the section, with the empty line that ends it if there is one.
	Octets int64
}

// ReadHeader reads the header section at the start of r, whose lines end in LF. What ends it: an empty line, a line of
// blanks only, a line that is no field and continues none (it belongs to the body then), or the end of r. A first line
// "From " (the mbox separator) is passed over. r may be read beyond the section. With ErrHeaderTooLong the fields that
// fit are returned too; with any other error, what was read before it.
func ReadHeader(r io.Reader, limits HeaderLimits) (*Header, error) {
	if limits.Octets == 0 {
		limits.Octets = DefaultHeaderLimits.Octets
	}
	if limits.Lines == 0 {
		limits.Lines = DefaultHeaderLimits.Lines
	}
	if limits.Fields == 0 {
		limits.Fields = DefaultHeaderLimits.Fields
	}
	var (
		h      = &Header{}
		in     = bufio.NewReaderSize(r, 4096)
		raw    strings.Builder // the field that is being read
		name   string
		finish = func() {
			if raw.Len() > 0 {
				h.Fields = append(h.Fields, Field{Name: name, Raw: raw.String()})
			}
			raw.Reset()
		}
	)
	for n := 0; ; n++ {
		line, err := readLine(in, limits.Octets-int(h.Octets))
		if line == "" && err == io.EOF {
			finish()
			return h, nil
		}
		if err != nil && err != io.EOF {
			finish()
			return h, err
		}
		text := strings.TrimSuffix(line, "\n")
		switch {
		case n == 0 && strings.HasPrefix(line, "From "):
			h.Octets += int64(len(line))
			continue
		case strings.Trim(text, " \t") == "":
			h.Octets += int64(len(line))
			finish()
			return h, nil
		case text[0] == ' ' || text[0] == '\t':
			if raw.Len() == 0 { // continues nothing
				return h, nil
			}
		default:
			next, ok := fieldName(text)
			if !ok {
				finish()
				return h, nil
			}
			finish()
			name = next
		}
		if n >= limits.Lines || len(h.Fields) >= limits.Fields {
			finish()
			return h, ErrHeaderTooLong
		}
		raw.WriteString(line)
		if err == io.EOF { // the last line has no line end, but a field's raw text always has
			raw.WriteByte('\n')
		}
		h.Octets += int64(len(line))
	}
}

// readLine returns the next line with its LF, or ErrHeaderTooLong when it has more than limit octets. At the end of
// the input it returns what is left and io.EOF.
func readLine(in *bufio.Reader, limit int) (string, error) {
	var long []byte
	for {
		part, err := in.ReadSlice('\n')
		if len(long)+len(part) > limit {
			return "", ErrHeaderTooLong
		}
		if err == nil && long == nil {
			return string(part), nil
		}
		long = append(long, part...)
		if err != bufio.ErrBufferFull {
			return string(long), err
		}
	}
}

// fieldName returns the name of the field that begins on this line: printable US-ASCII but the colon
// (RFC 5322 3.6.8), with the blanks before the colon that the obsolete syntax allows (4.5).
func fieldName(line string) (string, bool) {
	name, _, ok := strings.Cut(line, ":")
	name = strings.TrimRight(name, " \t")
	if !ok || name == "" {
		return "", false
	}
	for i := 0; i < len(name); i++ {
		if name[i] <= ' ' || name[i] > '~' {
			return "", false
		}
	}
	return name, true
}

// HeaderOf reads the header section of a Body with the default limits.
func HeaderOf(b Body) (*Header, error) {
	r, err := b.Open()
	if err != nil {
		return &Header{}, err
	}
	defer r.Close()
	return ReadHeader(r, HeaderLimits{})
}

// Get returns the value of the first field with this name.
func (h *Header) Get(name string) (string, bool) {
	for _, f := range h.Fields {
		if f.Is(name) {
			return f.Value(), true
		}
	}
	return "", false
}

// Value returns the value of the first field with this name; empty when there is none.
func (h *Header) Value(name string) string {
	v, _ := h.Get(name)
	return v
}

// Values returns the values of all fields with this name, in order.
func (h *Header) Values(name string) []string {
	var values []string
	for _, f := range h.Fields {
		if f.Is(name) {
			values = append(values, f.Value())
		}
	}
	return values
}

// Hops counts the trace fields, each of which one host put in front (RFC 5321 6.3).
func (h *Header) Hops() int {
	hops := 0
	for _, f := range h.Fields {
		// beside Received, the names that sendmail counts
		if f.Is("Received") || f.Is("X400-Received") || f.Is("Via") || f.Is("Mail-From") {
			hops++
		}
	}
	return hops
}

// ReceivedBy returns the queue ids in the Received fields that this host wrote ("by HOST ... id ID"), the newest
// first. A field without an id gives an empty string. More than one or two of them mean that the message goes round.
func (h *Header) ReceivedBy(host string) []string {
	var ids []string
	for _, f := range h.Fields {
		if !f.Is("Received") {
			continue
		}
		if by, id := receivedClauses(f.Value()); strings.EqualFold(by, host) {
			ids = append(ids, id)
		}
	}
	return ids
}

// receivedClauses finds the BY and ID clauses of a Received field (RFC 5321 4.4). Comments do not count, nor does the
// name behind "from", which is whatever the client called itself.
func receivedClauses(value string) (by, id string) {
	words := receivedWords(value)
	for i := 0; i+1 < len(words); i++ {
		switch {
		case strings.EqualFold(words[i], "from"):
			i++
		case by == "" && strings.EqualFold(words[i], "by"):
			by = strings.TrimSuffix(words[i+1], ".")
			i++
		case by != "" && strings.EqualFold(words[i], "id"):
			return by, words[i+1]
		}
	}
	return by, ""
}

// receivedWords splits the part before the date into words and drops comments, which nest.
func receivedWords(value string) []string {
	var (
		words []string
		word  strings.Builder
		depth int
	)
	flush := func() {
		if word.Len() > 0 {
			words = append(words, word.String())
			word.Reset()
		}
	}
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case c == '\\' && i+1 < len(value):
			i++
			if depth == 0 {
				word.WriteByte(value[i])
			}
		case c == '(':
			depth++
			flush()
		case c == ')' && depth > 0:
			depth--
		case depth > 0:
		case c == ';':
			flush()
			return words
		case c == ' ' || c == '\t':
			flush()
		default:
			word.WriteByte(c)
		}
	}
	flush()
	return words
}
