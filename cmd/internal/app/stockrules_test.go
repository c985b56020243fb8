package app

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"waybill/compat/mc"
)

// kitchenSinks are .mc files that together have every feature, so that m4 writes every rule that it can write.
var kitchenSinks = []string{
	"OSTYPE(`linux')\nFEATURE(`mailertable')\nFEATURE(`virtusertable')\nFEATURE(`virtuser_entire_domain')\nFEATURE(`genericstable')\nFEATURE(`generics_entire_domain')\nFEATURE(`domaintable')\nFEATURE(`access_db')\nFEATURE(`blocklist_recipients')\n" +
		"FEATURE(`always_add_domain')\nFEATURE(`redirect')\nFEATURE(`nouucp', `reject')\nFEATURE(`nopercenthack')\nFEATURE(`relay_mail_from')\nFEATURE(`relay_local_from')\nFEATURE(`relay_based_on_MX')\nFEATURE(`bestmx_is_local')\n" +
		"FEATURE(`delay_checks')\nFEATURE(`dnsbl', `a.example')\nFEATURE(`dnsbl', `b.example', `', `t')\nFEATURE(`enhdnsbl', `c.example', `', `t')\nFEATURE(`greet_pause', `5000')\nFEATURE(`ratecontrol')\nFEATURE(`conncontrol')\nFEATURE(`badmx')\n" +
		"FEATURE(`require_rdns')\nFEATURE(`block_bad_helo')\nFEATURE(`check_other')\nFEATURE(`authinfo')\nFEATURE(`tls_session_features')\nFEATURE(`preserve_luser_host')\ndefine(`LUSER_RELAY', `x:y')\n",
	"OSTYPE(`linux')\nFEATURE(`delay_checks', `friend', `n')\nFEATURE(`access_db', , `skip')\nFEATURE(`lookupdotdomain')\nFEATURE(`greet_pause', `1000')\nFEATURE(`ratecontrol', `nodelay', `terminate')\nFEATURE(`conncontrol', `nodelay', `terminate')\n" +
		"FEATURE(`relay_entire_domain')\nFEATURE(`relay_hosts_only')\nFEATURE(`limited_masquerade')\nFEATURE(`masquerade_entire_domain')\nFEATURE(`masquerade_envelope')\nFEATURE(`local_no_masquerade')\nFEATURE(`local_lmtp')\nFEATURE(`compat_check')\n",
	"OSTYPE(`linux')\nFEATURE(`allmasquerade')\nFEATURE(`stickyhost')\nFEATURE(`nocanonify', `canonify_hosts')\nCANONIFY_DOMAIN(`x.example')\nFEATURE(`accept_unqualified_senders')\nFEATURE(`accept_unresolvable_domains')\nFEATURE(`preserve_local_plus_detail')\n" +
		"FEATURE(`promiscuous_relay')\nFEATURE(`loose_relay_check')\nFEATURE(`bitdomain')\nFEATURE(`uucpdomain')\ndefine(`SMART_HOST', `x')\ndefine(`UUCP_RELAY', `x')\ndefine(`BITNET_RELAY', `x')\ndefine(`DECNET_RELAY', `x')\ndefine(`FAX_RELAY', `x')\nFEATURE(`use_client_ptr')\n" +
		"FEATURE(`delay_checks', `hater')\nFEATURE(`access_db', `', `relaytofulladdress')\nFEATURE(`nouucp', `nospecial')\n",
	"OSTYPE(`linux')\nFEATURE(`nullclient', `x')\n",
	"OSTYPE(`linux')\nFEATURE(`nopercenthack', `reject')\nFEATURE(`access_db')\nFEATURE(`greet_pause')\nFEATURE(`rhsbl', `a.example')\nFEATURE(`rhsbl', `b.example', `no', `t')\n",
	"OSTYPE(`linux')\nFEATURE(`nopercenthack', `nospecial')\nFEATURE(`access_db', , `skip', `lookupdotdomain')\nFEATURE(`greet_pause')\nFEATURE(`delay_checks')\n",
	"OSTYPE(`linux')\nFEATURE(`msp')\n",
	"OSTYPE(`linux')\ndefine(`_FFR_MAIL_MACRO', `1')\nFEATURE(`access_db', , `skip')\nFEATURE(`delay_checks', `friend', `n')\nFEATURE(`virtusertable')\nVIRTUSER_DOMAIN(`v.example')\nFEATURE(`genericstable')\nGENERICS_DOMAIN(`g.example')\n" +
		"MASQUERADE_AS(`m.example')\nMASQUERADE_DOMAIN(`n.example')\nMASQUERADE_EXCEPTION(`o.example')\nEXPOSED_USER(`root')\nLOCAL_USER(`root')\nRELAY_DOMAIN(`r.example')\nFEATURE(`masquerade_entire_domain')\nFEATURE(`dnsbl', `d.example', `quarantine')\n",
	"OSTYPE(`linux')\ndefine(`LUSER_RELAY', `local:x')\ndefine(`MAIL_HUB', `x')\nMASQUERADE_AS(`m.example')\nMASQUERADE_DOMAIN(`n.example')\nEXPOSED_USER(`root')\nFEATURE(`allmasquerade')\nFEATURE(`masquerade_envelope')\nFEATURE(`masquerade_entire_domain')\n" +
		"FEATURE(`virtusertable')\nFEATURE(`virtuser_entire_domain')\nVIRTUSER_DOMAIN(`v.example')\nFEATURE(`genericstable')\nFEATURE(`generics_entire_domain')\nGENERICS_DOMAIN(`g.example')\nLOCAL_USER(`root')\nFEATURE(`always_add_domain', `x.example')\n",
	"OSTYPE(`linux')\ndefine(`LUSER_RELAY', `local:x')\nFEATURE(`preserve_luser_host')\nFEATURE(`preserve_local_plus_detail')\nFEATURE(`limited_masquerade')\nMASQUERADE_AS(`m.example')\nFEATURE(`nocanonify')\nFEATURE(`bitdomain')\nFEATURE(`uucpdomain')\n" +
		"FEATURE(`mailertable')\nFEATURE(`domaintable')\nFEATURE(`promiscuous_relay')\n",
	"OSTYPE(`linux')\nFEATURE(`access_db', `', `lookupdotdomain')\nFEATURE(`masquerade_entire_domain')\nFEATURE(`notsticky')\nFEATURE(`relay_mail_from', `domain')\ndefine(`MAIL_HUB', `x')\ndefine(`LOCAL_RELAY', `x')\n",
}

// TestStockRules holds compat/mc/stock.txt, the hashes of the rules that m4 writes by itself, against m4. UPDATE=1 writes
// the file anew.
func TestStockRules(t *testing.T) {
	library := macroLibrary(t)
	found := map[string]bool{}
	for i, text := range kitchenSinks {
		for _, mailers := range []string{"", "MAILER(`uucp')\n"} {
			if strings.Contains(text, "nullclient") || strings.Contains(text, "`msp'") || strings.Contains(text, "nouucp") {
				mailers = ""
			}
			body := "VERSIONID(`x')\n" + text
			if !strings.Contains(text, "nullclient") && !strings.Contains(text, "`msp'") {
				body += "MAILER(`local')\nMAILER(`smtp')\n" + mailers
			}
			dir := unpack(t, &txtar.Archive{Files: []txtar.File{{Name: "mc", Data: []byte(body)}}})
			data, err := os.ReadFile(runM4(t, library, dir, "sink"+string(rune('a'+i))))
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(string(data)) {
				switch line = strings.TrimRight(line, "\n"); {
				case strings.HasPrefix(line, "R"):
					found[mc.Fingerprint(line)] = true
				case strings.HasPrefix(line, "S"):
					name, _, _ := strings.Cut(line[1:], "=")
					name, _, _ = strings.Cut(strings.TrimSpace(name), " ")
					found["S"+name] = true
				}
			}
		}
	}
	var list []string
	for h := range found {
		list = append(list, h)
	}
	slices.Sort(list)
	text := strings.Join(list, "\n") + "\n"
	file := filepath.Join("../../../compat/mc", "stock.txt")
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	have, err := os.ReadFile(file)
	if err != nil || string(have) != text {
		t.Errorf("%s is not what m4 writes (%v): UPDATE=1 go test -run StockRules ./cmd/internal/app", file, err)
	}
}
