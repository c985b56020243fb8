// Package mtasts finds out whether a domain promises that its mail hosts speak TLS with certificates that can be
// verified (MTA-STS, RFC 8461). A domain flows in; its policy flows out. The policy is read from
// https://mta-sts.DOMAIN/.well-known/mta-sts.txt when the TXT record at _mta-sts.DOMAIN says that there is a new one,
// and is kept in a directory, one file per domain, for as long as the domain promised: that is what an attacker who
// can only hide the record or block the download cannot undo.
package mtasts

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Mode is what a policy asks of senders (RFC 8461 5).
type Mode string

const (
	Enforce Mode = "enforce" // deliver only to hosts that match and verify
	Testing Mode = "testing" // deliver anyway, report failures
	None    Mode = "none"    // there is no policy any more
)

// Policy is one policy (RFC 8461 3.2).
type Policy struct {
	ID     string // of the TXT record that announced it
	Mode   Mode
	MX     []string // host names; "*." in front stands for one label
	MaxAge time.Duration
	Until  time.Time // it holds until then, unless a newer one is read
	Text   []string  // its lines, for reports
}

const (
	maxPolicy = 64 << 10               // octets of a policy file; RFC 8461 3.3 suggests this limit
	maxAge    = 31557600 * time.Second // RFC 8461 3.2
	maxMX     = 200
)

// Parse reads a policy file. Unknown keys are ignored, as is their order behind "version" (RFC 8461 3.2).
func Parse(text string) (Policy, error) {
	var p Policy
	if len(text) > maxPolicy {
		return p, errors.New("policy is too long")
	}
	seen := map[string]bool{}
	for n, line := range strings.Split(text, "\n") {
		line = strings.TrimRight(line, "\r \t")
		if line == "" {
			continue
		}
		p.Text = append(p.Text, line)
		key, value, ok := strings.Cut(line, ":")
		value = strings.TrimLeft(value, " \t")
		if !ok {
			return Policy{}, fmt.Errorf("line %d has no colon", n+1)
		}
		if key != "mx" && seen[key] {
			continue // RFC 8461 3.2: the first one counts
		}
		seen[key] = true
		switch key {
		case "version":
			if value != "STSv1" {
				return Policy{}, fmt.Errorf("line %d: version is not STSv1", n+1)
			}
		case "mode":
			p.Mode = Mode(value)
			if p.Mode != Enforce && p.Mode != Testing && p.Mode != None {
				return Policy{}, fmt.Errorf("line %d: mode is not known", n+1)
			}
		case "max_age":
			seconds, err := strconv.ParseUint(value, 10, 32)
			if err != nil {
				return Policy{}, fmt.Errorf("line %d: max_age is not a number", n+1)
			}
			p.MaxAge = min(time.Duration(seconds)*time.Second, maxAge)
		case "mx":
			if len(p.MX) >= maxMX || !validMX(value) {
				return Policy{}, fmt.Errorf("line %d: bad mx", n+1)
			}
			p.MX = append(p.MX, strings.ToLower(strings.TrimSuffix(value, ".")))
		}
	}
	switch {
	case !seen["version"], !seen["mode"], !seen["max_age"]:
		return Policy{}, errors.New("version, mode or max_age is missing")
	case p.Mode != None && len(p.MX) == 0:
		return Policy{}, errors.New("no mx")
	}
	return p, nil
}

func validMX(s string) bool {
	s = strings.TrimPrefix(s, "*.")
	return s != "" && len(s) < 254 && strings.Trim(strings.ToLower(s), "abcdefghijklmnopqrstuvwxyz0123456789-_.") == "" && !strings.Contains(s, "..")
}

// Match reports whether host may take mail under the policy (RFC 8461 4.1).
func (p *Policy) Match(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	_, parent, _ := strings.Cut(host, ".")
	return slices.Contains(p.MX, host) || (parent != "" && slices.Contains(p.MX, "*."+parent))
}

// recordID reads the TXT records at _mta-sts.DOMAIN. None, several, or a malformed one: no policy (RFC 8461 3.1).
func recordID(records []string) (string, bool) {
	id := ""
	for _, r := range records {
		if !strings.HasPrefix(r, "v=STSv1") {
			continue
		}
		if id != "" {
			return "", false
		}
		for field := range strings.SplitSeq(r, ";") {
			key, value, _ := strings.Cut(strings.TrimSpace(field), "=")
			if strings.TrimSpace(key) == "id" {
				id = strings.TrimSpace(value)
			}
		}
		if id == "" || len(id) > 32 || strings.Trim(strings.ToLower(id), "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
			return "", false
		}
	}
	return id, id != ""
}
