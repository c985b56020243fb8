package submit

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"waybill/compat/flags"
)

// capture is a recording of how a real program of Debian called sendmail.
type capture struct {
	Name    string            `json:"name"`
	Package string            `json:"package"`
	Argv    []string          `json:"argv"`
	Env     map[string]string `json:"env"`
	Stdin   []byte            `json:"stdin_b64"`
	UID     int               `json:"uid"`
}

// TestCaptures replays the recordings: what the front end makes of them stands beside each as NAME.golden, which was
// compared with what Debian's sendmail does with the same call.
func TestCaptures(t *testing.T) {
	files, err := filepath.Glob("../../testdata/captures/*.json")
	if err != nil || len(files) < 40 {
		t.Fatalf("%d recordings, %v", len(files), err)
	}
	users := map[int]Caller{0: {0, "root", "Root User", ""}, 10: {10, "uucp", "uucp", ""}, 1001: alice, 1002: {1002, "bob", "Bob Example", ""}}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var c capture
		if err := json.Unmarshal(data, &c); err != nil {
			t.Fatal(err)
		}
		t.Run(c.Name, func(t *testing.T) {
			user := users[c.UID]
			user.EnvName = c.Env["NAME"]
			got := replay(t, c, user)
			golden := strings.TrimSuffix(file, ".json") + ".golden"
			if os.Getenv("UPDATE") != "" {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), got); d != "" {
				t.Error(d)
			}
		})
	}
}

func replay(t *testing.T, c capture, user Caller) string {
	v, wrong := flags.Parse(c.Argv)
	if wrong != nil {
		t.Fatal(wrong)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# %s: %q\nmode %c, when %s, errors %c\n", c.Package, c.Argv, v.Mode, v.When, v.Errors)
	if v.Mode != flags.Deliver {
		return b.String()
	}
	s := site()
	s.FullName = func(login string) string {
		for _, u := range []string{"alice"} {
			if u == login {
				return alice.Name
			}
		}
		return ""
	}
	m, err := Read(v, strings.NewReader(string(c.Stdin)), user, s)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(&b, "from <%s>\n", m.Envelope.Sender)
	for _, r := range m.Envelope.Recipients {
		fmt.Fprintf(&b, "to <%s>\n", r.Addr)
	}
	for _, r := range m.Refused {
		fmt.Fprintf(&b, "refused %q: %s\n", r.Name, r.Text)
	}
	if m.Envelope.BodyType != "" || m.Envelope.Priority != 0 {
		fmt.Fprintf(&b, "body %q, priority %d\n", m.Envelope.BodyType, m.Envelope.Priority)
	}
	text, err := io.ReadAll(m)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(&b, "\n%s", text)
	return b.String()
}
