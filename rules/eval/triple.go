package eval

import "waybill/rules/addr"

// Triple is what a workspace that begins with $# says: $# mailer $@ host $: user.
type Triple struct {
	Mailer []addr.Token
	Host   []addr.Token
	User   []addr.Token
	// HasHost and HasUser tell whether the part is there at all; it may be empty.
	HasHost, HasUser bool
}

// Resolved reports whether tokens begin with $#, and cuts them into their parts. A second $@ before the user only ends
// nothing: the host goes on [33]. Of the mailer's part, its first token is the name.
func Resolved(tokens []addr.Token) (t Triple, ok bool) {
	if len(tokens) == 0 || tokens[0] != addr.Mailer {
		return t, false
	}
	part := &t.Mailer
	for i := 1; i < len(tokens); i++ {
		tok := tokens[i]
		switch {
		case tok == addr.Host && !t.HasUser:
			t.HasHost = true
			part = &t.Host
		case tok == addr.User && !t.HasUser:
			t.HasUser = true
			t.User = tokens[i+1:]
			return t, true
		default:
			*part = append(*part, tok)
		}
	}
	return t, true
}
