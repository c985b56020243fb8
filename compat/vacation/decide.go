package vacation

import (
	"strings"
)

// refuses reports whether a message must not be answered, for a reason that has nothing to do with earlier replies.
func (o *options) refuses(m message, names []string) bool {
	if fromMachine(m.sender) {
		return true
	}
	switch strings.ToLower(m.header.Value("Precedence")) {
	case "bulk", "junk", "list":
		return true
	}
	// RFC 3834 2: nothing automatic is answered, and no list (RFC 2919, RFC 2369).
	if v, given := m.header.Get("Auto-Submitted"); given {
		word, _, _ := strings.Cut(v, ";")
		if !strings.EqualFold(strings.TrimSpace(word), "no") {
			return true
		}
	}
	for _, field := range []string{"List-Id", "List-Help", "List-Subscribe", "List-Unsubscribe", "List-Post", "List-Owner", "List-Archive"} {
		if _, given := m.header.Get(field); given {
			return true
		}
	}
	if o.always {
		return false
	}
	for _, field := range []string{"To", "Cc"} {
		for _, value := range m.header.Values(field) {
			for _, name := range names {
				if hasName(value, name) {
					return false
				}
			}
		}
	}
	return true
}

// fromMachine reports whether an address is one of those that no person reads.
func fromMachine(sender string) bool {
	if sender == "" || sender == "<>" || strings.HasPrefix(sender, "-") {
		return true
	}
	for i := 0; i < len(sender); i++ {
		if sender[i] <= ' ' || sender[i] == 0x7f {
			return true
		}
	}
	local := strings.ToUpper(sender)
	if at := strings.LastIndexByte(local, '@'); at >= 0 {
		local = local[:at]
	}
	if bang := strings.LastIndexByte(local, '!'); bang >= 0 {
		local = local[bang+1:]
	}
	switch local {
	case "POSTMASTER", "UUCP", "MAILER", "MAILER-DAEMON":
		return true
	}
	return strings.HasPrefix(local, "OWNER-") || strings.HasSuffix(local, "-REQUEST") || strings.HasSuffix(local, "-RELAY") || strings.HasSuffix(local, "-OWNER") ||
		strings.HasSuffix(local, "-BOUNCES")
}

// hasName reports whether a field of addresses has a name as a word of its own, in any case.
func hasName(field, name string) bool {
	if name == "" {
		return false
	}
	field, name = strings.ToLower(field), strings.ToLower(name)
	for from := 0; ; {
		at := strings.Index(field[from:], name)
		if at < 0 {
			return false
		}
		at += from
		end := at + len(name)
		if (at == 0 || !wordByte(field[at-1])) && (end == len(field) || !wordByte(field[end])) {
			return true
		}
		from = at + 1
	}
}

func wordByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '_' || c == '-' || c >= 0x80
}

// reply is the text of the answer: the user's message, whole with its header, behind the fields that make it an answer
// (RFC 3834 3.1). $SUBJECT stands for the subject of what is answered.
func reply(text string, m message) string {
	subject := m.header.Value("Subject")
	subject = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, subject)
	text = strings.ReplaceAll(text, "$SUBJECT", subject)
	var b strings.Builder
	b.WriteString("To: " + m.sender + "\n")
	b.WriteString("Auto-Submitted: auto-replied\n")
	if id := m.header.Value("Message-Id"); id != "" && !strings.ContainsAny(id, "\r\n") {
		b.WriteString("In-Reply-To: " + id + "\n")
		references := strings.TrimSpace(m.header.Value("References") + " " + id)
		if len(references) < 900 {
			b.WriteString("References: " + references + "\n")
		}
	}
	b.WriteString(text)
	return b.String()
}
