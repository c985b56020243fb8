package eval

import (
	"net/netip"
	"time"

	"waybill/rules/addr"
	"waybill/rules/prog"
	"waybill/rules/trace"
)

// State is what one run knows beside the program. One State serves one run at a time; macros set by rules stay in it.
type State struct {
	Macros *Macros      // nil: only the program's
	Facts  *Facts       // nil: none known
	Tracer trace.Tracer // nil: nobody listens
	// Defer asks tables not to use DNS and other slow sources (delivery mode "defer").
	Defer bool
	// World, if not nil, is what the classes of the engine held when it was made; else they are taken as they are now.
	World *World
	// Steps, if not nil, is what earlier runs about the same question have used of its budget; this one goes on from
	// there.
	Steps *int
	// Out is memory for the tokens of a Result, for callers that ask often: the next run overwrites them, and may be given
	// them as they are. As much of it as was used becomes its length.
	Out []addr.Token

	ids   []word  // what is known of the words in Out, as the last run left them
	idsOf *octets // of which engine that is
}

// Reset makes a State new, but for its memory, in which nothing of what was asked remains.
func (s *State) Reset() {
	clear(s.Out)
	*s = State{Out: s.Out[:0], ids: s.ids[:0]}
}

// Macros are the values of macros in a run: those of the program, and over them what was set since.
type Macros struct {
	base map[string]string
	set  map[string]*string // nil: unset again
}

// NewMacros returns the macros of a program, with nothing set.
func NewMacros(p *prog.Program) *Macros { return &Macros{base: p.Macros} }

// Get returns the value of a macro.
func (m *Macros) Get(name string) (string, bool) {
	if m == nil {
		return "", false
	}
	if v, ok := m.set[name]; ok {
		if v == nil {
			return "", false
		}
		return *v, true
	}
	v, ok := m.base[name]
	return v, ok
}

// Set gives a macro a value.
func (m *Macros) Set(name, value string) {
	if m.set == nil {
		m.set = map[string]*string{}
	}
	m.set[name] = &value
}

// Unset takes a macro's value away, also that of the program.
func (m *Macros) Unset(name string) {
	if m.set == nil {
		m.set = map[string]*string{}
	}
	m.set[name] = nil
}

// Names returns the names of all macros that have a value, in no order.
func (m *Macros) Names() []string {
	var names []string
	for n := range m.base {
		if _, changed := m.set[n]; !changed {
			names = append(names, n)
		}
	}
	for n, v := range m.set {
		if v != nil {
			names = append(names, n)
		}
	}
	return names
}

// Facts are what is known about a message and its client, for the conditions of our language. A zero value means
// "not known" or "none": a text that is not known is in no class, is no value (so "is not" holds), and matches nothing;
// a number that is not known is 0.
type Facts struct {
	Client     netip.Addr
	ClientName string // verified name; empty when none
	NameLater  bool   // nobody knows now whether there is one
	Helo       string
	Sender     string // envelope sender without brackets; empty for the null sender
	Recipient  string
	Size       int64   // octets
	Load       float64 // load average of the last minute
	Time       time.Time
	Header     func(name string) (value string, ok bool)
	Auth       string // authenticated identity
	TLS        string // version and cipher
	Transport  string // of the decision
	Host       string
	User       string
	Priority   int
	Attempts   int
	Age        time.Duration
	Recipients int
	Error      []string // what is known of a temporary failure: its class, its codes
	Failures   int      // deliveries to the host of the decision that have failed in a row
	// Health, if not nil, tells the same of any transport and host: it is the built-in table "failures".
	Health func(transport, host string) int
}
