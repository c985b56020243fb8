package table

import "sync"

// told is what the tables that ask about hosts remember of what they said, for all tables of a program together.
type told struct {
	mu     sync.Mutex
	loops  map[string]bool // names, as they were spelled, whose loop of CNAMEs was told
	status int             // of the last error of the resolver
	missed map[string]int  // literals that are no addresses, and what it was when they were asked for first
}

// maxTold is how many names are remembered: they come from the network.
const maxTold = 10000

// Statuses of lookups as sendmail shows them, those of sysexits.
const (
	statusNoHost      = 68
	statusUnavailable = 69
	statusSoftware    = 70
	statusNotNow      = 75
)

// again reports whether the loop of a name was told already.
func (t *told) again(name string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.loops[name] || len(t.loops) >= maxTold {
		return true
	}
	if t.loops == nil {
		t.loops = map[string]bool{}
	}
	t.loops[name] = true
	return false
}

// failed keeps the status of an error of the resolver.
func (t *told) failed(status int) {
	t.mu.Lock()
	t.status = status
	t.mu.Unlock()
}

// last is the status of the last error of the resolver, whatever it was about, when a literal that is no address was
// asked for first: that is what sendmail shows for it.
func (t *told) last(literal string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	if status, before := t.missed[literal]; before {
		return status
	}
	status := t.status
	if status == 0 {
		status = statusUnavailable
	}
	if t.missed == nil {
		t.missed = map[string]int{}
	}
	if len(t.missed) < maxTold {
		t.missed[literal] = status
	}
	return status
}
