package testmode

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"waybill/rules/eval"
)

// TestExitStatuses: a session ends with the status that sendmail 8.17.1 ends it with.
func TestExitStatuses(t *testing.T) {
	const base = "V10/Berkeley\nO HelpFile=/dev/null\nO OperatorChars=.:%@!^/[]+\nO BlankSub=.\nMlocal, P=/bin/false, F=lsDFM, S=0, R=0, A=x\nMprog, P=/bin/false, F=lsDFM, S=0, R=0, A=x\nS3\nS0\n"
	session := func(rule, in string) int {
		path := filepath.Join(t.TempDir(), "cf")
		if err := os.WriteFile(path, []byte(base+rule+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		return Main([]string{"-bt", "-C", path}, strings.NewReader(in), new(bytes.Buffer), Config{Trust: true, Host: host, Resolver: nothing{}})
	}
	for in, want := range map[string]int{
		"3 a": 0, "nosuch a": 0, "300 a": 70, "=S": 70, "=S300": 70, "=Sfoo": 0, "$": 70, "$=": 70, "${x": 70, "$={x": 70, "3 \x80": 64, "/parse \x80": 64, "3 <a": 0,
		"/header X": 70, "/nosuch": 0, "/parse a@@@": 0, "300 a\n3 \x80": 70,
	} {
		if got := session("R$*\t$#local $: $1", in+"\n"); got != want {
			t.Errorf("%q: %d, want %d", in, got, want)
		}
	}
	for want, hosts := range map[int]string{
		0:  "4.1.1 2.1.5 tempfail 75 0 5.4.1 5.4.3 5.4.5",
		64: "5.1.3 5.1.7 usage", 65: "5.1.0 5.1 5.2.3 5.7.0 5.7.20", 67: "5.1.1 5.1.6 5.1.1.1 nouser NOUSER 67", 68: "5.1.2 5.1.8 nohost",
		69: "5.0.0 5.1.4 5.1.10 5.2.1 5.6.5 5.8.1 x ok noperm dataerr", 70: "software", 71: "5.3.0 5.3.5", 74: "5.4.0 5.4.2", 76: "5.4.4 5.5.1 protocol", 78: "5.1.5 5.4.6 config", 5: "5", 99: "99",
	} {
		for _, host := range strings.Fields(hosts) {
			if got := session(fmt.Sprintf("R$*\t$#error $@ %s $: 550 no", host), "/parse a@b\n"); got != want {
				t.Errorf("$#error $@ %s: %d, want %d", host, got, want)
			}
		}
	}
}

// refusing is a DNS that does not answer.
type refusing struct{}

func (refusing) Query(context.Context, string, string) ([]eval.Record, bool, error) {
	return nil, false, errors.New("no answer")
}

// TestDNSIsNobodysFault: what DNS does not answer is shown, and leaves the exit status alone.
func TestDNSIsNobodysFault(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cf")
	if err := os.WriteFile(path, []byte("V10/Berkeley\nO HelpFile=/dev/null\nMlocal, P=/bin/false, F=lsDFM, S=0, R=0, A=x\nMprog, P=/bin/false, F=lsDFM, S=0, R=0, A=x\nSA\nR$*\t$: $[ $1 $]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	status := Main([]string{"-bt", "-C", path}, strings.NewReader("A x.example.org\n/map host [256.1.1.1]\n"), &out, Config{Trust: true, Host: host, Resolver: refusing{}})
	if status != 0 || strings.Count(out.String(), ": Name server timeout\n") != 2 || !strings.Contains(out.String(), "([256.1.1.1]) [256.1.1.1]: Name server timeout\nno match (75)\n") {
		t.Errorf("%d\n%s", status, out.String())
	}
}
