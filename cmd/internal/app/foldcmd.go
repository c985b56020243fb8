package app

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"

	"waybill/compat/cf"
	"waybill/compat/convert"
	"waybill/compat/mc"
	"waybill/compat/rewrite"
	"waybill/etc"
	"waybill/rules"
	"waybill/rules/eval"
)

// folding compares a short file with the sendmail.cf that it was made of.
const (
	foldAddresses = 2000
	foldExamples  = 5 // differences that are shown
)

// foldClients are a stranger and this machine: whom of them do both let send to an address?
var foldClients = []string{"198.18.0.9", "127.0.0.1"}

// nothingResolves is a name server that knows nothing: what is compared shall not depend on the network.
type nothingResolves struct{}

func (nothingResolves) Query(context.Context, string, string) ([]eval.Record, bool, error) {
	return nil, false, nil
}

// fold makes a short file of a sendmail.cf that m4 has made: the library has the rules that m4 wrote. It asks both about
// 2,000 addresses, and returns why the result is not the same; nothing when it is.
func fold(text string, conf *cf.Config) (short string, site *mc.Site, why []string) {
	site, ok := mc.Recognise(text, conf)
	if !ok {
		return "", nil, []string{"m4 has not made this file"}
	}
	site.Machine = conf.Host.Name
	short = site.Rules(conf.File)
	for _, p := range site.Problems {
		why = append(why, p.String())
	}
	if why != nil {
		return short, site, why
	}
	router, err := rules.Load("folded.rules", rules.Options{Text: []byte(short), Library: etc.Library(), Hostname: conf.Host.Name, Resolver: nothingResolves{}})
	if err != nil {
		return short, site, []string{err.Error()}
	}
	hosts, _ := conf.Option("HostsFile", "")
	service, _ := conf.Option("ServiceSwitchFile", "")
	old, err := rewrite.New(conf, eval.TableEnv{Resolver: nothingResolves{}, Hosts: hosts, Services: service, Macro: func(name string) string { return conf.Prog.Macros[name] }})
	if err != nil {
		return short, site, []string{err.Error()}
	}
	ctx := context.Background()
	list := convert.NewAddresses(conf, rand.New(rand.NewPCG(20, 26))).Ordinary(foldAddresses)
	differ, told := 0, map[string]bool{}
	for _, a := range list {
		want := targetTriple(old.Parse(ctx, a, rewrite.Message{}))
		d, err := router.Route(ctx, rules.Query{Recipient: a, Sender: "x@example.net"}, nil)
		got := triple(d, err)
		if say := tolerated(a, want, got); say != "" {
			told[say] = true
			continue
		}
		if site.Later(a, want) {
			continue
		}
		if got != want {
			if differ++; differ <= foldExamples {
				why = append(why, fmt.Sprintf("%s goes to %s, and would go to %s", a, want, got))
			}
			continue
		}
		for _, client := range foldClients {
			m := rewrite.Message{"client_addr": client, "client_name": "[" + client + "]", "client_resolve": "OK", "f": "", "mail_from": "<>", "client_rate": "1", "client_connections": "1"}
			refused, _, err := old.Check(ctx, "check_rcpt", []string{"<" + a + ">"}, m)
			q := rules.Query{Recipient: a, Client: rules.Client{Addr: netip.MustParseAddr(client)}}
			v, errOurs := router.Accept(ctx, rules.StageRcpt, q, nil)
			was, is := refused == nil, v.Refusal == nil
			if refused != nil && refused.Text == "SKIP" { // FEATURE(access_db) without its word skip
				told["SKIP in the access table ends a search, where sendmail refuses with that word"] = true
				continue
			}
			if is && strings.HasPrefix(want, "local|") { // what is delivered here may be sent here
				continue
			}
			if err != nil || errOurs != nil || was && !is && strings.HasPrefix(want, "error") { // a table that is missing; we ask earlier than sendmail where it would go
				continue
			}
			if was != is {
				if differ++; differ <= foldExamples {
					why = append(why, fmt.Sprintf("%s from a client %s is taken: %v, and would be: %v", a, client, was, is))
				}
				break
			}
		}
	}
	site.Remarks = append(site.Remarks, slices.Sorted(maps.Keys(told))...)
	if differ > 0 {
		why = append(why, fmt.Sprintf("%d of %d addresses would go elsewhere", differ, len(list)))
	}
	return short, site, why
}

// tolerated says what an entry of a table that makes no sense leads to; empty: the difference between want, sendmail's answer
// about an address, and got, ours, counts.
func tolerated(address, want, got string) string {
	switch {
	case strings.HasPrefix(want, "error 5") && strings.HasPrefix(got, "later:") && strings.Contains(got, "the rules name transport"):
		return "mail for which a table names a transport that does not exist waits, where sendmail returns it"
	case strings.HasPrefix(want, "local|") && strings.HasSuffix(want, "|"+strings.ToLower(address)) && strings.HasPrefix(got, "later:") && strings.Contains(got, "virtusertable_to"):
		return "mail for an address that the virtusertable turns into itself waits, where sendmail delivers it to a user of that whole name"
	}
	return ""
}

// targetTriple is a target of a sendmail.cf as triple writes our decisions.
func targetTriple(t rewrite.Target, err error) string {
	switch {
	case err != nil:
		return "later: " + err.Error()
	case t.Refusal != nil && t.Refusal.Discard:
		return "discard"
	case t.Refusal != nil:
		return fmt.Sprintf("error %d", t.Refusal.Code/100)
	}
	return plainTriple(t.Mailer.Name, t.Host, t.User)
}

// triple writes a decision as mailer, host, user. All mailers that speak SMTP are one here, and a dot behind a host is
// only sendmail's sign that the name is complete.
func triple(d rules.Decision, err error) string {
	switch {
	case err != nil:
		return "later: " + err.Error()
	case d.Refusal != nil && d.Refusal.Discard:
		return "discard"
	case d.Refusal != nil:
		return fmt.Sprintf("error %d", d.Refusal.Code/100)
	}
	return plainTriple(d.Mailer, d.Host, d.User)
}

func plainTriple(mailer, host, user string) string {
	switch {
	case slices.Contains([]string{"smtp", "esmtp", "smtp8", "dsmtp", "relay"}, mailer):
		mailer = "esmtp"
	case strings.HasPrefix(mailer, "uucp") || mailer == "suucp":
		mailer = "uucp"
	case mailer == "local":
		host = "" // the detail of the address; ours stands with the user
	}
	return fmt.Sprintf("%s|%s|%s", mailer, strings.TrimSuffix(strings.ToLower(host), "."), strings.ToLower(user))
}
