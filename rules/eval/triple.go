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
// nothing: the host goes on [33]. Of the mailer's part, its first token is the name. The parts are parts of tokens,
// unless there is a second $@.
func Resolved(tokens []addr.Token) (t Triple, ok bool) {
	if len(tokens) == 0 || tokens[0] != addr.Mailer {
		return t, false
	}
	part, from := &t.Mailer, 1
	cut := func(to int) {
		if len(*part) == 0 {
			*part = tokens[from:to:to]
		} else {
			*part = append(*part, tokens[from:to]...)
		}
		from = to + 1
	}
	for i := 1; i < len(tokens); i++ {
		switch tokens[i] {
		case addr.Host:
			cut(i)
			t.HasHost, part = true, &t.Host
		case addr.User:
			cut(i)
			t.HasUser, t.User = true, tokens[from:]
			return t, true
		}
	}
	cut(len(tokens))
	return t, true
}
