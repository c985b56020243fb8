package check

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"waybill/rules/compile"
)

// setting is what a "set" statement may say.
type setting struct {
	form  string // how it is written
	max   int    // values; 0: any number
	valid func(string) bool
}

func anything(v string) bool { return v != "" }

func absolute(v string) bool { return strings.HasPrefix(v, "/") }

func size(v string) bool { _, err := compile.Size(v); return err == nil }

func duration(v string) bool { d, err := compile.Duration(v); return err == nil && d >= 0 }

func positive(v string) bool {
	n, err := strconv.Atoi(v)
	return err == nil && n > 0 && n < 1<<31
}

// listenAddress reads ADDR:PORT, *:PORT, or a Unix socket's path.
func listenAddress(v string) bool {
	if strings.HasPrefix(v, "/") {
		return true
	}
	host, port, ok := cutPort(v)
	if !ok || port == "" {
		return false
	}
	if host == "" || host == "*" || host == "localhost" {
		return true
	}
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil
}

func cutPort(v string) (host, port string, ok bool) {
	i := strings.LastIndexByte(v, ':')
	if i < 0 {
		return "", "", false
	}
	n, err := strconv.Atoi(v[i+1:])
	return v[:i], v[i+1:], err == nil && n >= 0 && n < 1<<16
}

func yesno(v string) bool { return v == "yes" || v == "no" }

// settings are all settings. Package rules has their meaning and their defaults.
var settings = map[string]setting{
	"listen":         {"listen ADDR:PORT...", 0, listenAddress},
	"resolver":       {"resolver ADDR:PORT", 1, listenAddress},
	"users":          {"users FILE", 1, anything},
	"aliases":        {"aliases TABLE", 1, anything},
	"log":            {"log syslog, stderr or FILE", 1, func(v string) bool { return v == "syslog" || v == "stderr" || strings.HasPrefix(v, "/") }},
	"max-size":       {"max-size SIZE", 1, size},
	"return-limit":   {"return-limit SIZE", 1, size},
	"max-hops":       {"max-hops N", 1, positive},
	"max-recipients": {"max-recipients N", 1, positive},
	"retry":          {"retry DURATION...", 0, duration},
	"give-up":        {"give-up DURATION", 1, duration},
	"warn-after":     {"warn-after DURATION", 1, duration},
	"postmaster":     {"postmaster NAME", 1, anything},
	"idle-timeout":   {"idle-timeout DURATION", 1, duration},
	"sessions":       {"sessions N", 1, positive},
	"deliveries":     {"deliveries N", 1, positive},
	"trust":          {"trust USER...", 0, anything},
	"level":          {"level N", 1, positive},
	"operators":      {"operators \".:%@!^/[]+\"", 1, anything},
	"blank-sub":      {"blank-sub CHARACTER", 1, anything},
	"cut-through":    {"cut-through yes or no", 1, yesno},
	"listen-tls":     {"listen-tls ADDR:PORT...", 0, listenAddress},
	"queue-dirs":     {"queue-dirs DIRECTORY...", 0, absolute},
	"queue":          {"queue auto, log or files", 1, func(v string) bool { return v == "auto" || v == "log" || v == "files" }},
	"tls-cert":       {"tls-cert FILE", 1, absolute},
	"tls-key":        {"tls-key FILE", 1, absolute},
	"passwords":      {"passwords FILE, dovecot:SOCKET or saslauthd:SOCKET", 1, passwords},

	// Receiving.
	"listen-submission":   {"listen-submission ADDR:PORT...", 0, listenAddress},
	"listen-submissions":  {"listen-submissions ADDR:PORT...", 0, listenAddress},
	"listen-lmtp":         {"listen-lmtp ADDR:PORT or SOCKET...", 0, listenAddress},
	"tls-client-ca":       {"tls-client-ca FILE", 1, absolute},
	"auth-without-tls":    {"auth-without-tls yes or no", 1, yesno},
	"greet-pause":         {"greet-pause DURATION", 1, duration},
	"connection-rate":     {"connection-rate N", 1, positive},
	"client-rate":         {"client-rate N", 1, positive},
	"client-connections":  {"client-connections N", 1, positive},
	"client-messages":     {"client-messages N", 1, positive},
	"client-recipients":   {"client-recipients N", 1, positive},
	"unlimited-clients":   {"unlimited-clients NETWORK...", 0, network},
	"session-messages":    {"session-messages N", 1, positive},
	"bad-recipients":      {"bad-recipients N", 1, positive},
	"bad-recipient-delay": {"bad-recipient-delay DURATION", 1, duration},
	"data-timeout":        {"data-timeout DURATION", 1, duration},
	"min-rate":            {"min-rate SIZE", 1, size},
	"bare":                {"bare refuse or replace", 1, func(v string) bool { return v == "refuse" || v == "replace" }},
	"smtputf8":            {"smtputf8 yes or no", 1, yesno},
	"deliver-by":          {"deliver-by yes or no", 1, yesno},
	"require-tls":         {"require-tls yes or no", 1, yesno},
	"xclient":             {"xclient NETWORK...", 0, network},
	"proxy":               {"proxy NETWORK...", 0, network},
	"vrfy":                {"vrfy yes or no", 1, yesno},
	"expn":                {"expn yes or no", 1, yesno},
	"etrn":                {"etrn yes or no", 1, yesno},

	// Sending.
	"own-names": {"own-names CLASS...", 0, anything},

	// Reports about TLS.
	"tls-reports":       {"tls-reports yes or no", 1, yesno},
	"tls-report-sender": {"tls-report-sender ADDRESS", 1, anything},
}

// network reads an IP address or a network, "192.0.2.0/24".
func network(v string) bool {
	_, err := netip.ParseAddr(v)
	_, perr := netip.ParsePrefix(v)
	return err == nil || perr == nil
}

// passwords reads a file, or where to ask.
func passwords(v string) bool {
	for _, daemon := range []string{"dovecot:", "saslauthd:"} {
		v = strings.TrimPrefix(v, daemon)
	}
	return absolute(v)
}

// SettingNames returns the names of all settings, sorted.
func SettingNames() []string {
	var out []string
	for n := range settings {
		out = append(out, n)
	}
	slices.Sort(out)
	return out
}

// SettingForm returns how a setting is written, behind "set".
func SettingForm(name string) string { return settings[name].form }

// transportKeys are the parameters of each kind of transport.
var transportKeys = map[string][]string{
	"smtp": {"tls", "tls-ca", "tls-name", "concurrency", "port", "host", "mx", "timeout", "connect-timeout", "final-timeout", "helo", "source", "max-recipients", "auth", "line-limit",
		"fallback", "max-addresses", "implicit-tls", "tls-policy", "idle-connections", "idle-time", "connection-messages", "host-status", "dane", "mta-sts", "chunking", "family", "tls-cert", "tls-key", "sender", "recipient", "header"},
	"lmtp":    {"host", "port", "socket", "tls", "concurrency", "timeout", "connect-timeout", "helo", "max-recipients", "local", "sender", "recipient", "header"},
	"mbox":    {"path", "quota", "quota-temporary", "lock", "lock-timeout", "mode", "group", "default-user", "concurrency", "biff", "return-path", "local", "sync", "sender", "recipient", "header"},
	"maildir": {"path", "quota", "quota-temporary", "mode", "create", "default-user", "concurrency", "return-path", "local", "sync", "sender", "recipient", "header"},
	"pipe": {"command", "user", "directory", "timeout", "environment", "concurrency", "max-recipients", "from-line", "return-path", "nice", "max-size", "line-ends", "local", "exit",
		"sender", "recipient", "header"},
	"mailer": nil,
	"uucp": {"spool", "sites", "systems", "grade", "command", "node", "user", "owner", "max-size", "max-recipients", "max-command", "batch", "layout", "quoting", "address", "concurrency",
		"options", "uux", "sender", "recipient", "header"},
}

// TransportKinds returns the kinds of transport, sorted.
func TransportKinds() []string {
	var out []string
	for k := range transportKeys {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// TransportKeys returns the parameters that a transport of a kind can have.
func TransportKeys(kind string) []string { return slices.Clone(transportKeys[kind]) }

// TableClasses returns the classes of tables that a rule file can name.
func TableClasses() []string {
	return []string{"text", "aliases", "pathalias", "hash", "btree", "implicit", "cidr", "regex", "host", "dns", "bestmx", "macro", "arith", "sequence", "switch", "null",
		"dequote", "user", "program", "syslog", "cdb", "socket", "stab"}
}
