package app

import (
	"context"
	"strings"

	"waybill/compat/submit"
	"waybill/queue"
	"waybill/transport"
	"waybill/transport/envelope"
	"waybill/transport/smtp"
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
	reply, _ := s.look(ctx, name, false)
	return reply
}

// Expn says who is on a list.
func (s *smtpSession) Expn(ctx context.Context, name string) *smtp.Reply {
	reply, _ := s.look(ctx, name, true)
	return reply
}

// look answers VRFY and EXPN; ok is false for something that is no address.
func (s *smtpSession) look(ctx context.Context, name string, expand bool) (reply *smtp.Reply, ok bool) {
	list := submit.ParseList(strings.Trim(name, "<> "))
	if len(list) > 1 && list[0].Problem == "" { // several words are one name for sendmail, and nobody has it
		return smtp.NewReply(550, "5.1.1", name+"... User unknown"), true
	}
	if len(list) != 1 || list[0].Problem != "" || list[0].Addr == "" {
		return smtp.NewReply(553, "5.1.3", name+"... Invalid route address"), false
	}
	names, err := s.site.names()
	if err != nil {
		return smtp.NewReply(451, "4.3.0", "Temporary failure"), true
	}
	l := lister{ctx: ctx, s: s.site, names: names, expand: expand}
	code := l.add(list[0].Addr, queue.LocalUser{})
	if l.wrong != nil {
		if l.wrong.Outcome() == transport.Deferred {
			return smtp.NewReply(451, l.wrong.Code(), name+"... "+wording(l.wrong.Text())), true
		}
		return smtp.NewReply(550, l.wrong.Code(), name+"... "+wording(l.wrong.Text())), true
	}
	if expand {
		code = 250
	}
	return &smtp.Reply{Code: code, Enhanced: "2.1.5", Lines: append(l.lines, l.elsewhere...)}, true
}
