// Package tlsrpt counts how TLS to other domains went, and writes the daily reports that a domain may ask for
// (SMTP TLS Reporting, RFC 8460). The outcomes of TLS sessions flow in from the SMTP client; reports flow out, as JSON
// (RFC 8460 4) and as the mail that carries it (RFC 8460 5.3). What was counted is kept in one file, so that a restart
// loses nothing.
package tlsrpt

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"waybill/transport/identity"
)

// Kind is the type of policy under which a session ran (RFC 8460 4.2).
type Kind string

const (
	DANE     Kind = "tlsa"
	MTASTS   Kind = "sts"
	NoPolicy Kind = "no-policy-found"
)

// Failure types of RFC 8460 4.3.
const (
	NoSTARTTLS     = "starttls-not-supported"
	HostMismatch   = "certificate-host-mismatch"
	Expired        = "certificate-expired"
	NotTrusted     = "certificate-not-trusted"
	Handshake      = "validation-failure"
	TLSAInvalid    = "tlsa-invalid"
	DNSSECInvalid  = "dnssec-invalid"
	STSWebPKI      = "sts-webpki-invalid"
	STSPolicyFetch = "sts-policy-fetch-error"
)

// Session is what became of one attempt to speak TLS.
type Session struct {
	Domain  string // the policy domain: to whom we send
	Kind    Kind
	Policy  []string // the policy as text: its lines, or the TLSA records
	MX      []string // the mx patterns of an MTA-STS policy
	Failure string   // one of the failure types; empty: it went well

	SendingIP, ReceivingIP, ReceivingMX, Reason string // details of a failure; what is not known is empty
}

// Limits of what is kept for one day.
const (
	maxPolicies = 20000
	maxDetails  = 100 // kinds of failure for one policy
)

// Recorder counts sessions. It is safe for concurrent use.
type Recorder struct {
	file string

	mu    sync.Mutex
	days  map[string]map[string]*tally // day, then domain and policy
	dirty bool
}

type tally struct {
	Domain  string
	Kind    Kind
	Policy  []string `json:",omitempty"`
	MX      []string `json:",omitempty"`
	Good    int64
	Bad     int64
	Details []detail `json:",omitempty"`
}

type detail struct {
	Failure     string `json:"result-type"`
	SendingIP   string `json:"sending-mta-ip,omitempty"`
	ReceivingMX string `json:"receiving-mx-hostname,omitempty"`
	ReceivingIP string `json:"receiving-ip,omitempty"`
	Count       int64  `json:"failed-session-count"`
	Reason      string `json:"failure-reason-code,omitempty"`
}

// Open returns a Recorder that continues what file says. A file that does not exist is empty; a damaged one is an
// error. An empty name keeps nothing.
func Open(file string) (*Recorder, error) {
	r := &Recorder{file: file, days: map[string]map[string]*tally{}}
	if file == "" {
		return r, nil
	}
	data, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return nil, fmt.Errorf("tlsrpt: %w", err)
	}
	if err := json.Unmarshal(data, &r.days); err != nil {
		return nil, fmt.Errorf("tlsrpt: %s: %w", file, err)
	}
	return r, nil
}

// Record counts one session, in the day of UTC in which it was (RFC 8460 4.1).
func (r *Recorder) Record(s Session) { r.record(s, time.Now()) }

func (r *Recorder) record(s Session, now time.Time) {
	day := now.UTC().Format(time.DateOnly)
	id := s.Domain + "\x00" + string(s.Kind) + "\x00" + strings.Join(s.Policy, "\x00")
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.days[day] == nil {
		r.days[day] = map[string]*tally{}
	}
	t := r.days[day][id]
	if t == nil {
		if len(r.days[day]) >= maxPolicies {
			return
		}
		t = &tally{Domain: s.Domain, Kind: s.Kind, Policy: s.Policy, MX: s.MX}
		r.days[day][id] = t
	}
	r.dirty = true
	if s.Failure == "" {
		t.Good++
		return
	}
	t.Bad++
	d := detail{s.Failure, s.SendingIP, s.ReceivingMX, s.ReceivingIP, 0, s.Reason}
	for i := range t.Details {
		d.Count = t.Details[i].Count
		if t.Details[i] == d {
			t.Details[i].Count++
			return
		}
	}
	if len(t.Details) < maxDetails {
		d.Count = 1
		t.Details = append(t.Details, d)
	}
}

// Save writes what was counted to the file.
func (r *Recorder) Save() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.file == "" || !r.dirty {
		return nil
	}
	data, err := json.Marshal(r.days)
	if err != nil {
		return fmt.Errorf("tlsrpt: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(r.file), ".tlsrpt-")
	if err != nil {
		return fmt.Errorf("tlsrpt: %w", err)
	}
	if err = identity.Leave(f); err == nil {
		_, err = f.Write(data)
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), r.file)
	}
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("tlsrpt: %w", err)
	}
	r.dirty = false
	return nil
}

// Report is what one domain is told about one day.
type Report struct {
	Domain string
	Day    time.Time // its first moment, UTC
	id     string
	body   reportJSON
	counts map[string]*tally
}

type reportJSON struct {
	Organization string       `json:"organization-name"`
	Range        dateRange    `json:"date-range"`
	Contact      string       `json:"contact-info"`
	ID           string       `json:"report-id"`
	Policies     []policyJSON `json:"policies"`
}

type dateRange struct {
	Start time.Time `json:"start-datetime"`
	End   time.Time `json:"end-datetime"`
}

type policyJSON struct {
	Policy struct {
		Type   Kind     `json:"policy-type"`
		Text   []string `json:"policy-string,omitempty"`
		Domain string   `json:"policy-domain"`
		MX     []string `json:"mx-host,omitempty"`
	} `json:"policy"`
	Summary struct {
		Good int64 `json:"total-successful-session-count"`
		Bad  int64 `json:"total-failure-session-count"`
	} `json:"summary"`
	Details []detail `json:"failure-details,omitempty"`
}

// Take returns the reports about all days before today, by domain, and forgets them. organization and contact are
// those of the sender (RFC 8460 4.1); host makes the report ids unique.
func (r *Recorder) Take(now time.Time, organization, contact, host string) []Report {
	today := now.UTC().Format(time.DateOnly)
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []Report
	for day, tallies := range r.days {
		start, err := time.Parse(time.DateOnly, day)
		if day >= today {
			continue
		}
		delete(r.days, day)
		r.dirty = true
		if err != nil {
			continue
		}
		byDomain := map[string]*Report{}
		for id, t := range tallies {
			rep := byDomain[t.Domain]
			if rep == nil {
				name := day + "." + t.Domain + "@" + host
				rep = &Report{Domain: t.Domain, Day: start, id: name, counts: map[string]*tally{}, body: reportJSON{Organization: organization, Contact: contact, ID: name,
					Range: dateRange{start, start.Add(24*time.Hour - time.Second)}}}
				byDomain[t.Domain] = rep
			}
			rep.counts[id] = t
			var p policyJSON
			p.Policy.Type, p.Policy.Text, p.Policy.Domain, p.Policy.MX = t.Kind, t.Policy, t.Domain, t.MX
			p.Summary.Good, p.Summary.Bad, p.Details = t.Good, t.Bad, t.Details
			rep.body.Policies = append(rep.body.Policies, p)
		}
		for _, rep := range byDomain {
			slices.SortFunc(rep.body.Policies, func(a, b policyJSON) int { return cmp.Compare(a.Policy.Type, b.Policy.Type) })
			list = append(list, *rep)
		}
	}
	slices.SortFunc(list, func(a, b Report) int { return cmp.Or(a.Day.Compare(b.Day), cmp.Compare(a.Domain, b.Domain)) })
	return list
}

// maxReports is for how many days a report waits for the DNS.
const maxReports = 3

// Return takes back a report that could not be sent, unless it is too old: Take gives it out again.
func (r *Recorder) Return(rep Report) {
	if time.Since(rep.Day) > (maxReports+1)*24*time.Hour {
		return
	}
	day := rep.Day.Format(time.DateOnly)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.days[day] == nil {
		r.days[day] = map[string]*tally{}
	}
	for id, t := range rep.counts {
		r.days[day][id] = t
	}
	r.dirty = true
}

// JSON is the report (RFC 8460 4).
func (r *Report) JSON() ([]byte, error) { return json.MarshalIndent(r.body, "", " ") }

// Compressed is the report as it travels (RFC 8460 5.1).
func (r *Report) Compressed() ([]byte, error) {
	data, err := r.JSON()
	if err != nil {
		return nil, err
	}
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	z.Write(data)
	err = z.Close()
	return zipped.Bytes(), err
}

// Mail is the message that carries the report, with LF line ends (RFC 8460 5.3). from must be in a domain whose DKIM
// key signs it, and the message must leave even where TLS fails (RFC 8460 3).
func (r *Report) Mail(from, to, submitter string, now time.Time) ([]byte, error) {
	zipped, err := r.Compressed()
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("%s!%s!%d!%d.json.gz", submitter, r.Domain, r.body.Range.Start.Unix(), r.body.Range.End.Unix())
	var b bytes.Buffer
	boundary := "tlsrpt_" + r.Day.Format("20060102")
	fmt.Fprintf(&b, "From: <%s>\nTo: <%s>\nDate: %s\nSubject: Report Domain: %s Submitter: %s Report-ID: <%s>\n", from, to, now.Format(time.RFC1123Z), r.Domain, submitter, r.id)
	fmt.Fprintf(&b, "TLS-Report-Domain: %s\nTLS-Report-Submitter: %s\nMessage-Id: <%s>\nMIME-Version: 1.0\nAuto-Submitted: auto-generated\nTLS-Required: No\n", r.Domain, submitter, r.id)
	fmt.Fprintf(&b, "Content-Type: multipart/report; report-type=\"tlsrpt\"; boundary=\"%s\"\n\n", boundary)
	fmt.Fprintf(&b, "--%s\nContent-Type: text/plain; charset=us-ascii\n\nThis is a TLS report about mail from %s to %s on %s.\n\n", boundary, submitter, r.Domain, r.Day.Format(time.DateOnly))
	fmt.Fprintf(&b, "--%s\nContent-Type: application/tlsrpt+gzip\nContent-Transfer-Encoding: base64\nContent-Disposition: attachment; filename=\"%s\"\n\n", boundary, name)
	lines := base64.StdEncoding.EncodeToString(zipped)
	for len(lines) > 76 {
		b.WriteString(lines[:76] + "\n")
		lines = lines[76:]
	}
	fmt.Fprintf(&b, "%s\n\n--%s--\n", lines, boundary)
	return b.Bytes(), nil
}

// Destinations reads the TXT records at _smtp._tls.DOMAIN and returns where reports go: addresses and https URLs. No
// record, several, or one that is malformed: nowhere (RFC 8460 3).
func Destinations(records []string) (mail, web []string) {
	found := ""
	for _, rec := range records {
		if strings.HasPrefix(rec, "v=TLSRPTv1") {
			if found != "" {
				return nil, nil
			}
			found = rec
		}
	}
	for field := range strings.SplitSeq(found, ";") {
		key, value, _ := strings.Cut(strings.TrimSpace(field), "=")
		if strings.TrimSpace(key) != "rua" {
			continue
		}
		for uri := range strings.SplitSeq(value, ",") {
			u, err := url.Parse(strings.TrimSpace(uri))
			switch {
			case err != nil || len(mail)+len(web) >= 5:
			case u.Scheme == "mailto":
				if addr, err := url.PathUnescape(u.Opaque); err == nil && strings.Contains(addr, "@") && !strings.ContainsAny(addr, " <>\r\n\t\"(),;\\") {
					mail = append(mail, addr)
				}
			case u.Scheme == "https":
				web = append(web, u.String())
			}
		}
	}
	return mail, web
}
