package convert

import (
	"slices"
	"strings"

	"waybill/compat/cf"
	"waybill/rules/addr"
	"waybill/rules/compile"
	"waybill/rules/prog"
)

// The names of a host that no real one has.
const markShort, markDomain, markNode, markMode = "xWaybillHostx", "xWaybillDomainx", "xWaybillNodex", "xWaybillModex"

// Marked are options like these for a host with names that can be found again.
func Marked(o cf.Options) cf.Options {
	o.Host.Name, o.Host.NodeName, o.Mode = markShort+"."+markDomain, markNode, markMode
	return o
}

// constant replaces the names of the marked host.
var constant = strings.NewReplacer(markShort+"."+markDomain, "\x00{host}", markShort, "\x00{short}", markDomain, "\x00{domain}", markNode, "\x00{node}", markMode, "\x00{opMode}")

// value writes a text as a word of the language.
func value(text string) string {
	text = constant.Replace(text)
	if !strings.Contains(text, "\x00") {
		return compile.Quote(text)
	}
	var b strings.Builder
	for i, part := range strings.Split(text, "\x00") {
		if i > 0 {
			name, rest, _ := strings.Cut(part, "}")
			b.WriteString("$" + name + "}")
			part = rest
		}
		if part != "" {
			b.WriteString(compile.Quote(part))
		}
	}
	return b.String()
}

func values(words []string) string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = value(w)
	}
	return strings.Join(out, " ")
}

// symbols are those of a side with constants in place of the names of the marked host. ok is false when a name stands
// where no constant can.
func symbols(side []prog.Tok) (out []prog.Tok, ok bool) {
	text := func(i int) string {
		if i < len(side) && side[i].Kind == prog.Literal {
			return side[i].Text
		}
		return ""
	}
	for i := 0; i < len(side); i++ {
		t := side[i]
		name := ""
		switch {
		case text(i) == markShort && text(i+1) == "." && text(i+2) == markDomain:
			name, i = "host", i+2
		case text(i) == markShort+"."+markDomain:
			name = "host"
		case text(i) == markShort:
			name = "short"
		case text(i) == markDomain:
			name = "domain"
		case text(i) == markNode:
			name = "node"
		case text(i) == markMode:
			name = "opMode"
		case strings.Contains(t.Text, markMode):
			return nil, false
		case strings.Contains(t.Text, markShort) || strings.Contains(t.Text, markDomain) || strings.Contains(t.Text, markNode):
			return nil, false
		}
		if name != "" {
			t = prog.Tok{Kind: prog.Literal, Text: compile.Constant + name}
		}
		out = append(out, t)
	}
	return out, true
}

// means reports whether symbols with constants are the others on the host at hand: a file may ask whether a name is set.
func (w *writer) means(side, want []prog.Tok) bool {
	syntax := addr.New(w.conf.Prog.Operators, addr.BlankSub(w.conf.Prog.BlankSub))
	var got []prog.Tok
	for _, t := range side {
		name, ok := strings.CutPrefix(t.Text, compile.Constant)
		if !ok || t.Kind != prog.Literal {
			got = append(got, t)
			continue
		}
		text := w.conf.Host.Name
		switch short, domain, _ := strings.Cut(text, "."); name {
		case "node":
			text = w.conf.Host.NodeName
		case "opMode":
			text = ""
		case "short":
			text = short
		case "domain":
			text = domain
		}
		toks, _ := syntax.Split(text)
		for _, t := range toks {
			got = append(got, prog.Tok{Kind: prog.Literal, Text: string(t)})
		}
	}
	return slices.Equal(got, want)
}
