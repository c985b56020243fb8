package check

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"waybill/rules/compile"
)

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

// settings are all settings. Package rules has their meaning and their defaults.
var settings = map[string]value{
	"listen":         many("listen ADDR:PORT...", listenAddress),
	"resolver":       one("resolver ADDR:PORT", listenAddress),
	"users":          naming('f', "users FILE"),
	"aliases":        naming('t', "aliases TABLE"),
	"log":            one("log syslog, stderr or FILE", func(v string) bool { return v == "syslog" || v == "stderr" || strings.HasPrefix(v, "/") }),
	"max-size":       one("max-size SIZE", size),
	"return-limit":   one("return-limit SIZE", size),
	"max-hops":       one("max-hops N", positive),
	"max-recipients": one("max-recipients N", positive),
	"retry":          many("retry DURATION...", duration),
	"give-up":        one("give-up DURATION", duration),
	"warn-after":     one("warn-after DURATION", duration),
	"postmaster":     one("postmaster NAME", anything),
	"idle-timeout":   one("idle-timeout DURATION", duration),
	"sessions":       one("sessions N", positive),
	"deliveries":     one("deliveries N", positive),
	"trust":          many("trust USER...", anything),
	"level":          one("level N", positive),
	"operators":      one("operators \".:%@!^/[]+\"", anything),
	"blank-sub":      one("blank-sub CHARACTER", anything),
	"cut-through":    choice("cut-through yes or no", "yes", "no"),
	"listen-tls":     many("listen-tls ADDR:PORT...", listenAddress),
	"queue-dirs":     many("queue-dirs DIRECTORY...", absolute),
	"queue":          choice("queue auto, log or files", "auto", "log", "files"),
	"tls-cert":       naming('f', "tls-cert FILE"),
	"tls-key":        naming('f', "tls-key FILE"),
	"passwords":      {form: "passwords FILE, dovecot:SOCKET or saslauthd:SOCKET", max: 1, valid: passwords, kind: 'f'},

	// Receiving.
	"listen-submission":   many("listen-submission ADDR:PORT...", listenAddress),
	"listen-submissions":  many("listen-submissions ADDR:PORT...", listenAddress),
	"listen-lmtp":         many("listen-lmtp ADDR:PORT or SOCKET...", listenAddress),
	"tls-client-ca":       naming('f', "tls-client-ca FILE"),
	"auth-without-tls":    choice("auth-without-tls yes or no", "yes", "no"),
	"greet-pause":         one("greet-pause DURATION", duration),
	"connection-rate":     one("connection-rate N", positive),
	"client-rate":         one("client-rate N", positive),
	"client-connections":  one("client-connections N", positive),
	"client-messages":     one("client-messages N", positive),
	"client-recipients":   one("client-recipients N", positive),
	"unlimited-clients":   many("unlimited-clients NETWORK...", network),
	"session-messages":    one("session-messages N", positive),
	"bad-recipients":      one("bad-recipients N", positive),
	"bad-recipient-delay": one("bad-recipient-delay DURATION", duration),
	"data-timeout":        one("data-timeout DURATION", duration),
	"min-rate":            one("min-rate SIZE", size),
	"bare":                choice("bare refuse or replace", "refuse", "replace"),
	"smtputf8":            choice("smtputf8 yes or no", "yes", "no"),
	"deliver-by":          choice("deliver-by yes or no", "yes", "no"),
	"require-tls":         choice("require-tls yes or no", "yes", "no"),
	"xclient":             many("xclient NETWORK...", network),
	"proxy":               many("proxy NETWORK...", network),
	"vrfy":                choice("vrfy yes or no", "yes", "no"),
	"expn":                choice("expn yes or no", "yes", "no"),
	"etrn":                choice("etrn yes or no", "yes", "no"),

	// Sending.
	"own-names": {form: "own-names CLASS...", valid: anything, kind: 'c'},

	// Reports about TLS.
	"tls-reports":       choice("tls-reports yes or no", "yes", "no"),
	"tls-report-sender": one("tls-report-sender ADDRESS", anything),
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

// TableClasses returns the classes of tables that a rule file can name.
func TableClasses() []string {
	return []string{"text", "aliases", "pathalias", "hash", "btree", "implicit", "cidr", "regex", "host", "dns", "bestmx", "macro", "arith", "sequence", "switch", "null",
		"dequote", "user", "program", "syslog", "cdb", "socket", "stab", "ldap"}
}
