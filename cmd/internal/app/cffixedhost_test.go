package app

import (
	"bufio"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"

	"waybill/rules"
	"waybill/transport"
	"waybill/transport/dns"
	"waybill/transport/envelope"
)

// TestMailersWithAHost delivers by mailers whose A= names the host, whatever the rules say, and greets as HeloName says.
func TestMailersWithAHost(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	greeted := make(chan string, 10)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				fmt.Fprintf(c, "220 sink ESMTP\r\n")
				data := false
				for in := bufio.NewScanner(c); in.Scan(); {
					switch line := in.Text(); {
					case data && line == ".":
						data = false
						fmt.Fprintf(c, "250 2.0.0 ok\r\n")
					case data:
					case strings.HasPrefix(line, "EHLO "):
						greeted <- line[5:]
						fmt.Fprintf(c, "250 ok\r\n")
					case line == "DATA":
						data = true
						fmt.Fprintf(c, "354 go\r\n")
					default:
						fmt.Fprintf(c, "250 ok\r\n")
					}
				}
			}()
		}
	}()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	conf := policySite(t, "O HeloName=other.example\nD{Hub}[127.0.0.1]\nMlocal, P=[IPC], F=lsA, A=TCP [127.0.0.1] "+port+"\nMrelay, P=[IPC], F=mD, A=TCP ${Hub} "+port+"\nMprog, P=/bin/sh, A=sh -c $u\n")
	s := &site{cf: conf, settings: rules.Settings{Host: "mx.test"}, resolver: dns.Static(&dns.Zone{}), log: slog.New(slog.DiscardHandler)}
	t.Cleanup(func() {
		for _, c := range conf.clients {
			c.Close()
		}
	})
	for mailer, host := range map[string]string{"local": "", "relay": "elsewhere.example"} {
		tr, err := s.cfSMTP(conf.conf.Mailer(mailer))
		if err != nil {
			t.Fatal(err)
		}
		got := tr.Deliver(t.Context(), &transport.Request{Envelope: &envelope.Envelope{Sender: "a@x.example"}, Host: host,
			Recipients: []transport.Recipient{{User: "bob@x.example"}}, Body: envelope.BytesBody("Subject: x\n\nx\n"), Log: s.log})
		if len(got) != 1 || got[0].Outcome() != transport.Relayed {
			t.Fatalf("%s: %v", mailer, got)
		}
		if name := <-greeted; name != "other.example" {
			t.Errorf("%s: EHLO %s", mailer, name)
		}
	}
}
