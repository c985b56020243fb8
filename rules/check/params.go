package check

import (
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"waybill/rules/lang"
)

// value is what a setting or a parameter of a transport may be.
type value struct {
	form  string // how it is written, with its name
	max   int    // words; 0: any number
	valid func(string) bool
	words []string // these and no others
	kind  byte     // what the word names: a 'f'ile that must be there, a 't'able, a 'c'lass, a 'r'uleset; 0: nothing
	bare  bool     // the name alone means yes
}

// one is a value of one word.
func one(form string, valid func(string) bool) value { return value{form: form, max: 1, valid: valid} }

// many is a value of any number of words.
func many(form string, valid func(string) bool) value { return value{form: form, valid: valid} }

// choice is a value that is one of some words, of which the form lists those that people write.
func choice(form string, words ...string) value {
	return value{form: form, max: 1, words: words, valid: func(v string) bool { return slices.Contains(words, v) }}
}

// naming is a value that names something.
func naming(kind byte, form string) value {
	v := value{form: form, max: 1, valid: anything, kind: kind}
	if kind == 'f' {
		v.valid = absolute
	}
	return v
}

// yesNo is a switch.
func yesNo(name string) value {
	v := choice(name+" yes or no", "yes", "no")
	v.bare = true
	return v
}

func number(v string) bool {
	n, err := strconv.Atoi(v)
	return err == nil && n >= 0 && n < 1<<31
}

func port(v string) bool {
	n, err := strconv.Atoi(v)
	return err == nil && n > 0 && n < 1<<16
}

func address(v string) bool { _, err := netip.ParseAddr(v); return err == nil }

func octal(v string) bool { n, err := strconv.ParseUint(v, 8, 9); return err == nil && n > 0 }

func gid(v string) bool { n, err := strconv.Atoi(v); return err == nil && n >= -1 }

// host reads a name or an address, in brackets or not.
func host(v string) bool {
	bare := strings.TrimSuffix(strings.TrimPrefix(v, "["), "]")
	if address(strings.TrimPrefix(bare, "IPv6:")) {
		return true
	}
	return v != "" && !strings.ContainsAny(v, " \t@:/[]<>,") && v[0] != '.' && v[0] != '-'
}

// mailbox is the path of somebody's mailbox.
func mailbox(v string) bool {
	return absolute(v) || v == "$home" || strings.HasPrefix(v, "$home/") || strings.HasPrefix(v, "${home}/")
}

func assignment(v string) bool { name, _, ok := strings.Cut(v, "="); return ok && name != "" }

func character(v string) bool {
	return len(v) == 1 && (v[0] >= '0' && v[0] <= '9' || v[0]|0x20 >= 'a' && v[0]|0x20 <= 'z')
}

func siteSize(v string) bool {
	site, limit, ok := strings.Cut(v, "=")
	if !ok {
		site, limit = "x", v
	}
	return site != "" && size(limit)
}

func udpAddress(v string) bool {
	h, p, ok := cutPort(v)
	return ok && h != "" && port(p)
}

// params are the parameters of transports, those of each kind.
var params = func() map[string]map[string]value {
	every := map[string]value{
		"concurrency": one("concurrency N", number),
		"sender":      naming('r', "sender RULESET"), "recipient": naming('r', "recipient RULESET"), "header": naming('r', "header RULESET"),
	}
	client := map[string]value{
		"host":            one("host HOST", host),
		"port":            one("port N", port),
		"tls":             choice("tls no, opportunistic, required, verified or dane", "no", "opportunistic", "required", "verified", "dane", "may", "none", "never", "must", "verify"),
		"timeout":         one("timeout DURATION", duration),
		"connect-timeout": one("connect-timeout DURATION", duration),
		"helo":            one("helo NAME", host),
		"max-recipients":  one("max-recipients N", number),
	}
	smtp := map[string]value{
		"tls-ca": naming('f', "tls-ca FILE"), "tls-cert": naming('f', "tls-cert FILE"), "tls-key": naming('f', "tls-key FILE"),
		"tls-name": many("tls-name NAME...", host), "tls-policy": naming('t', "tls-policy TABLE"),
		"mx": yesNo("mx"), "implicit-tls": yesNo("implicit-tls"), "dane": yesNo("dane"), "mta-sts": yesNo("mta-sts"), "chunking": yesNo("chunking"),
		"final-timeout":       one("final-timeout DURATION", duration),
		"source":              {form: "source ADDRESS or two, one of each family", max: 2, valid: address},
		"auth":                naming('f', "auth FILE"),
		"line-limit":          one("line-limit N", number),
		"fallback":            one("fallback HOST", host),
		"max-addresses":       one("max-addresses N", number),
		"idle-connections":    one("idle-connections N", number),
		"idle-time":           one("idle-time DURATION", duration),
		"connection-messages": one("connection-messages N", number),
		"host-status":         one("host-status DURATION", duration),
		"family":              choice("family 4 or 6", "4", "6"),
	}
	box := map[string]value{
		"path":  one("path PATH, with $user or $home in it", mailbox),
		"quota": one("quota SIZE", size), "quota-temporary": yesNo("quota-temporary"), "return-path": yesNo("return-path"), "local": yesNo("local"),
	}
	mbox := map[string]value{
		"lock":         {form: "lock dotlock, dotlock-try, fcntl or flock, in order", words: []string{"dotlock", "dotlock-try", "fcntl", "flock"}, valid: func(v string) bool { return slices.Contains([]string{"dotlock", "dotlock-try", "fcntl", "flock"}, v) }},
		"lock-timeout": one("lock-timeout DURATION", duration),
		"mode":         one("mode OCTAL", octal),
		"group":        one("group GID", gid),
		"default-user": one("default-user USER", anything),
		"biff":         one("biff ADDR:PORT", udpAddress),
		"sync":         yesNo("sync"),
	}
	pipe := map[string]value{
		"command":     many("command /PATH/PROGRAM ARGUMENT...", anything),
		"user":        one("user USER", anything),
		"directory":   one("directory PATH", mailbox),
		"timeout":     one("timeout DURATION", duration),
		"environment": many("environment NAME=VALUE...", assignment), "max-recipients": one("max-recipients N", number),
		"from-line": yesNo("from-line"), "return-path": yesNo("return-path"), "local": yesNo("local"),
	}
	uucp := map[string]value{
		"spool": one("spool DIRECTORY", absolute), "sites": many("sites NAME...", anything), "systems": naming('f', "systems FILE"),
		"grade": one("grade LETTER", character), "command": one("command NAME", anything), "node": one("node NAME", anything),
		"user": one("user USER", anything), "owner": one("owner USER", anything), "max-size": many("max-size SIZE or SITE=SIZE...", siteSize),
		"max-recipients": one("max-recipients N", number), "max-command": one("max-command N", number), "batch": yesNo("batch"),
		"layout": choice("layout taylor, bnu or drop", "taylor", "bnu", "drop", "hdb"), "quoting": yesNo("quoting"),
		"address": choice("address bang, old, new, uudom or dom", "bang", "old", "new", "uudom", "dom"),
		"options": many("options OPTION...", anything), "uux": naming('f', "uux PROGRAM"),
	}
	join := func(parts ...map[string]value) map[string]value {
		all := maps.Clone(every)
		for _, p := range parts {
			maps.Copy(all, p)
		}
		return all
	}
	return map[string]map[string]value{
		"smtp":    join(client, smtp),
		"lmtp":    join(client, map[string]value{"socket": one("socket PATH", absolute), "local": yesNo("local")}),
		"mbox":    join(box, mbox),
		"maildir": join(box),
		"pipe":    join(pipe),
		"uucp":    join(uucp),
		"mailer":  {}, // those of an M line of sendmail.cf: package compat/cf knows them
	}
}()

// TransportKinds returns the kinds of transport, sorted.
func TransportKinds() []string { return slices.Sorted(maps.Keys(params)) }

// TransportKeys returns the parameters that a transport of a kind can have, sorted.
func TransportKeys(kind string) []string { return slices.Sorted(maps.Keys(params[kind])) }

// TransportForm returns how a parameter is written.
func TransportForm(kind, key string) string { return params[kind][key].form }

// clash is parameters that make no sense together.
type clash struct {
	name string // the parameter to which the message points
	when func(p given) bool
	text string
	mend string
}

// given are the parameters of one transport with their values; a switch without a value is "yes".
type given map[string]string

func (g given) has(name string) bool { _, ok := g[name]; return ok }

func (g given) any(names ...string) bool { return slices.ContainsFunc(names, g.has) }

// clashes are those of each kind.
var clashes = map[string][]clash{
	"smtp": {
		{"tls-key", func(p given) bool { return p.has("tls-key") && !p.has("tls-cert") }, "tls-key is the key of a certificate, and there is none", "write tls-cert FILE as well"},
		{"implicit-tls", func(p given) bool { return p["implicit-tls"] == "yes" && never(p["tls"]) }, "implicit-tls and tls no contradict each other", "take one of them out"},
		{"dane", func(p given) bool { return p["tls"] == "dane" && p["dane"] == "no" }, "tls dane and dane no contradict each other", "take one of them out"},
		{"tls", func(p given) bool {
			return never(p["tls"]) && p.any("tls-ca", "tls-cert", "tls-name") && !p.has("tls-policy")
		}, "with tls no, certificates and their names mean nothing", "take out tls no, or tls-ca, tls-cert and tls-name"},
		{"idle-time", func(p given) bool { return p["idle-connections"] == "0" && p.has("idle-time") }, "no connection is kept, so none is idle for any time", "take out idle-time, or idle-connections 0"},
	},
	"lmtp": {
		{"socket", func(p given) bool { return p.has("socket") && p.any("host", "port") }, "a transport has a socket, or a host and a port", "take one of them out"},
		{"tls", func(p given) bool { return p.has("socket") && p.has("tls") && !never(p["tls"]) }, "there is no TLS on a socket of this machine", "take tls out"},
	},
	"mbox":    {{"quota-temporary", noQuota, "without a quota no mailbox is full", "write quota SIZE as well"}},
	"maildir": {{"quota-temporary", noQuota, "without a quota no mailbox is full", "write quota SIZE as well"}},
	"uucp": {
		{"options", func(p given) bool { return p.has("options") && !p.has("uux") }, "these are options of uux, which is not used", "write uux /usr/bin/uux as well"},
		{"address", func(p given) bool { return p["batch"] == "yes" && p.has("address") && p["address"] != "bang" }, "batches have the addresses of SMTP, and no other form", "take out address, or batch"},
		{"layout", func(p given) bool { return p["layout"] == "drop" && p["batch"] != "yes" }, "only batches can be dropped into a directory", "write batch yes as well"},
		{"uux", func(p given) bool { return p.has("uux") && p.has("layout") }, "uux knows the layout of its spool directory itself", "take out layout, or uux"},
	},
}

func never(tls string) bool { return tls == "no" || tls == "none" || tls == "never" }

func noQuota(p given) bool { return p["quota-temporary"] == "yes" && !p.has("quota") }

// transportParams checks what stands in the block of a transport.
func (n *names) transportParams(t *lang.Transport) {
	kind := t.Kind.Value()
	known, ok := params[kind]
	if !ok {
		n.errorf(t.Kind.Pos, t.Kind.EndPos, didYouMean(kind, TransportKinds()), "there is no kind of transport %q", kind)
		return
	}
	if kind == "mailer" {
		return
	}
	set := given{}
	at := map[string]*lang.Param{}
	for _, p := range t.Params {
		name := p.Name.Value()
		v, ok := known[name]
		switch {
		case !ok:
			n.errorf(p.Name.Pos, p.Name.EndPos, didYouMean(name, TransportKeys(kind)), "a transport of kind %s has no parameter %q", kind, name)
			continue
		case at[name] != nil:
			n.errorf(p.Name.Pos, p.Name.EndPos, "", "parameter %q is set twice", name)
			continue
		}
		at[name], set[name] = p, strings.Join(p.Values.Fields(), " ")
		if set[name] == "" && v.bare {
			set[name] = "yes"
		}
		n.value("parameter", name, "", v, p.Name, p.Values)
		if kind == "pipe" && name == "command" {
			if w := words(p.Values); len(w) > 0 && !absolute(w[0].text) && !strings.Contains(w[0].text, "$") {
				n.errorf(w[0].from, w[0].to, "write: "+v.form+"; there is no shell, and no search along PATH", "%q is no absolute path of a program", w[0].text)
			}
		}
	}
	if kind == "pipe" && at["command"] == nil {
		n.errorf(t.Name.Pos, t.Name.EndPos, "write: "+known["command"].form, "transport %q does not say what it runs", t.Name.Value())
	}
	for _, c := range clashes[kind] {
		if p := at[c.name]; p != nil && c.when(set) {
			n.errorf(p.Pos, p.EndPos, c.mend, "%s", c.text)
		}
	}
}
