package app

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"waybill/compat/submit"
	"waybill/queue"
	"waybill/transport"
	"waybill/transport/envelope"
	"waybill/transport/smtp"
	"waybill/transport/sysexits"
)

// Offers says which commands and extensions the settings allow. Nobody is told who exists unless they say so
// (RFC 5321 7.3).
func (s *smtpSession) Offers(word string) bool {
	switch word {
	case "VRFY":
		return s.site.yes("vrfy", false)
	case "EXPN":
		return s.site.yes("expn", false)
	case "ETRN":
		return s.site.yes("etrn", true)
	}
	return true
}

// submits reports whether the client came to a port for submission (RFC 6409).
func (s *smtpSession) submits() bool {
	return s.site.cf == nil && (s.client.Role == roleSubmission || s.client.Role == roleSubmissions)
}

// qualify gives an address that came by submission the full domain that it must have (RFC 6409 6.2), or refuses it where
// nobody can know which one is meant (RFC 6409 4.2).
func (s *smtpSession) qualify(addr *envelope.Address, code, who string) *smtp.Reply {
	if !s.submits() || addr.Null() {
		return nil
	}
	local, domain := addr.Split()
	switch {
	case domain == "" && !strings.ContainsAny(local, "!%"):
		if who == "Sender" || !strings.EqualFold(local, "postmaster") { // RFC 5321 4.5.1: postmaster needs no domain
			*addr = envelope.Address(local + "@" + s.site.settings.Host)
		}
	case domain != "" && !strings.ContainsAny(domain, ".[") && !strings.EqualFold(domain, "localhost"):
		return smtp.NewReply(554, code, who+" address must have a full domain name")
	}
	return nil
}

// Vrfy says who a name is.
func (s *smtpSession) Vrfy(ctx context.Context, name string) *smtp.Reply {
	reply, _ := s.look(ctx, name, false, nil)
	return reply
}

// Expn says who is on a list.
func (s *smtpSession) Expn(ctx context.Context, name string) *smtp.Reply {
	reply, _ := s.look(ctx, name, true, nil)
	return reply
}

// look answers VRFY and EXPN. exit is what sendmail -bs ends with for a question that is no address, or a list that has
// moved; told, if not nil, hears how lists are expanded.
func (s *smtpSession) look(ctx context.Context, name string, expand bool, told func(line string)) (reply *smtp.Reply, exit int) {
	inner := strings.TrimSpace(name)
	if strings.HasPrefix(inner, "<") && strings.LastIndexByte(inner, '<') == 0 {
		inner = strings.Trim(inner, "<> ")
	}
	sendmail := s.site.cf != nil
	blanks := sendmail && !s.client.Remote.IsValid() && s.site.cf.conf.Bool("OldStyleHeaders", false) // separate two names, but not in the daemon
	if what := directly(inner); sendmail && what != "" {
		return smtp.NewReply(550, "5.7.1", name+"... Cannot mail directly to "+what), sysexits.OK
	}
	list := submit.ParseList(inner)
	wrong := inner != "" && len(list) == 0 || slices.ContainsFunc(list, func(m submit.Mailbox) bool { return m.Problem != "" || m.Addr == "" })
	switch {
	case inner == "" && sendmail, len(list) > 1 && list[0].Problem == "" && !blanks && !(sendmail && strings.Contains(inner, ",")):
		return smtp.NewReply(550, "5.1.1", name+"... User unknown"), sysexits.OK
	case wrong, len(list) == 0:
		return smtp.NewReply(553, "5.1.3", name+"... Invalid route address"), sysexits.Usage
	}
	names, err := s.site.names()
	if err != nil {
		return smtp.NewReply(451, "4.3.0", "Temporary failure"), sysexits.OK
	}
	l := lister{ctx: ctx, s: s.site, names: names, expand: expand, told: told}
	slices.Reverse(list) // as sendmail has it
	code := 0
	for _, m := range list {
		code = max(code, l.add(m.Addr, queue.LocalUser{}))
	}
	if no := l.wrong; no != nil {
		code, exit := 550, sysexits.OK
		switch {
		case no.Outcome() == transport.Deferred:
			code = 451
		case no.Code() == "5.1.3":
			code, exit = 553, sysexits.Usage
		}
		return smtp.NewReply(code, no.Code(), name+"... "+wording(no.Text())), exit
	}
	if no := l.inside; no != nil && len(l.lines)+len(l.elsewhere) == 0 { // "User has moved"
		code := 550
		if n, err := strconv.Atoi(strings.Trim(no.Became, `"`)[:min(3, len(strings.Trim(no.Became, `"`)))]); err == nil && n >= 500 && n < 600 {
			code = n
		}
		return smtp.NewReply(code, no.Code(), wording(no.Text())), queue.ExitOf(*no)
	}
	if expand {
		code = 250
	}
	return &smtp.Reply{Code: code, Enhanced: "2.1.5", Lines: append(l.lines, l.elsewhere...)}, sysexits.OK
}

// directly is what sendmail calls a name that only aliases may name; empty for others.
func directly(name string) string {
	switch {
	case strings.HasPrefix(name, "|"):
		return "programs"
	case strings.HasPrefix(name, "/"):
		return "files"
	case strings.HasPrefix(strings.ToLower(name), ":include:"):
		return ":include:s"
	}
	return ""
}
