package trace

import (
	"bufio"
	"io"
	"strings"

	"waybill/rules/addr"
)

// Text writes events as sendmail -bt does: one line when a ruleset begins, one when it ends, and messages. Nothing
// else is shown. Errors of the writer are kept in Err.
type Text struct {
	W   io.Writer
	Err error
	b   []byte
}

// Liner is a Tracer for which whoever evaluates may write the lines of Enter and Leave itself, without making an event
// of them.
type Liner interface {
	Lines() *Text // nil: it wants the events
}

// Lines implements Liner.
func (t *Text) Lines() *Text { return t }

// Begin returns memory for a line, which End then writes.
func (t *Text) Begin() []byte {
	if w, ok := t.W.(*bufio.Writer); ok {
		return w.AvailableBuffer()
	}
	return t.b[:0]
}

// End writes a line that was begun with Begin.
func (t *Text) End(line []byte) {
	if _, ok := t.W.(*bufio.Writer); !ok {
		t.b = line
	}
	if _, err := t.W.Write(line); err != nil && t.Err == nil {
		t.Err = err
	}
}

// Wants tells that Text shows no more than these.
func (t *Text) Wants() Kind { return Enter | Leave | Message }

// Event writes the event's line.
func (t *Text) Event(e *Event) {
	t.b = t.b[:0]
	switch e.Kind {
	case Enter:
		t.b = appendName(t.b, e.Ruleset.Name)
		t.b = append(t.b, "   input:"...)
	case Leave:
		t.b = appendName(t.b, e.Ruleset.Name)
		t.b = append(t.b, " returns:"...)
	case Message:
		t.b = append(t.b, e.Text...)
	default:
		return
	}
	for _, tok := range e.Tokens {
		t.b = append(t.b, ' ')
		t.b = addr.AppendPrint(t.b, tok)
	}
	t.b = append(t.b, '\n')
	if _, err := t.W.Write(t.b); err != nil && t.Err == nil {
		t.Err = err
	}
}

// appendName writes a ruleset's name in exactly 16 columns.
func appendName(b []byte, name string) []byte {
	const width = 16
	if len(name) > width {
		name = name[:width]
	}
	b = append(b, name...)
	return append(b, "                "[len(name):]...)
}

// Tokens writes tokens for people: separated by blanks, metasymbols as in a rule, control characters made visible.
func Tokens(tokens []addr.Token) string {
	var b strings.Builder
	var buf []byte
	for i, t := range tokens {
		if i > 0 {
			b.WriteByte(' ')
		}
		buf = addr.AppendPrint(buf[:0], t)
		b.Write(buf)
	}
	return b.String()
}
