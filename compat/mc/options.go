package mc

import (
	"net"
	"strconv"
	"strings"
)

// settings are the defines that are settings here, with how the value is written.
var settings = map[string]struct {
	name string
	form func(string) string
}{
	"confMAX_MESSAGE_SIZE":         {"max-size", same},
	"confMAX_HOP":                  {"max-hops", same},
	"confMAX_RCPTS_PER_MESSAGE":    {"max-recipients", same},
	"confTO_QUEUERETURN":           {"give-up", time},
	"confTO_QUEUEWARN":             {"warn-after", time},
	"confTO_COMMAND":               {"idle-timeout", time},
	"confMAX_DAEMON_CHILDREN":      {"sessions", same},
	"confCONNECTION_RATE_THROTTLE": {"connection-rate", same},
	"confBAD_RCPT_THROTTLE":        {"bad-recipients", same},
	"confDOUBLE_BOUNCE_ADDRESS":    {"postmaster", same},
	"confSERVER_CERT":              {"tls-cert", same},
	"confSERVER_KEY":               {"tls-key", same},
	"confTRUSTED_USERS":            {"trust", same},
}

func same(v string) string { return v }

// time writes sendmail's "1d12h" as it is, and a number without a unit as days, which these options take it for.
func time(v string) string {
	if v != "" && strings.Trim(v, "0123456789") == "" {
		return v + "d"
	}
	return strings.ReplaceAll(v, "w", "d")
}

// carried are the other defines that become something, or need nothing.
var carried = map[string]bool{
	"SMART_HOST": true, "MAIL_HUB": true, "LOCAL_RELAY": true, "LUSER_RELAY": true, "confDOMAIN_NAME": true, "confPRIVACY_FLAGS": true, "ALIAS_FILE": true,
	"confCW_FILE": true, "confCT_FILE": true, "confCR_FILE": true, "PROCMAIL_MAILER_PATH": true, "confDELIVERY_MODE": true, "confLOG_LEVEL": true, "confPID_FILE": true,
	"confDONT_PROBE_INTERFACES": true, "confSERVICE_SWITCH_FILE": true, "confHOSTS_FILE": true, "confFORWARD_PATH": true, "_USE_ETC_MAIL_": true, "confCON_EXPENSIVE": true,
	"confAUTH_MECHANISMS": true, "confTO_IDENT": true, "confTO_CONNECT": true, "MAIL_SETTINGS_DIR": true, "DATABASE_MAP_TYPE": true, "confDIAL_DELAY": true,
	"confCONNECTION_RATE_WINDOW_SIZE": true, "STATUS_FILE": true, "HELP_FILE": true, "QUEUE_DIR": true, "confBIND_OPTS": true, "confMIN_FREE_BLOCKS": true,
	"confDEF_USER_ID": true, "confUSERDB_SPEC": true, "confMCI_CACHE_SIZE": true, "confMCI_CACHE_TIMEOUT": true, "confQUEUE_LA": true, "confREFUSE_LA": true,
	"BITNET_RELAY": true, "DECNET_RELAY": true, "FAX_RELAY": true, "UUCP_RELAY": true, "confUUCP_MAILER": true, "confSMTP_MAILER": true, "LOCAL_MAILER_PATH": true,
}

// notCarried tells why a define of sendmail's has no meaning here.
func notCarried(name string) (why string, yes bool) {
	_, setting := settings[name]
	switch {
	case setting || carried[name]:
		return "", false
	case strings.HasPrefix(name, "conf"):
		return "this option has no setting here", true
	case strings.Contains(name, "_MAILER_"):
		return "mailers are transports here", true
	case strings.HasSuffix(name, "_RELAY"):
		return "write a route rule", true
	}
	return "", false // a name of the file's own
}

// relay cuts "mailer:host" into a transport of ours and a host.
func relay(text string) (transport, host string) {
	transport, host, ok := strings.Cut(text, ":")
	if !ok || strings.HasPrefix(text, "[") {
		transport, host = "", text
	}
	return transportFor(transport), host
}

// transportFor is our transport for a mailer of sendmail's.
func transportFor(mailer string) string {
	switch {
	case mailer == "" || mailer == "smtp" || mailer == "esmtp" || mailer == "smtp8" || mailer == "dsmtp" || mailer == "relay":
		return "esmtp"
	case strings.Contains(mailer, "uucp"):
		return "uucp"
	}
	return mailer
}

// listen is where a DAEMON_OPTIONS listens, and whether for submission.
func listen(options string) (at string, submission bool) {
	addr, port := "*", "25"
	for field := range strings.SplitSeq(options, ",") {
		key, v, _ := strings.Cut(strings.TrimSpace(field), "=")
		key, v = strings.ToLower(strings.TrimSpace(key)), strings.TrimSpace(v)
		switch {
		case strings.HasPrefix(key, "p") && v != "":
			port = v
		case strings.HasPrefix(key, "a"):
			addr = strings.Trim(strings.TrimPrefix(v, "IPv6:"), "[]")
		case strings.HasPrefix(key, "m") && strings.ContainsAny(v, "aE"):
			submission = submission || strings.Contains(v, "a")
		}
	}
	if n, err := net.LookupPort("tcp", port); err == nil {
		submission = submission || n == 587
		port = strconv.Itoa(n)
	}
	if addr == "*" {
		return "*:" + port, submission
	}
	return net.JoinHostPort(addr, port), submission
}
