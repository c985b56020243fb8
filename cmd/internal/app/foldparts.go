package app

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"regexp"
	"strings"

	"waybill/compat/cf"
	"waybill/compat/convert"
	"waybill/compat/testmode"
	"waybill/etc"
	"waybill/rules"
)

// foldParts converts a sendmail.cf line by line, with parts of the library in the place of the rulesets that m4 has written
// for well-known features. Each part is kept only when address test mode says the same of 2,000 addresses with and
// without it. says is what became of each part.
func foldParts(file, text string, conf, marked, whole *cf.Config) (r convert.Result, used []convert.Piece, says []string) {
	list, why := convert.Recognised(text)
	commands := probes(whole, rand.New(rand.NewPCG(20, 26)), foldAddresses)
	plain := convert.File(text, conf, marked)
	want := outcomes(plain.Text, file, commands, whole)
	try := func(parts []convert.Piece) string {
		got := outcomes(convert.Folded(text, conf, marked, parts).Text, file, commands, whole)
		if len(got) != len(want) {
			return fmt.Sprintf("%d answers, %d with it", len(want), len(got))
		}
		differ, example := 0, ""
		for i := range want {
			if got[i] != want[i] {
				if differ++; differ == 1 {
					example = fmt.Sprintf("%s gives %q, and would give %q", commands[i], want[i], got[i])
				}
			}
		}
		if differ > 0 {
			return fmt.Sprintf("%d of %d answers differ: %s", differ, len(want), example)
		}
		return ""
	}
	used = list
	if len(list) > 0 && try(list) != "" { // one after the other: a part may stand on one before it
		used = nil
		for _, p := range list {
			if no := try(append(used[:len(used):len(used)], p)); no == "" {
				used = append(used, p)
			} else {
				why[p.Name] = no
			}
		}
	}
	for _, p := range used {
		says = append(says, "folded: use "+p.Name+" in place of "+strings.Join(p.Rulesets, ", "))
	}
	for _, p := range convert.Pieces {
		if no, ok := why[p.Name]; ok {
			says = append(says, "not folded: "+p.Name+": "+no)
		}
	}
	if len(used) == 0 {
		return plain, nil, says
	}
	return convert.Folded(text, conf, marked, used), used, says
}

// probes are commands of address test mode, one for each answer that is compared: where an address goes, whom the check_
// rulesets let send, what mailers write, and the rulesets of the parts themselves with arguments as they are called with.
func probes(conf *cf.Config, r *rand.Rand, n int) []string {
	a := convert.NewAddresses(conf, r)
	var mailers []string
	for _, m := range conf.Mailers {
		mailers = append(mailers, m.Name)
	}
	clients := []string{"192.0.2.9", "198.18.0.9", "127.0.0.1", "10.1.2.3", "IPv6:2001:db8:0:0:0:0:0:1", "[192.0.2.9]", "[IPv6:2001:db8::1]"}
	pick := func(list []string) string { return list[r.IntN(len(list))] }
	tag := func() string {
		return pick([]string{"< + Connect >", "< ! Connect >", "< + From >", "< + To >", "< ! GreetPause >"})
	}
	rests := []string{"", "x", "x y", "< REMOTE > < @ BANG_PATH >", "< ? > < x y > < z >"}
	var out []string
	for i := range n {
		address := a.Next()
		if i%4 == 0 {
			address = a.Ordinary(1)[0]
		}
		c := ""
		switch i % 12 {
		case 0, 1, 2:
			c = "/parse " + address
		case 3:
			c = "3,0 " + address
		case 4:
			if len(mailers) == 0 {
				continue
			}
			c = fmt.Sprintf("/try %s %s", pick(mailers), address)
		case 5, 6:
			c = fmt.Sprintf(".D{client_addr}%s\n.D{client_name}%s\n.D{mail_from}<%s>\n.Df%s\ncheck_rcpt <%s>", pick(clients[:5]), a.Domain(), address, address, address)
		case 7:
			c = "check_mail <" + address + ">"
		case 8:
			name := a.Domain()
			if name == "" || strings.HasSuffix(name, ".") { // who has no name has no rest with brackets
				name = "localhost"
			}
			c = fmt.Sprintf("D < %s > < ? > %s < %s >", name, tag(), pick(rests))
			if i%5 == 0 {
				c = fmt.Sprintf("A < %s > < ? > %s < %s >", pick(clients), tag(), pick(rests))
			}
		case 9:
			c = fmt.Sprintf("%s < %s > < ? > %s < %s >", pick([]string{"F", "E"}), address, tag(), pick(rests))
		case 10:
			user, _, _ := strings.Cut(address, "@")
			c = fmt.Sprintf("U < %s @ > < ? > %s < >", user, tag())
		default:
			word := pick([]string{"smtp:" + a.Domain(), "error:5.1.1:550 no", "error:nouser no such user", "local:" + address, "relay:bob@" + a.Domain(), a.Domain(), "error:text", "[" + a.Domain() + "]"})
			c = fmt.Sprintf("MailerToTriple < %s > bob < @ %s . >", word, a.Domain())
			if i%3 == 0 {
				c = fmt.Sprintf("Mailertable < %s > bob < @ %s . >", a.Domain(), a.Domain())
			}
		}
		if strings.ContainsAny(c, ",;\\\"()") { // address test mode may run it twice, or not at all
			continue
		}
		out = append(out, c)
	}
	return out
}

// numbered is what the numbers of rulesets change in a message.
var numbered = regexp.MustCompile(`(?m)^== Ruleset \S+ \([0-9]+\) status`)

// outcomes is what address test mode says in the end to each of these commands: not how it came to it.
func outcomes(text, file string, commands []string, whole *cf.Config) (list []string) {
	read := func(_ string, how cf.Options) (*cf.Config, error) {
		p, err := rules.Compile("folded.rules", rules.Options{Text: []byte(text), Library: etc.Library(), Hostname: how.Host.Name, Define: map[string]string{"node": how.Host.NodeName, "opMode": how.Mode}})
		if err != nil {
			return nil, err
		}
		return cf.FromProgram(p, file, how), nil
	}
	var in strings.Builder
	for _, c := range commands {
		in.WriteString(".D{zz}mark\n$={zzz}\n" + c + "\n.D{zz}end\n${zz}\n")
	}
	var out bytes.Buffer
	testmode.Main([]string{"-bt", "-C", filepath.Base(file)}, strings.NewReader(in.String()), &out, testmode.Config{Read: read, Host: whole.Host, Resolver: nothingResolves{}})
	_, answers, _ := strings.Cut(out.String(), "Enter <ruleset> <address>\n")
	for part := range strings.SplitSeq(answers, "> end\n") {
		part = strings.TrimSpace(part)
		end := strings.LastIndex(part, "returns:")
		if mailer := strings.LastIndex(part, "\nmailer "); mailer > end {
			end = mailer
		}
		if code := strings.LastIndex(part, "\nRcode"); code > end {
			end = code
		}
		list = append(list, numbered.ReplaceAllString(part[max(end, 0):], "== status"))
	}
	return list[:max(len(list)-1, 0)]
}
