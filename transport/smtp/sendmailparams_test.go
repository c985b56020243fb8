package smtp

import "testing"

// TestSendmailParams holds what Debian's sendmail 8.17 answers to the same parameters.
func TestSendmailParams(t *testing.T) {
	const all = ExtSize | Ext8BitMIME | ExtBinaryMIME | ExtDSN | ExtDeliverBy
	for in, want := range map[string]string{
		"": "", " SIZE=": "", " SIZE=abc": "", " SIZE=5 SIZE=6": "", " BODY=7BIT BODY=8bitmime": "", " AUTH=<>": "", " AUTH=": "", " ENVID=": "",
		" BY=120;R": "", " BY=-1;N": "", " ret=hdrs size=3": "",
		" SIZE":                      "501 5.5.2 SIZE requires a value",
		" SIZE=-1":                   "552 5.2.3 Message size invalid",
		" SIZE=99999999999999999999": "552 5.2.3 Message size exceeds maximum value",
		" BODY=BINARYMIME":           "501 5.5.4 Unknown BODY type BINARYMIME",
		" BODY":                      "501 5.5.2 BODY requires a value",
		" RET=":                      `501 5.5.2 Bad argument "" to RET`,
		" RET=FULL RET=FULL":         "501 5.5.0 Duplicate RET parameter",
		" ENVID=a+xx":                "501 5.5.4 Syntax error in ENVID parameter value",
		" BY=0;R":                    "501 5.5.4 mode R requires BY time > 0",
		" BY=x":                      "501 5.5.2 BY= missing ';'",
		" FOO":                       "555 5.5.4 FOO parameter unrecognized",
		" =":                         "555 5.5.4  parameter unrecognized",
		" <a@example.org>":           "555 5.5.4  parameter unrecognized",
		" (comment)":                 "555 5.5.4  parameter unrecognized",
		" SMTPUTF8":                  "555 5.5.4 SMTPUTF8 parameter unrecognized",
		" NOTIFY=NEVER":              "555 5.5.4 NOTIFY parameter unrecognized",
	} {
		got := ""
		if _, r := SendmailMailParams(in, all); r != nil {
			got = r.String()
		}
		if got != want {
			t.Errorf("MAIL%s: %q, not %q", in, got, want)
		}
	}
	for in, want := range map[string]string{
		"": "", " NOTIFY=success": "", " NOTIFY=SUCCESS NOTIFY=FAILURE": "", " ORCPT=rfc822;": "", " ORCPT=rfc822;a+2Bb": "",
		" NOTIFY":                        "501 5.5.2 NOTIFY requires a value",
		" NOTIFY=":                       `501 5.5.4 Bad argument ""  to NOTIFY`,
		" NOTIFY=SUCCESS,":               `501 5.5.4 Bad argument ""  to NOTIFY`,
		" NOTIFY=SOMETIMES":              `501 5.5.4 Bad argument "SOMETIMES"  to NOTIFY`,
		" ORCPT=":                        "501 5.5.4 Syntax error in ORCPT parameter value",
		" ORCPT=rfc822;a+zz":             "501 5.5.4 Syntax error in ORCPT parameter value",
		" ORCPT=rfc822;a ORCPT=rfc822;b": "501 5.5.0 Duplicate ORCPT parameter",
		" SIZE=1":                        "555 5.5.4 SIZE parameter unrecognized",
	} {
		got := ""
		if _, r := SendmailRcptParams(in, all); r != nil {
			got = r.String()
		}
		if got != want {
			t.Errorf("RCPT%s: %q, not %q", in, got, want)
		}
	}
	for in, read := range map[string]func() *Reply{
		"NOTIFY": func() *Reply { _, r := SendmailRcptParams(" NOTIFY=NEVER", all&^ExtDSN); return r },
		"ENVID":  func() *Reply { _, r := SendmailMailParams(" ENVID=x", all&^ExtDSN); return r },
	} {
		if r := read(); r == nil || r.String() != "504 5.7.0 Sorry, "+in+" not supported, we do not allow DSN" {
			t.Errorf("%s where DSN is not offered: %v", in, r)
		}
	}
	if p, _ := SendmailMailParams(" SIZE=5 SIZE=6", all); p.Size != 6 {
		t.Errorf("the last SIZE counts, not %d", p.Size)
	}
}
