package app

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"waybill/queue"
	"waybill/transport/envelope"
	"waybill/transport/tlsrpt"
)

// recorder counts how TLS with other domains goes, where tls-reports asks for it (RFC 8460). It is kept in the spool.
func (s *site) recorder() (*tlsrpt.Recorder, error) {
	if s.cf != nil || !s.yes("tls-reports", false) {
		return nil, nil
	}
	if s.reports == nil {
		r, err := tlsrpt.Open(filepath.Join(s.settings.Spool, "tlsrpt.json"))
		if err != nil {
			return nil, err
		}
		s.reports = r
	}
	return s.reports, nil
}

const (
	saveReports   = 5 * time.Minute // how often the counts are written down
	reportTimeout = time.Minute     // of one look-up or upload
)

// tlsReports saves the counts now and then, and once a day sends the reports about the days before, at a time of the
// night that depends on our name: not all the world at once (RFC 8460 4.1).
func (s *site) tlsReports(ctx context.Context) {
	if s.reports == nil {
		return
	}
	h := fnv.New32()
	h.Write([]byte(s.settings.Host))
	delay := time.Duration(h.Sum32()%(4*3600)) * time.Second
	tick := time.NewTicker(saveReports)
	defer tick.Stop()
	for done := ""; ; {
		select {
		case <-ctx.Done():
			if err := s.reports.Save(); err != nil {
				s.log.Error("the counts for TLS reports cannot be kept", "err", err)
			}
			return
		case <-tick.C:
		}
		if now := time.Now(); now.UTC().Add(-delay).Format(time.DateOnly) != done {
			done = now.UTC().Add(-delay).Format(time.DateOnly)
			if err := s.reportTLS(ctx, now, func(string) error { return nil }); err != nil {
				s.log.Warn("TLS reports", "err", err)
			}
		}
		if err := s.reports.Save(); err != nil {
			s.log.Error("the counts for TLS reports cannot be kept", "err", err)
		}
	}
}

// reportTLS sends the reports about all days before the one of now. A domain whose wish cannot be looked up now is told
// another day.
func (s *site) reportTLS(ctx context.Context, now time.Time, answer func(line string) error) error {
	if s.reports == nil {
		return answer("tls-reports is not set")
	}
	from := cmp.Or(s.first("tls-report-sender"), s.settings.Postmaster+"@"+s.settings.Host)
	for _, report := range s.reports.Take(now, s.settings.Host, "mailto:"+from, s.settings.Host) {
		lookup, cancel := context.WithTimeout(ctx, reportTimeout)
		records, _, err := s.resolver.TXT(lookup, "_smtp._tls."+report.Domain)
		cancel()
		if err != nil {
			s.reports.Return(report)
			s.log.Info("nobody knows now who wants reports about TLS", "domain", report.Domain, "err", err)
			continue
		}
		mail, web := tlsrpt.Destinations(records)
		for _, to := range mail {
			if err := s.mailReport(ctx, &report, from, to); err != nil {
				s.log.Warn("a report about TLS is not accepted", "domain", report.Domain, "to", to, "err", err)
				continue
			}
			if err := answer(report.Domain + " " + to); err != nil {
				return err
			}
		}
		for _, url := range web {
			if err := s.postReport(ctx, &report, url); err != nil {
				s.log.Warn("a report about TLS is not accepted", "domain", report.Domain, "to", url, "err", err)
				continue
			}
			if err := answer(report.Domain + " " + url); err != nil {
				return err
			}
		}
	}
	return s.reports.Save()
}

// mailReport gives a report to the queue. It is never bounced, and goes even where TLS fails (RFC 8460 3; the field that
// says so is of RFC 8689 5).
func (s *site) mailReport(ctx context.Context, r *tlsrpt.Report, from, to string) error {
	text, err := r.Mail(from, to, s.settings.Host, time.Now())
	if err != nil {
		return err
	}
	env := &envelope.Envelope{
		Sender: envelope.Address(from), Arrival: time.Now(), Origin: envelope.Origin{Protocol: "local", UID: -1}, BodyType: envelope.Body7Bit,
		Recipients: []envelope.Recipient{{Addr: envelope.Address(to), Notify: envelope.NotifyNever}},
	}
	_, err = s.queue.Accept(ctx, env, bytes.NewReader(text), queue.Options{})
	return err
}

// postReport uploads a report (RFC 8460 5.4). Names are looked up where all names are.
func (s *site) postReport(ctx context.Context, r *tlsrpt.Report, url string) error {
	data, err := r.Compressed()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(data))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/tlsrpt+gzip")
	web := &http.Client{
		Transport:     &http.Transport{DialContext: s.dialNamed, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := web.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("the server answers %s", resp.Status)
	}
	return nil
}

// dialNamed connects to HOST:PORT, whose addresses the site's resolver knows.
func (s *site) dialNamed(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	found, err := s.resolver.Addrs(ctx, host)
	if err != nil {
		return nil, err
	}
	err = fmt.Errorf("%s has no address", host)
	for _, addr := range found.Addrs[:min(len(found.Addrs), 4)] {
		var c net.Conn
		if c, err = new(net.Dialer).DialContext(ctx, network, net.JoinHostPort(addr.String(), port)); err == nil {
			return c, nil
		}
	}
	return nil, err
}

// tlsReport has the daemon send what it has counted, this day included.
func tlsReport(std stdio, args []string) int {
	fs, config := options(std, "tlsreport", "[-C FILE]")
	if exit, ok := parse(std, fs, args); !ok {
		return exit
	}
	return controlQueue(std, *config, []string{"tlsreport"})
}
