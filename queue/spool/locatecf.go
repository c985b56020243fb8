package spool

import (
	"bufio"
	"io"
	"os"
	"strings"
)

// isCF reports whether a configuration is a sendmail.cf, which is told by its name.
func isCF(file string) bool { return strings.HasSuffix(file, ".cf") }

// Sendmail reports whether a configuration is a sendmail.cf, or rules made of one: only then it has a line "set level".
func Sendmail(file string) bool {
	if isCF(file) {
		return true
	}
	site, err := Locate(file)
	return err == nil && site.Sendmail
}

const submitCF, sendmailCF = "/etc/mail/submit.cf", "/etc/mail/sendmail.cf"

// DefaultCF is the sendmail.cf of a host that has no rules file; empty: it has rules, or nothing at all. As with sendmail,
// -Ac ('c') and -Am ('m') choose, and without them mail is submitted with submit.cf; but where a daemon of ours works by
// sendmail.cf, it gets the mail without a detour.
func DefaultCF(choice byte, submission bool) string {
	exists := func(file string) bool {
		_, err := os.Stat(file)
		return err == nil
	}
	if exists(DefaultConfig) {
		return ""
	}
	if (choice == 'c' || choice == 0 && submission) && exists(submitCF) {
		if site, err := Locate(sendmailCF); choice == 'c' || err != nil || !exists(site.Socket) {
			return submitCF
		}
	}
	if exists(sendmailCF) {
		return sendmailCF
	}
	return ""
}

// scanCF reads from a sendmail.cf what a front end must know: the queue directory (O QueueDirectory=, OQ), our name
// (Dj, where it is a plain name), how it delivers, the trusted users (T lines, class t and its file), our other names (class w), and
// whether a From field that we make has a full name.
func (s *Site) scanCF(in io.Reader) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 0, 4096), 1<<20)
	for lines.Scan() {
		line := lines.Text()
		if len(line) < 2 {
			continue
		}
		switch line[0] {
		case 'O':
			name, value, ok := strings.Cut(strings.TrimSpace(line[1:]), "=")
			if ok && strings.EqualFold(name, "QueueDirectory") {
				s.Spool, s.Queue = value, true
			} else if ok && strings.EqualFold(name, "PrivacyOptions") {
				s.Privacy = strings.ToLower(value)
			} else if ok && (strings.EqualFold(name, noRecipients) || strings.EqualFold(name, oneLineFrom)) {
				s.option(name, value)
			} else if ok && strings.EqualFold(name, "UseMSP") {
				s.Submits = value == "" || strings.ContainsRune("tTyY", rune(value[0]))
			} else if ok && strings.EqualFold(name, "DeliveryMode") && value != "" {
				s.Delivery = strings.ToLower(value)[0]
			} else if line[1] == 'Q' {
				s.Spool, s.Queue = strings.TrimSpace(line[2:]), true
			}
		case 'H':
			if template, ok := strings.CutPrefix(line, "H?F?From:"); ok {
				s.Nameless = !strings.Contains(template, "$x")
			}
		case 'M':
			name, _, _ := strings.Cut(line[1:], ",")
			s.LocalMailer = s.LocalMailer || strings.TrimSpace(name) == "local"
		case 'D':
			if line[1] == 'j' && !strings.Contains(line, "$") {
				s.Host = strings.TrimSpace(line[2:])
			}
		case 'T':
			s.Trusted = append(s.Trusted, strings.Fields(line[1:])...)
		case 'C':
			switch line[1] {
			case 't':
				s.Trusted = append(s.Trusted, strings.Fields(line[2:])...)
			case 'w':
				s.Local = append(s.Local, strings.Fields(line[2:])...)
			}
		case 'F':
			switch file := strings.TrimSpace(strings.TrimPrefix(line[2:], "-o")); line[1] {
			case 't':
				s.Trusted = append(s.Trusted, words(file)...)
			case 'w':
				s.Local = append(s.Local, words(file)...)
			}
		}
	}
	return lines.Err()
}

// The options about headers that a front end obeys.
const noRecipients, oneLineFrom = "NoRecipientAction", "SingleLineFromHeader"

func (s *Site) option(name, value string) {
	if s.Options == nil {
		s.Options = map[string]string{}
	}
	for _, known := range []string{noRecipients, oneLineFrom} {
		if strings.EqualFold(name, known) {
			s.Options[known] = strings.TrimSpace(value)
		}
	}
}

// words are the words of a class file. One that cannot be read is empty here; the engine complains about it.
func words(file string) []string {
	file, _, _ = strings.Cut(file, " ")
	data, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	var out []string
	for line := range strings.Lines(string(data)) {
		if !strings.HasPrefix(line, "#") {
			out = append(out, strings.Fields(line)...)
		}
	}
	return out
}
