package app

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"waybill/etc"
	"waybill/transport/envelope"
)

func TestAliasesAreFollowedBeforeAMessageIsAccepted(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	users := write("passwd", "bob:x:1002:1002::"+dir+"/none:/bin/sh\n")
	aliases := write("aliases", "gone: nosuchx\nteam: bob, nosuchx\nloopa: loopb\nloopb: loopa\nfar: carol@example.com\n")
	rules := write("site.rules", fmt.Sprintf("host mx.example.org\nspool %s/spool\nset users %s\nset log %s/log\n", dir, users, dir)+
		strings.ReplaceAll(string(etc.DefaultRules()), "?/etc/aliases", aliases))
	s, err := openSite(rules, slog.LevelError)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close(context.Background())
	for to, want := range map[string]string{
		"bob":              "accepted 0",
		"far":              "accepted 0",
		"carol@y.example":  "accepted 0",
		"nosuch":           "refused [0 5.1.1] 67",
		"gone":             "refused [0 5.1.1] 67",
		"loopa":            "refused [0 5.4.6] 64",
		"team":             "accepted 67",
		"bob gone":         "accepted [1 5.1.1] 67",
		"gone bob nosuch":  "accepted [0 5.1.1] [2 5.1.1] 67",
		"gone loopa nobo1": "refused [0 5.1.1] [1 5.4.6] [2 5.1.1] 67",

		// so many that they are looked at while the message is written
		"bob far carol@y.example bob+x":        "accepted 0",
		"bob far carol@y.example team":         "accepted 67",
		"bob gone far carol@y.example":         "accepted [1 5.1.1] 67",
		"gone bob nosuch far loopa":            "accepted [0 5.1.1] [2 5.1.1] [4 5.4.6] 67",
		"gone loopa nobo1 nobo2":               "refused [0 5.1.1] [1 5.4.6] [2 5.1.1] [3 5.1.1] 67",
		"nosuch " + strings.Repeat("bob ", 40): "accepted [0 5.1.1] 67",
	} {
		for _, text := range []string{"Subject: x\n\nb\n", "Subject: x\n\n" + strings.Repeat("b\n", 40000)} {
			e := &envelope.Envelope{Sender: "alice@example.org", When: envelope.WhenQueue, Origin: envelope.Origin{User: "alice"}}
			for _, a := range strings.Fields(to) {
				e.Recipients = append(e.Recipients, envelope.Recipient{Addr: envelope.Address(a)})
			}
			body := strings.NewReader(text)
			before := waiting(t, s)
			reply, err := s.submitLooking(context.Background(), e, body, nil, false)
			if err != nil {
				t.Fatal(to, err)
			}
			got, added := "refused", 0
			if reply.ID != "" {
				got, added = "accepted", 1
				checkQueued(t, s, reply.ID, text, len(e.Recipients)-len(reply.Refused))
			}
			for _, r := range reply.Refused {
				got += fmt.Sprintf(" [%d %s]", r.Index, r.Code)
			}
			got += fmt.Sprintf(" %d", reply.Exit)
			if rest, _ := io.ReadAll(body); got != want || len(rest) > 0 {
				t.Errorf("%s: %s, want %s (%d octets unread)", to, got, want, len(rest))
			}
			if after := waiting(t, s); after != before+added {
				t.Errorf("%s: %s, and %d files instead of %d are in the queue", to, got, after, before+added)
			}
		}
	}
}

// waiting counts the files of the queue directory, with those that are not yet messages.
func waiting(t *testing.T, s *site) int {
	t.Helper()
	files, err := os.ReadDir(filepath.Join(s.settings.Spool, "queue"))
	if err != nil {
		t.Fatal(err)
	}
	return len(files)
}

// checkQueued looks at a message in the queue.
func checkQueued(t *testing.T, s *site, id, text string, recipients int) {
	t.Helper()
	m, err := s.queue.Spool().Peek(id, false)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	body, err := m.Body().Open()
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if octets, err := io.ReadAll(body); err != nil || !strings.HasSuffix(string(octets), text) || len(m.Recipients) != recipients {
		t.Errorf("%s has %d recipients and %d octets: %v; want %d and %d and a Received field", id, len(m.Recipients), len(octets), err, recipients, len(text))
	}
}
