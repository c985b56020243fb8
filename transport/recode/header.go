package recode

import (
	"bufio"
	"bytes"
	"errors"
	"strings"
)

// section is a header section: its fields as they stood, each with its line ends.
type section struct {
	fields [][]byte
	blank  []byte // the empty line behind it; nil when there was none
}

// readHeader reads up to the empty line. A line that can be no header ends the section, too, and is left for the body:
// as is all from where the section gets too long, which rest tells.
func readHeader(br *bufio.Reader) (h section, rest bool, err error) {
	total := 0
	for {
		first, err := br.Peek(1)
		if err != nil {
			return h, false, err
		}
		folded := (first[0] == ' ' || first[0] == '\t') && len(h.fields) > 0
		if !folded && first[0] != '\n' && first[0] != '\r' && !startsField(br) {
			return h, false, nil
		}
		line, err := br.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			if len(line) > 0 {
				h.add(line, folded)
			}
			return h, false, err
		}
		if s := string(line); s == "\n" || s == "\r\n" {
			h.blank = bytes.Clone(line)
			return h, false, nil
		}
		h.add(line, folded || (len(h.fields) > 0 && !bytes.HasSuffix(h.fields[len(h.fields)-1], []byte("\n"))))
		if total += len(line); total > maxHeader {
			return h, true, nil
		}
	}
}

// startsField reports whether the next line is a name and a colon (RFC 5322 2.2), or the rest of a long line.
func startsField(br *bufio.Reader) bool {
	b, _ := br.Peek(200)
	for i, c := range b {
		switch {
		case c == ':':
			return i > 0
		case c <= ' ' || c >= 0x7f:
			return c == ' ' && i > 0 && bytes.HasPrefix(bytes.TrimLeft(b[i:], " \t"), []byte(":"))
		}
	}
	return false
}

func (h *section) add(line []byte, folded bool) {
	if folded && len(h.fields) > 0 {
		last := len(h.fields) - 1
		h.fields[last] = append(h.fields[last], line...)
		return
	}
	h.fields = append(h.fields, bytes.Clone(line))
}

func (h *section) find(name string) int {
	for i, f := range h.fields {
		if n, _, ok := bytes.Cut(f, []byte(":")); ok && strings.EqualFold(strings.TrimSpace(string(n)), name) {
			return i
		}
	}
	return -1
}

// value is the first field of a name, unfolded.
func (h *section) value(name string) string {
	i := h.find(name)
	if i < 0 {
		return ""
	}
	_, v, _ := bytes.Cut(h.fields[i], []byte(":"))
	return strings.TrimSpace(strings.NewReplacer("\r\n", "", "\n", "").Replace(string(v)))
}

// set replaces a field in its place, or adds it at the end.
func (h *section) set(name, value string) {
	line := []byte(name + ": " + value + "\n")
	if i := h.find(name); i >= 0 {
		h.fields[i] = line
		return
	}
	h.fields = append(h.fields, line)
}

// bytes is the section as it is to be written. The message's own one gets what makes it MIME when it was not.
func (h *section) bytes(converted, top bool, by, encoding string) []byte {
	if converted && top {
		if h.find("MIME-Version") < 0 {
			h.set("MIME-Version", "1.0")
		}
	}
	if converted && by != "" && encoding != "" { // in the section of the part that changed
		h.fields = append(h.fields, []byte("X-MIME-Autoconverted: from 8bit to "+encoding+" by "+by+"\n"))
	}
	return append(bytes.Join(h.fields, nil), h.blank...)
}
