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
	} {
		e := &envelope.Envelope{Sender: "alice@example.org", When: envelope.WhenQueue, Origin: envelope.Origin{User: "alice"}}
		for _, a := range strings.Fields(to) {
			e.Recipients = append(e.Recipients, envelope.Recipient{Addr: envelope.Address(a)})
		}
		body := strings.NewReader("Subject: x\n\nb\n")
		reply, err := s.submitLooking(context.Background(), e, body, nil, false)
		if err != nil {
			t.Fatal(to, err)
		}
		got := "refused"
		if reply.ID != "" {
			got = "accepted"
		}
		for _, r := range reply.Refused {
			got += fmt.Sprintf(" [%d %s]", r.Index, r.Code)
		}
		got += fmt.Sprintf(" %d", reply.Exit)
		if rest, _ := io.ReadAll(body); got != want || len(rest) > 0 {
			t.Errorf("%s: %s, want %s (%d octets unread)", to, got, want, len(rest))
		}
	}
}
