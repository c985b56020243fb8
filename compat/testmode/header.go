package testmode

import (
	"fmt"
	"os"
	"strings"

	"waybill/compat/cf"
	"waybill/rules/addr"
)

// knownHeaders are the flags that the real one knows headers by, as /header prints them.
const knownHeaders = `resent-sender=108 resent-from=108 resent-reply-to=108 sender=100 from=100 reply-to=100 errors-to=900 full-name=20
return-receipt-to=400 delivery-receipt-to=400 disposition-notification-to=100 to=2 resent-to=a cc=2 resent-cc=a bcc=4002 resent-bcc=400a
apparently-to=2 message-id=0 resent-message-id=8 date=0 resent-date=8 received=c0 x400-received=c0 via=c0 mail-from=c0 comments=8040
return-path=20060 content-transfer-encoding=1000 content-type=2000 content-length=20 subject=8000 x-authentication-warning=40`

const (
	userHeader    = 0x40000 // it came with the message
	checkedHeader = 0x10000 // a ruleset looks at it
)

// headerLine is the command /header LINE: what a header line is taken for, after the ruleset that checks it has run.
func (s *session) headerLine(line string) {
	name, value, ok := strings.Cut(line, ":")
	name = strings.TrimSpace(name)
	if !ok || name == "" || strings.ContainsAny(name, " \t") {
		fmt.Fprintf(s.out, "header syntax error, line \"%s\"\nul = 00000000\n", line)
		s.status = 70
		return
	}
	if strings.EqualFold(name, "message") || strings.EqualFold(name, "text") { // the header ends there
		fmt.Fprint(s.out, "ul = 0x00000001\n")
		return
	}
	flags := userHeader
	for _, k := range strings.Fields(knownHeaders) {
		known, hex, _ := strings.Cut(k, "=")
		if strings.EqualFold(known, name) {
			n := 0
			fmt.Sscanf(hex, "%x", &n)
			flags |= n
		}
	}
	ruleset, keep := "", false
	for _, h := range s.cfg.Headers {
		switch {
		case h.Ruleset == "":
		case strings.EqualFold(h.Name, name):
			ruleset, keep = h.Ruleset, h.Keep
			flags |= checkedHeader
		case h.Name == "*" && ruleset == "":
			ruleset, keep = h.Ruleset, h.Keep
		}
	}
	if strings.TrimSpace(value) != "" && ruleset != "" {
		s.checkHeader(ruleset, name, value, keep)
	}
	fmt.Fprintf(s.out, "ul = 0x%08x\n", flags)
}

// checkHeader runs the ruleset of a header over its value.
func (s *session) checkHeader(ruleset, name, value string, keep bool) {
	m := s.state.Macros
	m.Set("hdr_name", name)
	m.Set("hdrlen", fmt.Sprint(len(value)))
	m.Set("currHeader", `"`+strings.ReplaceAll(strings.ReplaceAll(value, `\`, `\\`), `"`, `\"`)+`"`)
	cut := s.engine().Syntax().SplitStripped
	if keep {
		cut = s.engine().Syntax().Split
	}
	toks, issues := cut(value)
	if !s.issues(issues, value) && len(toks) > 0 {
		s.run(ruleset, toks)
	}
}

// setSender is the command /sender ADDRESS: who would be the sender, for an address that -f gives; without one, the user
// who asks. First it is parsed, as a recipient would be; then it goes through rulesets 3, 1 and 4.
func (s *session) setSender(text string) {
	if text == "" {
		if text = os.Getenv("LOGNAME"); os.Getuid() == 0 || text == "" {
			text = "root"
		}
	}
	toks, ok := s.cut(text)
	if !ok || len(toks) == 0 {
		fmt.Fprintf(s.out, "addr=%s\n", text)
		return
	}
	again := append([]addr.Token(nil), toks...)
	for _, name := range []string{"3", "0"} {
		toks, _ = s.runFor(text, name, toks)
	}
	if len(toks) > 0 && toks[0] == addr.Mailer {
		s.resolve(text, toks)
	}
	for _, name := range []string{"3", "1", "4"} {
		again, _ = s.runFor(text, name, again)
	}
	sender := s.raw(again)
	s.state.Macros.Set("f", sender)
	fmt.Fprintf(s.out, "addr=%s\n", sender)
}

// help is the command "?": the topic -bt of the help file.
func (s *session) help() {
	file, _ := s.cfg.Option("HelpFile", "")
	file, _, _ = strings.Cut(file, " ")
	info, err := os.Stat(file)
	var data []byte
	if err == nil && info.Mode().IsRegular() { // a FIFO would wait for somebody
		data, err = os.ReadFile(file)
	}
	if file == "" || err != nil || !info.Mode().IsRegular() {
		fmt.Fprintf(s.out, "Sendmail %s -- HELP not implemented\n", cf.Version)
		return
	}
	expand := strings.HasPrefix(string(data), "#vers")
	for line := range strings.Lines(string(data)) {
		text, ok := strings.CutPrefix(line, "-bt")
		if !ok {
			continue
		}
		text = strings.TrimRight(strings.TrimPrefix(text, "\t"), "\r\n")
		if expand {
			text = cf.Expand(text, s.state.Macros.Get)
		}
		fmt.Fprintln(s.out, text)
	}
	fmt.Fprint(s.out, "End of HELP info\n")
}
