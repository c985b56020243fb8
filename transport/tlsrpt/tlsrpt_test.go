package tlsrpt

import (
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestReportsAreWrittenOncePerDayAndDomain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tlsrpt")
	r, err := Open(file)
	if err != nil {
		t.Fatal(err)
	}
	day1 := time.Date(2026, 11, 20, 23, 59, 0, 0, time.UTC)
	day2 := day1.Add(2 * time.Minute)
	sts := Session{Domain: "example.com", Kind: MTASTS, Policy: []string{"version: STSv1", "mode: testing"}, MX: []string{"*.example.com"}}
	bad := sts
	bad.Failure, bad.ReceivingMX, bad.ReceivingIP = Expired, "mx.example.com", "192.0.2.1"
	for _, s := range []Session{sts, sts, bad, bad, {Domain: "example.net", Kind: NoPolicy}} {
		r.record(s, day1)
	}
	r.record(sts, day2)
	if err := r.Save(); err != nil {
		t.Fatal(err)
	}
	if r, err = Open(file); err != nil { // a restart
		t.Fatal(err)
	}
	list := r.Take(day2, "Us", "postmaster@us.example", "mail.us.example")
	if len(list) != 2 || list[0].Domain != "example.com" || list[1].Domain != "example.net" {
		t.Fatalf("%+v", list)
	}
	data, err := list[0].JSON()
	if err != nil {
		t.Fatal(err)
	}
	want := `{"organization-name":"Us","date-range":{"start-datetime":"2026-11-20T00:00:00Z","end-datetime":"2026-11-20T23:59:59Z"},
	"contact-info":"postmaster@us.example","report-id":"2026-11-20.example.com@mail.us.example","policies":[{"policy":{"policy-type":"sts",
	"policy-string":["version: STSv1","mode: testing"],"policy-domain":"example.com","mx-host":["*.example.com"]},
	"summary":{"total-successful-session-count":2,"total-failure-session-count":2},
	"failure-details":[{"result-type":"certificate-expired","receiving-mx-hostname":"mx.example.com","receiving-ip":"192.0.2.1","failed-session-count":2}]}]}`
	if diff := cmp.Diff(decode(t, []byte(want)), decode(t, data)); diff != "" {
		t.Error(diff)
	}
	if again := r.Take(day2, "Us", "", ""); len(again) != 0 {
		t.Errorf("reported twice: %v", again)
	}
	if rest := r.Take(day2.Add(24*time.Hour), "Us", "", ""); len(rest) != 1 {
		t.Errorf("second day: %v", rest)
	}

	msg, err := list[0].Mail("noreply@us.example", "reports@example.com", "us.example", day2)
	if err != nil {
		t.Fatal(err)
	}
	m, err := mail.ReadMessage(strings.NewReader(string(msg)))
	if err != nil {
		t.Fatal(err)
	}
	_, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil || params["report-type"] != "tlsrpt" || m.Header.Get("TLS-Report-Domain") != "example.com" {
		t.Errorf("header %v, %v", m.Header, err)
	}
	parts := multipart.NewReader(m.Body, params["boundary"])
	parts.NextPart()
	p, err := parts.NextPart()
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(base64.NewDecoder(base64.StdEncoding, p))
	if err != nil {
		t.Fatal(err)
	}
	inside, err := io.ReadAll(z)
	if err != nil || string(inside) != string(data) {
		t.Errorf("attachment %q, %v", inside, err)
	}
}

func decode(t *testing.T, data []byte) (v any) {
	t.Helper()
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestDestinations(t *testing.T) {
	for _, c := range []struct{ record, want string }{
		{"v=TLSRPTv1; rua=mailto:reports@example.com", "[reports@example.com] []"},
		{"v=TLSRPTv1;rua=https://reporting.example.com/v1/tlsrpt,mailto:a%2Bb@example.com", "[a+b@example.com] [https://reporting.example.com/v1/tlsrpt]"},
		{"v=TLSRPTv1; rua=mailto:a@b%0D%0ABcc:c@d,http://plain.example", "[] []"},
		{"v=spf1 -all", "[] []"},
	} {
		mail, web := Destinations([]string{c.record})
		if got := fmt.Sprint(mail, web); got != c.want {
			t.Errorf("%q: %s, want %s", c.record, got, c.want)
		}
	}
	if mail, _ := Destinations([]string{"v=TLSRPTv1;rua=mailto:a@b", "v=TLSRPTv1;rua=mailto:a@b"}); mail != nil {
		t.Error("two records were taken")
	}
}

func FuzzDestinations(f *testing.F) {
	f.Add("v=TLSRPTv1; rua=mailto:a@b,https://c/d")
	f.Fuzz(func(t *testing.T, record string) {
		mail, web := Destinations([]string{record})
		for _, m := range mail {
			if strings.ContainsAny(m, "\r\n <>,") || !strings.Contains(m, "@") {
				t.Errorf("%q: %q", record, m)
			}
		}
		for _, w := range web {
			if !strings.HasPrefix(w, "https:") {
				t.Errorf("%q: %q", record, w)
			}
		}
	})
}
