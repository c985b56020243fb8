package app

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"waybill/compat/cf"
	"waybill/compat/rewrite"
	"waybill/compat/submit"
	"waybill/queue"
	"waybill/queue/dsn"
	"waybill/transport"
	"waybill/transport/envelope"
	"waybill/transport/fromline"
	"waybill/transport/mbox"
	"waybill/transport/passwd"
	"waybill/transport/pipe"
	"waybill/transport/smtpclient"
)

// cfWiring makes transports of the mailers.
func (s *site) cfWiring() (queue.Wiring, error) {
	w := queue.Wiring{Mailers: map[string]queue.Mailer{}, Router: cfRouter{s.cf}, Planner: newCFPlans(s.cf.conf), Notifier: s.cfNotifier(), Spoken: true, Lost: s.cf.keepLost, Said: cfSaid}
	user := s.defaultUser()
	file, err := mbox.New(mbox.Config{Users: s.users, DefaultUser: user, FromLine: s.cf.fromLine, Close: true})
	if err != nil {
		return w, err
	}
	for _, m := range s.cf.conf.Mailers {
		var t, from transport.Transport
		switch {
		case strings.EqualFold(m.Path, "[IPC]") || strings.EqualFold(m.Path, "[TCP]"):
			t, err = s.cfSMTP(m)
		case strings.EqualFold(m.Path, "[FILE]"), m.Name == "*include*":
			t = file
		default:
			t, err = s.cfProgram(m, user, "")
			if flag := senderFlag(m); err == nil && flag != "" {
				from, err = s.cfProgram(m, user, flag)
			}
		}
		if err != nil {
			return w, fmt.Errorf("%s: mailer %s: %w", m.Pos, m.Name, err)
		}
		wrapped := queue.Mailer{Transport: s.cf.checked(cfTransport{t, from, m, s.cf}), Local: m.Has('A') || m.Has('w'), MaxRecipients: 1}
		if m.Has('m') {
			wrapped.MaxRecipients = cmp.Or(m.MaxRcpts, 100)
		}
		switch m.Name {
		case "prog":
			w.Program = wrapped
		case "*file*":
			w.File = wrapped
		}
		w.Mailers[strings.ToLower(m.Name)] = wrapped
	}
	names, err := s.cfNames()
	w.Expander = names
	return w, err
}

// cfNotifier writes notices as sendmail does.
func (s *site) cfNotifier() queue.Notifier {
	return cfNotices{s.cf, dsn.Classic{Note: s.cf.errorHeader(), NoActual: s.cf.privacy("noactualrecipient"), Given: s.cf.givenFor, Composer: dsn.Composer{Host: s.settings.Host, Bare: true, Postmaster: envelope.Address(doubleBounces(s.cf.conf))}, Words: s.cf.rw.Words, LocalType: s.cf.localType(), Head: func(e *envelope.Envelope, h *envelope.Header) []byte {
		m, whole := macros(e.Sender, e.Origin), *h
		s.cf.stamp(m, e, h)
		s.cf.received(m, e, &whole)
		text := []byte("Return-Path: <" + string(e.Sender) + ">\n")
		if t, err := s.cf.rw.Parse(context.Background(), string(e.Sender), m); err == nil && t.Mailer != nil {
			plain := *t.Mailer // no mailer writes what is returned in its own way
			plain.HdrSender, plain.HdrRcpt = nil, nil
			if head, err := s.cf.rw.Header(context.Background(), &whole, &plain, m); err == nil {
				return append(text, head...)
			}
		}
		for _, f := range whole.Fields {
			text = append(text, f.Raw...)
		}
		return append(text, '\n')
	}}}
}

// localType is what kind of codes the local mailer has (T= of its M line).
func (c *cfSite) localType() string {
	if local := c.conf.Mailer("local"); local != nil {
		return local.Types[2]
	}
	return ""
}

// defaultUser is the user of DefaultUser that has a name here.
func (s *site) defaultUser() string { return cfDefaultUser(s.cf.conf, s.users) }

func cfDefaultUser(conf *cf.Config, users *passwd.File) string {
	v, _ := conf.Option("DefaultUser", "")
	name, _, _ := strings.Cut(v, ":")
	name, _, _ = strings.Cut(name, ".")
	if uid, err := strconv.Atoi(name); err == nil {
		if e, found, err := users.ByUID(uid); err == nil && found {
			return e.Name
		}
		return "daemon"
	}
	return cmp.Or(name, "daemon")
}

func (s *site) cfSMTP(m *cf.Mailer) (transport.Transport, error) {
	args := strings.Fields(m.Args)
	conf := smtpclient.Config{
		Name: m.Name, Hello: s.settings.Host, Resolver: s.resolver, LMTP: m.Has('z'), NoMX: m.Has('0'), LoopCheck: !m.Has('k'),
		Sendmail: true, Size: givenSize,
		LineLimit: cmp.Or(m.LineLimit, 990), MaxRecipients: m.MaxRcpts, MaxMessages: m.MaxMsgs, NoChunking: true,
		OwnName: func(host string) bool { return s.cf.rw.InClass("w", strings.TrimSuffix(host, ".")) },
	}
	if v, ok := s.cf.conf.Option("FallbackMXhost", ""); ok {
		conf.Fallback = v
	}
	conf.LastResort = s.cf.text("FallbackSmartHost", "", "")
	conf.Hello = cmp.Or(s.cf.text("HeloName", "", ""), conf.Hello)
	if err := s.cf.sending(&conf); err != nil {
		return nil, err
	}
	switch {
	case len(args) >= 2 && strings.EqualFold(args[0], "FILE"):
		conf.Socket = args[1]
	case len(args) >= 3:
		port, err := net.LookupPort("tcp", args[2])
		if err != nil {
			return nil, err
		}
		conf.Port = uint16(port)
	}
	if len(args) >= 2 && conf.Socket == "" && args[1] != "$h" { // whatever host the rules name (submit.cf: TCP [127.0.0.1])
		if host := cf.Expand(args[1], func(name string) (string, bool) { v, ok := s.cf.conf.Prog.Macros[name]; return v, ok }); !strings.Contains(args[1], "$h") {
			conf.Host = host
		}
	}
	if at, err := netip.ParseAddr(strings.Trim(s.cf.text("ConnectOnlyTo", "", ""), "[]")); err == nil && !conf.LMTP { // the reader complains of others
		conf.ConnectTo = netip.AddrPortFrom(at, cmp.Or(conf.Port, 25)).String()
	}
	client, err := smtpclient.New(conf)
	if err == nil {
		s.cf.clients = append(s.cf.clients, client)
		s.closers = append(s.closers, client.Close)
	}
	return client, err
}

// givenSize is the size that sendmail announces: that of the message as it came in. cfTransport has made Made fit.
func givenSize(req *transport.Request) int64 {
	return max(0, req.Body.Size()-int64(req.Envelope.Made))
}

// senderFlag is the argument before the sender that a mailer wants (F=f, F=r); empty: none.
func senderFlag(m *cf.Mailer) string {
	switch {
	case m.Has('f'):
		return "-f"
	case m.Has('r'):
		return "-r"
	}
	return ""
}

func (s *site) cfProgram(m *cf.Mailer, user, senderFlag string) (transport.Transport, error) {
	conf := pipe.Config{
		Program: m.Path, Args: s.cf.mailerArgs(m), Users: s.users, User: user, AsRecipient: m.Has('o'), MaxUsers: 1,
		NoFromLine: m.Has('n'), ReturnPath: m.Has('P'), EscapeFrom: m.Has('E'), BlankEnd: m.Has('b'), Env: s.cf.conf.Environment(),
		BareEnv: true, Name: m.Name, FromLine: s.cf.fromLine,
	}
	if !filepath.IsAbs(m.Path) { // it is looked for where sendmail works, as any other is when mail comes for it
		conf.Program = filepath.Join(s.settings.Spool, m.Path)
	}
	if m.Has('U') {
		conf.FromLine = fromline.Ugly
	}
	if senderFlag != "" && len(conf.Args) > 0 {
		conf.Args = slices.Insert(conf.Args, 1, senderFlag, "$g")
	}
	if m.Has('S') && m.UID < 0 {
		conf.User = "root"
	} else if m.UID >= 0 {
		if e, found, err := s.users.ByUID(m.UID); err == nil && found {
			conf.User = e.Name
		}
	}
	if m.Has('m') {
		conf.MaxUsers = cmp.Or(m.MaxRcpts, 100)
	}
	if m.Dir == "" { // sendmail works in its queue directory
		conf.Dirs = []string{s.settings.Spool, "."}
	} else {
		for dir := range strings.SplitSeq(m.Dir, ":") {
			conf.Dirs = append(conf.Dirs, strings.ReplaceAll(dir, "$z", "$home"))
		}
	}
	if m.Has('z') && !strings.Contains(m.Args, "$u") { // with $u sendmail turns LMTP off
		dialer, err := pipe.NewDialer(conf, s.log)
		if err != nil {
			return nil, err
		}
		return smtpclient.New(smtpclient.Config{
			Name: m.Name, Hello: s.settings.Host, LMTP: true, Sendmail: true, Size: givenSize, Socket: m.Name, Dial: dialer.Dial, TLS: smtpclient.TLSNever, MaxIdle: -1,
			LineLimit: cmp.Or(m.LineLimit, -1), MaxRecipients: m.MaxRcpts, NoChunking: true,
		})
	}
	return pipe.New(conf)
}

// cfTransport writes envelope and header as the mailer wants them, and hands on.
type cfTransport struct {
	inner  transport.Transport
	from   transport.Transport // not nil: used where somebody named the sender (F=f, F=r)
	mailer *cf.Mailer
	site   *cfSite
}

func (t cfTransport) Deliver(ctx context.Context, req *transport.Request) []transport.Status {
	later := func(err error) []transport.Status {
		req.Log.Warn("an address cannot be rewritten now", "mailer", t.mailer.Name, "err", err)
		return transport.All(len(req.Recipients), transport.NewStatus(transport.Deferred, "4.3.0", "Temporary lookup failure"))
	}
	m := macros(req.Envelope.Sender, req.Envelope.Origin)
	m["h"] = strings.TrimSuffix(req.Host, ".") // UUCP mailers leave a path alone that begins with the neighbour
	sender, err := t.site.rw.Remote(ctx, string(req.Envelope.Sender), t.mailer, rewrite.EnvelopeSender, m)
	if err != nil {
		return later(err)
	}
	header, err := envelope.HeaderOf(req.Body)
	if err != nil {
		return later(err)
	}
	if hops := max(req.Envelope.Hops, t.site.hops); hops > t.site.number("MaxHopCount", 25) {
		return t.tooManyHops(req, max(hops, header.Hops()))
	}
	if plan, err := newCFPlans(t.site.conf).Plan(ctx, queue.Question{Header: header.Value, Sender: req.Envelope.Sender, Origin: req.Envelope.Origin}, queue.Decision{}, nil); err == nil && plan.GiveUp == returnNow && !isNotice(req.Envelope.Sender, req.Envelope.Origin) {
		late := transport.NewStatus(transport.Deferred, "4.4.7", "Delivery time expired") // before it is tried
		late.Transcript = []string{""}
		return transport.All(len(req.Recipients), late)
	}
	if sender == "" && t.mailer.Name == "*file*" && isNotice(req.Envelope.Sender, req.Envelope.Origin) { // no ruleset of a mailer says so
		sender = "MAILER-DAEMON"
	}
	m["g"] = sender
	given := queue.Given(req.Body.Size(), header, req.Envelope, req.Envelope.ID)
	t.site.stamp(m, req.Envelope, header)
	t.site.received(m, req.Envelope, header)
	if t.site.requeued(req.Envelope, addressed(req.Recipients)) {
		given = req.Body.Size() - header.Octets + queuedHeader(header, req.Envelope)
	}
	octets, body := header.Octets, req.Body
	header, eight := t.site.labelled(header, body)
	header, body, unpacked := t.site.unpacked(t.mailer, header, body, req.Envelope.ID)
	if unpacked {
		octets = 0 // of body
	}
	text, err := t.site.rw.Header(ctx, t.site.shortened(t.site.withoutReceipts(header)), t.mailer, m)
	if err != nil {
		return later(err)
	}
	if _, dialogue := t.inner.(*smtpclient.Client); dialogue && t.mailer.Has('P') { // programs and files write it themselves
		back := sender
		if isNotice(req.Envelope.Sender, req.Envelope.Origin) {
			if back, err = t.site.rw.Remote(ctx, "MAILER-DAEMON", t.mailer, rewrite.EnvelopeSender, m); err != nil {
				return later(err)
			}
		}
		text = append([]byte("Return-Path: <"+back+">\n"), text...)
	}
	env := *req.Envelope
	if env.BodyType == envelope.Body8BitMIME && plain(req.Body) { // sendmail declares what it has seen
		env.BodyType = envelope.Body7Bit
	}
	if eight {
		env.BodyType = envelope.Body8BitMIME
	}
	env.Sender = envelope.Address(sender)
	if t.site.privacy("nobodyreturn") { // that is for what is returned from here
		env.Ret = ""
	}
	out := *req
	out.Envelope = &env
	out.Host = strings.TrimSuffix(req.Host, ".") // the rules' sign for a name that is complete
	out.Body = envelope.ReplaceHead(text, octets, body)
	env.Made = int(out.Body.Size() - given)
	out.Recipients = t.site.below(t.site.programs(out.Recipients))
	if t.mailer.Has('A') || t.mailer.Has('w') { // "+detail" is the host of a user of this host
		out.Host = strings.TrimPrefix(out.Host, "+")
	}
	inner := t.inner
	if t.from != nil && t.site.namesSender(req.Envelope) {
		inner = t.from
	}
	if _, program := inner.(*pipe.Pipe); program && t.site.alone() { // the queue turned them round, as for SMTP
		out.Recipients = slices.Clone(out.Recipients)
		slices.Reverse(out.Recipients)
		statuses := t.watched(ctx, inner, &out)
		slices.Reverse(statuses)
		return statuses
	}
	statuses := t.watched(ctx, inner, &out)
	for i := range statuses {
		if statuses[i].Remote == t.mailer.Name { // LMTP on a pipe: that is no host
			statuses[i].Remote = ""
		}
	}
	return statuses
}

// programs are recipients with their commands as sendmail starts them: one that nobody has quoted was taken apart as an
// address, and put together with BlankSub between two words.
func (c *cfSite) programs(rs []transport.Recipient) []transport.Recipient {
	own := false
	for i, r := range rs {
		if command := string(r.Orig.Command); command != "" && command[0] != '"' {
			if !own {
				rs, own = slices.Clone(rs), true
			}
			rs[i].Orig.Command = envelope.Command(strings.TrimPrefix(c.rw.Words("|"+command), "|"))
		}
	}
	return rs
}

// below are recipients with files as SafeFileEnvironment has them: sendmail writes them with that directory as its root. A
// link may lead out of it, to where nobody can write.
func (c *cfSite) below(rs []transport.Recipient) []transport.Recipient {
	root := strings.TrimSuffix(c.text("SafeFileEnvironment", "", ""), "/")
	if root == "" {
		return rs
	}
	own := false
	for i, r := range rs {
		name := string(r.Orig.File)
		if name == "" {
			continue
		}
		if !own {
			rs, own = slices.Clone(rs), true
		}
		if !strings.HasPrefix(name, root+"/") {
			name = root + "/" + name
		}
		name = filepath.Clean(name)
		home, err := filepath.EvalSymlinks(root)
		dir, derr := filepath.EvalSymlinks(filepath.Dir(name))
		if !strings.HasPrefix(name, root+"/") || err != nil || derr != nil || dir != home && !strings.HasPrefix(dir, home+"/") {
			name = "/nonexistent/" + filepath.Base(name)
		}
		rs[i].Orig.File = envelope.FileName(name)
	}
	return rs
}

// stamp sets what the templates of H lines say about a message: its id, dates, and who sent it.
func (c *cfSite) stamp(m rewrite.Message, e *envelope.Envelope, h *envelope.Header) {
	date := submit.Date(e.Arrival)
	m["i"], m["t"], m["b"] = e.ID, e.Arrival.UTC().Format("200601021504"), date
	m["a"] = cmp.Or(h.Value("Date"), date)
	m["u"] = ""
}

// mailDate is a date in a header (RFC 5322 3.3).
const mailDate = "Mon, 2 Jan 2006 15:04:05 -0700"
