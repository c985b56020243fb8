package prog

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// CondOp is the kind of a node of a condition.
type CondOp uint8

const (
	And    CondOp = iota // all of Sub, from the left, until one fails
	Or                   // one of Sub
	Not                  // Sub[0] does not hold; what it binds is not bound
	Lookup               // Table has Key; the value is bound as capture Bind
	Test                 // Fact Cmp Value
	Always               // holds
)

// Cond is a condition of a rule, evaluated after the pattern matched. A lookup that fails for now ends the whole
// evaluation with a temporary error: it is never taken as "no".
type Cond struct {
	Op  CondOp
	Sub []*Cond
	Pos Pos

	// Lookup: the symbols of Key and Args are Literal, Capture and RunMacro.
	Table string
	Key   []Tok
	Args  [][]Tok
	Bind  int    // number of the capture that gets the value's tokens; 0: not bound
	Name  string // its name in our language

	// Test.
	Fact   Fact
	Header string // FactHeader: the field's name; FactMacro: the macro's
	Cap    int    // FactCapture: the number
	Cmp    Cmp
	Value  Value
}

// Fact is something known about the message or its client.
type Fact uint8

const (
	FactClient     Fact = iota + 1 // address of the client; with In, prefixes of the class are honoured, and its name too
	FactClientName                 // verified name of the client, empty when unknown
	FactHelo
	FactSender     // envelope sender; empty for the null sender
	FactRecipient  // envelope recipient as given
	FactSize       // octets
	FactLoad       // load average
	FactTime       // local time of day, minutes; with Between
	FactHeader     // value of the header field Header; missing: not set
	FactAuth       // authenticated identity
	FactTLS        // version and cipher of the session
	FactTransport  // the mailer of the decision (send blocks)
	FactHost       // the host of the decision
	FactUser       // the user of the decision
	FactPriority   //
	FactAttempts   // delivery attempts made so far
	FactAge        // time since the message was accepted
	FactRecipients // number of recipients of the message
	FactCapture    // the tokens of capture Cap, of the pattern or of a lookup before; with In, Is and Matches
	FactMacro      // the value of macro Header at run time
	FactFailures   // deliveries to the host of the decision that have failed in a row
	FactFocus      // with IsSet: the workspace holds a "<"; must come before lookups that bind something
	FactError      // classes and codes of the temporary failure that the schedule is asked about
	facts
)

var factNames = [facts]string{
	FactClient: "client", FactClientName: "client-name", FactHelo: "helo", FactSender: "sender", FactRecipient: "recipient", FactSize: "size",
	FactLoad: "load", FactTime: "time", FactHeader: "header", FactAuth: "auth", FactTLS: "tls", FactTransport: "transport", FactHost: "host",
	FactUser: "user", FactPriority: "priority", FactAttempts: "attempts", FactAge: "age", FactRecipients: "recipients",
	FactCapture: "capture", FactMacro: "macro", FactFocus: "focus", FactFailures: "failures", FactError: "error",
}

// FactNamed returns the fact with this name in our language; 0 when there is none.
func FactNamed(name string) Fact {
	for f, n := range factNames {
		if n == name && n != "" {
			return Fact(f)
		}
	}
	return 0
}

func (f Fact) String() string { return factNames[f] }

// Type is the type of the values that the fact is compared with.
func (f Fact) Type() Type {
	switch f {
	case FactSize:
		return Size
	case FactLoad:
		return Number
	case FactTime:
		return Daytime
	case FactAge:
		return Duration
	case FactPriority, FactAttempts, FactRecipients, FactFailures:
		return Integer
	}
	return Text
}

// Cmp compares a fact with a value.
type Cmp uint8

const (
	IsSet   Cmp = iota // the fact is there and not empty
	Eq                 // text without regard to case
	Ne                 //
	Lt                 //
	Le                 //
	Gt                 //
	Ge                 //
	In                 // the fact is a word of the class Value.Text
	Between            // FactTime: in the window Value.Window
	Matches            // the fact, cut into tokens, matches Value.Pattern; its wildcards are bound from Bind on
)

var cmpText = [...]string{IsSet: "set", Eq: "is", Ne: "is not", Lt: "<", Le: "<=", Gt: ">", Ge: ">=", In: "in", Between: "between", Matches: "matches"}

func (c Cmp) String() string { return cmpText[c] }

// Type is the type of a Value.
type Type uint8

const (
	Text     Type = iota // Value.Text
	Integer              // Value.Int
	Size                 // Value.Int, octets
	Number               // Value.Float
	Duration             // Value.Duration
	Daytime              // Value.Window
)

// Value is a constant of a condition. The fact's Type says which field holds it.
type Value struct {
	Text     string
	Int      int64
	Float    float64
	Duration time.Duration
	Window   Window
	Pattern  []Tok
}

// String is the condition in a form for people, near our language's.
func (c *Cond) String() string {
	switch c.Op {
	case And, Or:
		word := " and "
		if c.Op == Or {
			word = " or "
		}
		part := make([]string, len(c.Sub))
		for i, s := range c.Sub {
			part[i] = s.String()
			if s.Op == And || s.Op == Or {
				part[i] = "(" + part[i] + ")"
			}
		}
		return strings.Join(part, word)
	case Not:
		return "not " + c.Sub[0].String()
	case Lookup:
		var b strings.Builder
		b.WriteString(c.Table + "(")
		side(&b, c.Key)
		for _, a := range c.Args {
			b.WriteString(", ")
			side(&b, a)
		}
		b.WriteString(")")
		if c.Bind > 0 {
			fmt.Fprintf(&b, " is $%d", c.Bind)
		}
		return b.String()
	case Test:
		name := c.Fact.String()
		switch c.Fact {
		case FactHeader:
			name += " " + c.Header
		case FactCapture:
			name = "$" + strconv.Itoa(c.Cap)
		case FactMacro:
			name = "$&" + MacroName(c.Header)
		}
		return name + " " + c.Cmp.String() + c.value()
	}
	return "always"
}

func (c *Cond) value() string {
	switch {
	case c.Cmp == IsSet:
		return ""
	case c.Cmp == Between:
		w := c.Value.Window
		return fmt.Sprintf(" %02d:%02d and %02d:%02d", w.From/60, w.From%60, w.To/60, w.To%60)
	case c.Cmp == Matches:
		var b strings.Builder
		b.WriteByte(' ')
		side(&b, c.Value.Pattern)
		return b.String()
	case c.Cmp == In:
		return " " + c.Value.Text
	}
	switch c.Fact.Type() {
	case Integer, Size:
		return " " + strconv.FormatInt(c.Value.Int, 10)
	case Number:
		return " " + strconv.FormatFloat(c.Value.Float, 'g', -1, 64)
	case Duration:
		return " " + c.Value.Duration.String()
	}
	return " " + strconv.Quote(c.Value.Text)
}
