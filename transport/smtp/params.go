package smtp

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"waybill/transport/envelope"
)

// MailParams are the ESMTP parameters of MAIL FROM.
type MailParams struct {
	Size       int64             // SIZE=, octets; -1 when not given
	Body       envelope.BodyType // BODY=
	UTF8       bool              // SMTPUTF8
	Ret        envelope.Ret      // RET=
	EnvID      string            // ENVID=, xtext as received, checked
	Auth       string            // AUTH=, decoded; "<>" when given so; empty when not given
	RequireTLS bool              // REQUIRETLS
	By         *DeliverBy        // BY=, nil when not given
}

// DeliverBy is the value of the BY parameter (RFC 2852 4).
type DeliverBy struct {
	Time   time.Duration // from the moment of MAIL; may be zero or negative with Notify
	Return bool          // mode R: return the message when the time is over; otherwise mode N: send a notice
	Trace  bool          // T: each hop sends a "relayed" notice
}

// String renders d as the parameter's value, "120;RT".
func (d DeliverBy) String() string {
	s := strconv.FormatInt(int64(d.Time/time.Second), 10) + ";N"
	if d.Return {
		s = s[:len(s)-1] + "R"
	}
	if d.Trace {
		s += "T"
	}
	return s
}

// RcptParams are the ESMTP parameters of RCPT TO.
type RcptParams struct {
	Notify envelope.Notify // NOTIFY=
	ORcpt  string          // ORCPT=, "rfc822;" and xtext as received, checked
}

// ParseMailParams reads what follows the path of MAIL. offered is what EHLO announced: a parameter of an extension
// that was not offered is unknown (RFC 5321 4.1.1.11: 555). The reply is nil when all is well.
func ParseMailParams(s string, offered Ext) (MailParams, *Reply) {
	p := MailParams{Size: -1}
	list, r := splitParams(s)
	for _, f := range list {
		switch {
		case f.key == "SIZE" && offered&ExtSize != 0:
			p.Size, r = parseSize(f.value)
		case f.key == "BODY" && offered&Ext8BitMIME != 0:
			p.Body, r = parseBody(f.value, offered)
		case f.key == "SMTPUTF8" && offered&ExtUTF8 != 0:
			p.UTF8, r = true, f.alone() // RFC 6531 3.4
		case f.key == "REQUIRETLS" && offered&ExtRequireTLS != 0:
			p.RequireTLS, r = true, f.alone() // RFC 8689 2
		case f.key == "RET" && offered&ExtDSN != 0:
			p.Ret, r = parseRet(f.value)
		case f.key == "ENVID" && offered&ExtDSN != 0:
			p.EnvID, r = parseEnvID(f.value)
		case f.key == "AUTH" && offered&ExtAuth != 0:
			p.Auth, r = parseAuth(f.value)
		case f.key == "BY" && offered&ExtDeliverBy != 0:
			p.By, r = parseBy(f.value)
		default:
			r = unknownParam(f.word)
		}
		if r != nil {
			break
		}
	}
	return p, r
}

// ParseRcptParams reads what follows the path of RCPT. utf8 says that the transaction has SMTPUTF8: then ORCPT may be
// of type "utf-8" with UTF-8 in it (RFC 6533 3).
func ParseRcptParams(s string, offered Ext, utf8 bool) (RcptParams, *Reply) {
	var p RcptParams
	list, r := splitParams(s)
	for _, f := range list {
		switch {
		case f.key == "NOTIFY" && offered&ExtDSN != 0:
			var ok bool
			if p.Notify, ok = envelope.ParseNotify(f.value); !ok {
				word, _, _ := strings.Cut(f.value, ",")
				r = badParam("Bad argument \"" + shown(word) + "\"  to NOTIFY") // RFC 3461 4.1: NEVER stands alone
			}
		case f.key == "ORCPT" && offered&ExtDSN != 0:
			p.ORcpt, r = parseORcpt(f.value, utf8)
		default:
			r = unknownParam(f.word)
		}
		if r != nil {
			break
		}
	}
	return p, r
}

// maxParams is more than all extensions together have.
const maxParams = 16

type param struct {
	key   string // upper case
	word  string // as it came
	value string
	equal bool // there was a "="
}

func (p param) alone() *Reply {
	if p.equal {
		return badParam("parameter takes no value")
	}
	return nil
}

// splitParams cuts s into its parameters (RFC 5321 4.1.2 Mail-parameters): blanks, also several, between them and at
// the end; each keyword once.
func splitParams(s string) ([]param, *Reply) {
	var list []param
	for word := range strings.SplitSeq(s, " ") {
		if word == "" {
			continue // RFC 5321 4.1.1: trailing blanks are tolerated
		}
		key, value, equal := strings.Cut(word, "=")
		if !validKeyword(key) || !validValue(value) || equal && value == "" {
			return nil, badParam("bad parameter syntax")
		}
		if len(list) == maxParams {
			return nil, badParam("too many parameters")
		}
		p := param{strings.ToUpper(key), key, value, equal}
		for _, q := range list {
			if p.key == q.key {
				return nil, NewReply(501, "5.5.0", "Duplicate "+shown(p.key)+" parameter")
			}
		}
		list = append(list, p)
	}
	return list, nil
}

// validKeyword: RFC 5321 4.1.2 esmtp-keyword.
func validKeyword(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || isDigit(c) || c == '-' && i > 0) {
			return false
		}
	}
	return s != "" && len(s) <= 64
}

// validValue: RFC 5321 4.1.2 esmtp-value, and UTF-8 for the extensions that allow it (RFC 6531 3.3, RFC 6533 3).
func validValue(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] == '=' || s[i] == 0x7f {
			return false
		}
	}
	return utf8.ValidString(s)
}

func badParam(text string) *Reply { return NewReply(501, "5.5.4", text) }

// shown is what a client wrote, in a reply to it.
func shown(s string) string { return Printable(s[:min(len(s), 40)]) }

func unknownParam(key string) *Reply {
	return NewReply(555, "5.5.4", shown(key)+" parameter unrecognized")
}

// parseSize: RFC 1870 6.1, at most 20 digits. A number that does not fit is larger than any limit.
func parseSize(s string) (int64, *Reply) {
	if !isNumber(s, 20) {
		return -1, badParam("bad SIZE parameter")
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return -1, NewReply(552, "5.3.4", "message size exceeds the limit")
	}
	return n, nil
}

// parseBody: RFC 6152 2, RFC 3030 3.
func parseBody(s string, offered Ext) (envelope.BodyType, *Reply) {
	switch b := envelope.BodyType(strings.ToUpper(s)); {
	case b == envelope.Body7Bit, b == envelope.Body8BitMIME, b == envelope.BodyBinaryMIME && offered&ExtBinaryMIME != 0:
		return b, nil
	}
	return "", badParam("Unknown BODY type " + shown(s))
}

// parseRet: RFC 3461 4.3.
func parseRet(s string) (envelope.Ret, *Reply) {
	switch r := envelope.Ret(strings.ToUpper(s)); r {
	case envelope.RetFull, envelope.RetHeaders:
		return r, nil
	}
	return "", NewReply(501, "5.5.2", "Bad argument \""+shown(s)+"\" to RET")
}

// parseEnvID: RFC 3461 4.4. What it decodes to must be printable: it goes into a bounce as a header field.
func parseEnvID(s string) (string, *Reply) {
	text, ok := DecodeXtext(s)
	if !ok || len(s) > MaxEnvID || !printable(text) {
		return "", badParam("bad ENVID parameter")
	}
	return s, nil
}

// parseORcpt: RFC 3461 4.2, addr-type ";" xtext. As with ENVID the decoded address must be printable. With SMTPUTF8
// the type utf-8 has an encoding of its own (RFC 6533 3: utf-8-addr-xtext, utf-8-addr-unitext).
func parseORcpt(s string, wide bool) (string, *Reply) {
	bad := badParam("Syntax error in ORCPT parameter value")
	kind, addr, ok := strings.Cut(s, ";")
	if !ok || !validKeyword(kind) || addr == "" || len(s) > MaxORcpt {
		return "", bad
	}
	if strings.EqualFold(kind, "utf-8") {
		for _, c := range addr {
			if c <= ' ' || c == 0x7f || c >= 0x80 && (!wide || c < 0xa0) {
				return "", bad
			}
		}
		return s, nil
	}
	if text, ok := DecodeXtext(addr); !ok || !printable(text) {
		return "", bad
	}
	return s, nil
}

// parseAuth: RFC 4954 5, xtext of a mailbox, or "<>".
func parseAuth(s string) (string, *Reply) {
	text, ok := DecodeXtext(s)
	if !ok || !printable(text) {
		return "", badParam("bad AUTH parameter")
	}
	return text, nil
}

// parseBy: RFC 2852 4: by-time is a sign and at most 9 digits, and greater than zero with mode R.
func parseBy(s string) (*DeliverBy, *Reply) {
	bad := badParam("bad BY parameter")
	when, mode, ok := strings.Cut(s, ";")
	if !ok || !isNumber(strings.TrimPrefix(strings.TrimPrefix(when, "-"), "+"), 9) {
		return nil, bad
	}
	n, err := strconv.ParseInt(when, 10, 64)
	if err != nil {
		return nil, bad
	}
	by := &DeliverBy{Time: time.Duration(n) * time.Second}
	mode = strings.ToUpper(mode)
	mode, by.Trace = strings.CutSuffix(mode, "T")
	by.Return = mode == "R"
	if mode != "R" && mode != "N" || by.Return && n <= 0 {
		return nil, bad
	}
	return by, nil
}

// printable: graphic characters and blanks of US-ASCII.
func printable(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}
