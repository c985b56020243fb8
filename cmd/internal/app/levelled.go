package app

import (
	"strings"

	"waybill/compat/cf"
	"waybill/etc"
	"waybill/queue/spool"
	"waybill/rules"
	"waybill/rules/eval"
	"waybill/transport/dns"
)

// A configuration is sendmail's when it is a sendmail.cf, or a rule file whose level says that its rules came from one:
// what waybill rules convert writes. Both are the same to everything behind readCF.

// isCF reports whether a configuration is sendmail's.
func isCF(file string) bool { return spool.Sendmail(file) }

// readCF reads such a configuration. The error is rules.Diagnostics when a rule file is wrong.
func readCF(file string, how cf.Options) (*cf.Config, error) {
	if file == "" {
		file = spool.DefaultConfig
	}
	if strings.HasSuffix(file, ".cf") {
		return cf.ReadFile(file, how)
	}
	p, err := rules.Compile(file, rules.Options{Library: etc.Library(), Hostname: how.Host.Name, Define: map[string]string{"node": how.Host.NodeName, "opMode": how.Mode}})
	if err != nil {
		return nil, err
	}
	return cf.FromProgram(p, file, how), nil
}

// openCFRules makes a Router of a sendmail.cf, or of rules made of one, for commands that only ask: rules diff, explain.
func openCFRules(file string) (*rules.Router, error) {
	conf, err := readCF(file, cf.Options{Host: cf.LocalHost("/etc/hosts"), CheckTable: eval.CheckTable, Mode: "m"})
	if err != nil {
		return nil, err
	}
	resolver, err := dns.New(dns.Config{})
	if err != nil {
		return nil, err
	}
	return rules.FromProgram(conf.Prog, rules.Options{Resolver: ruleTables{resolver}})
}
