package flags

import (
	"strconv"
	"strings"

	"waybill/transport/sysexits"
)

// note is a line for standard output that changes nothing.
func (p *parse) note(line string) { p.v.Complaints = append(p.v.Complaints, line) }

// judge looks at the value of an option as sendmail does before it goes on: some values end the program, some are worth
// a line.
func (p *parse) judge(name, value string) *Error {
	wrong := func(text string) *Error { return &Error{Text: text, Exit: sysexits.Software} }
	number := func(s string) int {
		digits := len(s) - len(strings.TrimLeft(s, "0123456789"))
		n, _ := strconv.Atoi(s[:digits])
		return n
	}
	switch name {
	case "EightBitMode":
		if value == "" || !strings.ContainsAny(value[:1], "msp") {
			return usage("Unknown 8-bit mode " + clean(value[:min(1, len(value))]))
		}
	case "NoRecipientAction":
		switch strings.ToLower(value) {
		case "none", "add-to", "add-apparently-to", "add-bcc", "add-to-undisclosed":
		default:
			return wrong("Invalid NoRecipientAction: " + clean(value))
		}
	case "QueueSortOrder":
		if value == "" || !strings.ContainsAny(strings.ToLower(value[:1]), "hptfmnrs") {
			return wrong("Invalid queue sort order \"" + clean(value) + "\"")
		}
	case "PrivacyOptions":
		if w := strange(value, privacyWords); w != "" {
			return wrong("readcf: Op line: " + clean(w) + " unrecognized")
		}
	case "DontBlameSendmail":
		if w := strange(value, blameWords); w != "" {
			return wrong("readcf: DontBlameSendmail option: " + clean(w) + " unrecognized")
		}
	case "MaxHeadersLength":
		if n := number(value); n > 0 && n < 16384 {
			p.note("Warning: MaxHeadersLength: headers length limit set lower than 16384")
		}
	case "MaxMimeHeaderLength":
		head, field, both := strings.Cut(value, "/")
		n, m := number(head), number(field)
		if !both {
			m = n / 2
		}
		if n > 0 && n < 128 {
			p.note("Warning: MaxMimeHeaderLength: header length limit set lower than 128")
		}
		if m > 0 && m < 40 {
			p.note("Warning: MaxMimeHeaderLength: field length limit set lower than 40")
		}
	}
	return nil
}

// privacyWords and blameWords are the words of the Operations Guide, in lower case.
const (
	privacyWords = " public needmailhelo needexpnhelo needvrfyhelo noexpn novrfy restrictexpand restrictmailq restrictqrun noetrn noverb authwarnings noreceipts nobodyreturn goaway noactualrecipient "
	blameWords   = " safe assumesafechown certowner classfileinunsafedirpath dontwarnforwardfileinunsafedirpath errorheaderinunsafedirpath filedeliverytohardlink filedeliverytosymlink " +
		"forwardfileingroupwritabledirpath forwardfileinunsafedirpath forwardfileinunsafedirpathsafe groupreadablekeyfile groupreadablesasldbfile groupreadabledefaultauthinfofile " +
		"groupwritablealiasfile groupwritabledirpathsafe groupwritableforwardfile groupwritableforwardfilesafe groupwritableincludefile groupwritableincludefilesafe groupwritablesasldbfile " +
		"helpfileinunsafedirpath includefileingroupwritabledirpath includefileinunsafedirpath includefileinunsafedirpathsafe insufficiententropy linkedaliasfileinwritabledir " +
		"linkedclassfileinwritabledir linkedforwardfileinwritabledir linkedincludefileinwritabledir linkedmapinwritabledir linkedserviceswitchfileinwritabledir mapinunsafedirpath " +
		"nonrootsafeaddr runprograminunsafedirpath runwritableprogram truststickybit worldwritablealiasfile worldwritableforwardfile worldwritableincludefile writemaptohardlink " +
		"writemaptosymlink writestatstohardlink writestatstosymlink "
)

// strange returns the first word of a list that is not one of the known.
func strange(list, known string) string {
	for _, w := range strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' }) {
		if !strings.Contains(known, " "+strings.ToLower(w)+" ") {
			return w
		}
	}
	return ""
}
