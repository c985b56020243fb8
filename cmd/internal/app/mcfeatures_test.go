package app

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"waybill/etc"
	"waybill/rules"
)

// TestEveryFeature converts an .mc file with each FEATURE that Debian's sendmail-cf has. What comes out must be rules that
// load, their tests hold, and a feature without a counterpart is named with its line, on standard error and in the file.
func TestEveryFeature(t *testing.T) {
	files, _ := filepath.Glob(filepath.Join(macroLibrary(t), "feature/*.m4"))
	if len(files) < 60 {
		t.Fatalf("only %d features", len(files))
	}
	args := map[string]string{"dnsbl": ", `bl.example.net'", "enhdnsbl": ", `bl.example.net'", "rhsbl": ", `dbl.example.net'", "greet_pause": ", `5000'", "nullclient": ", `hub.example.net'", "local_lmtp": "", "msp": ", `[127.0.0.1]'"}
	uses := map[string]string{"mailertable": "use mailertable", "virtusertable": "use virtusertable", "genericstable": "use genericstable", "domaintable": "use domaintable", "access_db": "use access",
		"dnsbl": "use dnsbl", "enhdnsbl": "use dnsbl", "rhsbl": "use rhsbl", "block_bad_helo": "use block-bad-helo", "bestmx_is_local": "use bestmx-is-local", "relay_based_on_MX": "use relay-based-on-mx",
		"require_rdns": "use reverse-name", "redirect": "use redirect", "local_procmail": "use local-procmail", "nullclient": "use nullclient", "greet_pause": "set greet-pause", "authinfo": "auth /etc/mail/authinfo",
		"badmx": "use badmx", "ldap_routing": "use ldap-routing", "msp": "use msp [127.0.0.1]", "relay_local_from": "use relay-local-from", "relay_mail_from": "use relay-mail-from"}
	reported := 0
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".m4")
		mc := filepath.Join(t.TempDir(), "site.mc")
		if err := os.WriteFile(mc, []byte("OSTYPE(`linux')dnl\nFEATURE(`"+name+"'"+args[name]+")dnl\nMAILER(`local')dnl\nMAILER(`smtp')dnl\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		var out, says bytes.Buffer
		exit := rulesCommand(stdio{strings.NewReader(""), &out, &says}, []string{"convert", mc})
		if _, err := rules.Load("site.rules", rules.Options{Text: out.Bytes(), Library: etc.Library(), Hostname: oracleHost.Name, Resolver: nothingResolves{}}); err != nil {
			t.Errorf("%s: %v\n%s", name, err, &out)
		}
		if want := uses[name]; want != "" && !strings.Contains(out.String(), want) {
			t.Errorf("%s: no %q in\n%s", name, want, &out)
		}
		if exit != 0 {
			reported++
			if line := "site.mc:2: FEATURE(" + name + ")"; !strings.Contains(strings.ReplaceAll(says.String(), "line ", ""), name) {
				t.Errorf("%s: exit %d, but %s is not named: %s", name, exit, line, &says)
			}
			t.Logf("%s: %s", name, strings.TrimSpace(says.String()))
		}
	}
	t.Logf("%d of %d features have no counterpart", reported, len(files))
	if reported > 7 { // domainmap, drac, mtamark, prefixmod, sts, vnet
		t.Errorf("%d features have no counterpart", reported)
	}
}
