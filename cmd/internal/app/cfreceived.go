package app

import (
	"context"
	"slices"
	"strings"

	"waybill/compat/cf"
	"waybill/compat/rewrite"
	"waybill/queue/spool"
	"waybill/transport/envelope"
)

// received writes the Received line that the queue has put on top as the H line of the configuration has it.
func (c *cfSite) received(m rewrite.Message, e *envelope.Envelope, h *envelope.Header) {
	if len(h.Fields) == 0 || !h.Fields[0].Is("Received") || e.ID == "" || !strings.Contains(h.Fields[0].Raw, " id "+e.ID) {
		return
	}
	to := ""
	if _, rest, ok := strings.Cut(h.Fields[0].Raw, "for <"); ok {
		to, _, _ = strings.Cut(rest, ">")
	}
	if e.For != "" && e.For != envelope.Nobody && e.For != envelope.Listed {
		to = string(e.For)
	}
	text := c.receivedLine(m, e, to)
	if text == "" {
		return
	}
	fields := slices.Clone(h.Fields) // the header is the message's, not ours
	fields[0].Raw = fields[0].Name + ": " + text + "\n"
	h.Fields = fields
}

// receivedLine is the value of the Received field for a message; empty where the configuration has none. to is the
// recipient that it names.
func (c *cfSite) receivedLine(m rewrite.Message, e *envelope.Envelope, to string) string {
	i := slices.IndexFunc(c.conf.Headers, func(l cf.Header) bool { return strings.EqualFold(l.Name, "Received") && l.Value != "" })
	if i < 0 {
		return ""
	}
	o := e.Origin
	own := map[string]string{"s": o.Helo, "r": o.Protocol, "_": strings.TrimSpace(o.ClientName), "auth_type": "", "tls_version": "", "u": to}
	switch {
	case isNotice(e.Sender, o):
		own["s"], own["r"], own["_"], own["u"] = "localhost", "", "localhost", ""
	case o.Protocol == "local":
		own["r"], own["_"] = "", strings.TrimPrefix(o.User+"@localhost", "@")
	case o.ClientAddr == "":
		own["_"] = strings.TrimPrefix(o.User+"@localhost", "@")
	case o.ClientName != "["+o.ClientAddr+"]":
		own["_"] += " [" + o.ClientAddr + "]"
	}
	if version, cipher, ok := strings.Cut(o.TLS, " "); ok {
		own["tls_version"], own["cipher"], own["verify"] = version, cipher, "NO"
	}
	if o.Auth != "" {
		own["auth_type"] = "yes"
	}
	if own["u"] != "" && o.UID < 0 { // as RCPT had it
		own["u"] = "<" + own["u"] + ">"
	}
	for _, d := range c.defined { // and -M
		if own[d.Name] == "" && !isNotice(e.Sender, o) {
			own[d.Name] = d.Value
		}
	}
	return strings.TrimSpace(cf.Expand(c.conf.Headers[i].Value, func(name string) (string, bool) {
		if v, ok := own[name]; ok {
			return strings.Map(oneLine, v), true
		}
		if v, ok := m[name]; ok {
			return strings.Map(oneLine, v), true
		}
		v, ok := c.conf.Prog.Macros[name]
		return v, ok
	}))
}

// reported completes what a front end is told: what stands on top of a message that it keeps in dead.letter, or the whole
// header section where that is another than header, and for one who watches the end of the connections.
func (c *cfSite) reported(e *envelope.Envelope, header *envelope.Header, reply *spool.Reply, watched bool) {
	if watched && c.oneShot {
		for _, client := range c.clients {
			client.Farewell(func(line string) { reply.Tail = append(reply.Tail, line) })
		}
	}
	if !e.Untold || !reply.Untold && len(reply.Refused) == 0 {
		return
	}
	m := macros(e.Sender, e.Origin)
	c.stamp(m, e, &envelope.Header{})
	to := string(e.For)
	if e.For == envelope.Nobody || e.For == envelope.Listed {
		to = ""
	}
	reply.Head = "Return-Path: <" + string(e.Sender) + ">\n"
	if line := c.receivedLine(m, e, to); line != "" {
		reply.Head += "Received: " + line + "\n"
	}
	if header != nil {
		reply.Head += c.otherHeader(header, m)
	}
}

// maxTold bounds a header section that a front end is told.
const maxTold = 16 << 10

// otherHeader is a header section, with its empty line, as sendmail keeps it where no mailer has it: the names of this host
// in full. It is empty where that is no other.
func (c *cfSite) otherHeader(h *envelope.Header, m rewrite.Message) string {
	local := c.conf.Mailer("local")
	if local == nil || h.Octets > maxTold {
		return ""
	}
	plain := *local
	plain.HdrSender, plain.HdrRcpt = nil, nil
	text, err := c.rw.Header(context.Background(), h, &plain, m)
	var own strings.Builder
	for _, f := range h.Fields {
		own.WriteString(f.Raw)
	}
	if err != nil || string(text) == own.String()+"\n" {
		return ""
	}
	return string(text)
}
