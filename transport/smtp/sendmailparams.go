package smtp

import (
	"strconv"
	"strings"
	"time"

	"waybill/transport/envelope"
)

// The parameters of MAIL and RCPT as sendmail reads them, for clients and scripts that know its answers: more is taken than
// RFC 5321 4.1.2 allows (an empty value, a keyword twice), and each mistake has sendmail's words.

// SendmailMailParams is ParseMailParams as sendmail does it.
func SendmailMailParams(s string, offered Ext) (MailParams, *Reply) {
	p := MailParams{Size: -1}
	seen := map[string]bool{}
	for f := range sendmailParams(s) {
		r := f.refusal(seen, "SIZE", "BODY", "AUTH", "BY", "RET", "ENVID")
		switch {
		case r != nil:
		case f.key == "SIZE":
			p.Size, r = sendmailSize(f.value)
		case f.key == "BODY":
			p.Body, r = parseBody(f.value, offered&^ExtBinaryMIME)
		case f.key == "AUTH": // read and believed by nobody who has not authenticated
			if text, ok := DecodeXtext(f.value); ok && printable(text) {
				p.Auth = text
			}
		case f.key == "BY" && offered&ExtDeliverBy != 0:
			p.By, r = sendmailBy(f.value)
		case (f.key == "RET" || f.key == "ENVID") && offered&ExtDSN == 0:
			r = noDSN(f.key)
		case f.key == "RET":
			p.Ret, r = parseRet(f.value)
		case f.key == "ENVID":
			if p.EnvID, r = parseEnvID(f.value); r != nil {
				r = badParam("Syntax error in ENVID parameter value")
			}
		default:
			r = unknownParam(f.word)
		}
		if r != nil {
			return p, r
		}
	}
	return p, nil
}

// SendmailRcptParams is ParseRcptParams as sendmail does it.
func SendmailRcptParams(s string, offered Ext) (RcptParams, *Reply) {
	var p RcptParams
	seen := map[string]bool{}
	for f := range sendmailParams(s) {
		r := f.refusal(seen, "NOTIFY", "ORCPT")
		switch {
		case r != nil:
		case (f.key == "NOTIFY" || f.key == "ORCPT") && offered&ExtDSN == 0:
			r = noDSN(f.key)
		case f.key == "NOTIFY":
			p.Notify, r = sendmailNotify(f.value)
		case f.key == "ORCPT":
			if kind, addr, _ := strings.Cut(f.value, ";"); addr == "" && validKeyword(kind) && strings.HasSuffix(f.value, ";") {
				break // an address of no octets: taken, and told to nobody
			}
			p.ORcpt, r = parseORcpt(f.value, false)
		default:
			r = unknownParam(f.word)
		}
		if r != nil {
			return p, r
		}
	}
	return p, nil
}

// noDSN refuses a parameter of RFC 3461 where this host does not offer it.
func noDSN(key string) *Reply {
	return NewReply(504, "5.7.0", "Sorry, "+key+" not supported, we do not allow DSN")
}

// refusal says that a keyword wants a value, or has come before where it must not: RET, ENVID and ORCPT.
func (f param) refusal(seen map[string]bool, valued ...string) *Reply {
	for _, k := range valued {
		if f.key == k && !f.equal {
			return NewReply(501, "5.5.2", f.key+" requires a value")
		}
	}
	switch f.key {
	case "RET", "ENVID", "ORCPT":
		if seen[f.key] {
			return NewReply(501, "5.5.0", "Duplicate "+f.key+" parameter")
		}
		seen[f.key] = true
	}
	return nil
}

// sendmailParams yields the words of s. A keyword ends at the first sign that cannot stand in one: "<x>" is a parameter
// without a name.
func sendmailParams(s string) func(func(param) bool) {
	return func(yield func(param) bool) {
		for n := 0; ; n++ {
			s = strings.TrimLeft(s, " \t")
			if s == "" || n == maxParams {
				return
			}
			i := 0
			for i < len(s) && validKeyword("a"+s[i:i+1]) {
				i++
			}
			f := param{word: s[:i], key: strings.ToUpper(s[:i])}
			s = s[i:]
			if strings.HasPrefix(s, "=") {
				f.equal = true
				end := 1
				for end < len(s) && s[end] > ' ' && s[end] < 0x7f && s[end] != '=' {
					end++
				}
				f.value, s = s[1:end], s[end:]
			}
			if s != "" {
				s = s[1:]
			}
			if !yield(f) {
				return
			}
		}
	}
}

// sendmailSize takes the digits in front, and anything else for none.
func sendmailSize(s string) (int64, *Reply) {
	if strings.HasPrefix(s, "-") {
		return -1, NewReply(552, "5.2.3", "Message size invalid")
	}
	digits := s[:len(s)-len(strings.TrimLeft(s, "0123456789"))]
	if digits == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return -1, NewReply(552, "5.2.3", "Message size exceeds maximum value")
	}
	return n, nil
}

func sendmailBy(s string) (*DeliverBy, *Reply) {
	when, mode, ok := strings.Cut(s, ";")
	if !ok {
		return nil, NewReply(501, "5.5.2", "BY= missing ';'")
	}
	n, err := strconv.ParseInt(when, 10, 32)
	mode, trace := strings.CutSuffix(strings.ToUpper(mode), "T")
	switch {
	case err != nil, mode != "R" && mode != "N":
		return nil, badParam("bad BY parameter")
	case mode == "R" && n <= 0:
		return nil, badParam("mode R requires BY time > 0")
	}
	return &DeliverBy{Time: time.Duration(n) * time.Second, Return: mode == "R", Trace: trace}, nil
}

// sendmailNotify names the word that is wrong.
func sendmailNotify(s string) (envelope.Notify, *Reply) {
	if n, ok := envelope.ParseNotify(s); ok {
		return n, nil
	}
	wrong := s
	words := strings.Split(s, ",")
	for _, w := range words {
		if _, ok := envelope.ParseNotify(w); !ok || strings.EqualFold(w, "NEVER") && len(words) > 1 {
			wrong = w
			break
		}
	}
	return 0, badParam("Bad argument \"" + shown(wrong) + "\"  to NOTIFY")
}
