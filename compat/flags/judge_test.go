package flags

import (
	"strings"
	"testing"

	"waybill/transport/sysexits"
)

// TestJudge: values of options that sendmail refuses, or has a line about.
func TestJudge(t *testing.T) {
	for _, c := range []struct {
		args, text string
		exit       int
	}{
		{"-oD", "readcf: unknown option name 0x44", sysexits.Software},
		{"-oZ", "", 0},
		{"-o8", "Unknown 8-bit mode ", sysexits.Usage},
		{"-OEightBitMode=pass", "", 0},
		{"-O =x", "readcf: null option name", sysexits.Software},
		{"-OTimeout.bogus=1s", "settimeout: invalid timeout bogus", sysexits.Software},
		{"-OTimeout.queuewarn.urgent=1s", "", 0},
		{"-ONoRecipientAction=bogus", "Invalid NoRecipientAction: bogus", sysexits.Software},
		{"-OQueueSortOrder=bogus", `Invalid queue sort order "bogus"`, sysexits.Software},
		{"-OPrivacyOptions=noexpn,bogus", "readcf: Op line: bogus unrecognized", sysexits.Software},
		{"-ODontBlameSendmail=foo", "readcf: DontBlameSendmail option: foo unrecognized", sysexits.Software},
		{"-ODontBlameSendmail=GroupWritableAliasFile", "", 0},
		{"-OMaxHeadersLength=100", "Warning: MaxHeadersLength: headers length limit set lower than 16384", 0},
		{"-ONice=1", "Option Nice used as abbreviation for NiceQueueRun", 0},
		{"-T", "Invalid time unit `T'|Invalid time unit `T'", sysexits.Usage},
	} {
		v, err := Parse(append([]string{"sendmail"}, append(strings.SplitN(c.args, " ", 2), "bob")...))
		text, exit := "", 0
		if err != nil {
			text, exit = err.Text, err.Exit
		} else {
			text, exit = strings.Join(v.Complaints, "|"), v.Exit
		}
		if text != c.text || exit != c.exit {
			t.Errorf("%s: %q, %d; want %q, %d", c.args, text, exit, c.text, c.exit)
		}
	}
}
