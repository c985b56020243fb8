package flags

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"waybill/transport/envelope"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		name string
		argv []string
		want func(v *Invocation)
	}{
		{"cron", []string{"/usr/sbin/sendmail", "-FCronDaemon", "-i", "-B8BITMIME", "-oem", "root"}, func(v *Invocation) {
			v.FullName, v.IgnoreDots, v.Body, v.Errors, v.Args = "CronDaemon", true, envelope.Body8BitMIME, Mail, []string{"root"}
			v.Options = []Option{{"IgnoreDots", "true"}, {"ErrorMode", "m"}}
		}},
		{"null sender as its own argument", []string{"sendmail", "-f", "", "-t"}, func(v *Invocation) {
			v.SenderFlag, v.Recipients = 'f', true
		}},
		{"null sender glued", []string{"sendmail", "-f<>", "a"}, func(v *Invocation) { v.SenderFlag, v.Args = 'f', []string{"a"} }},
		{"-r", []string{"sendmail", "-rx@y", "a"}, func(v *Invocation) { v.SenderFlag, v.Sender, v.Args = 'r', "x@y", []string{"a"} }},
		{"letters together", []string{"sendmail", "-tiv"}, func(v *Invocation) {
			v.Recipients, v.IgnoreDots, v.Verbose, v.When = true, true, true, envelope.WhenNow
			v.Options = []Option{{"IgnoreDots", "true"}, {"Verbose", "true"}}
		}},
		{"a flag with a value ends the word", []string{"sendmail", "-tfx", "-i"}, func(v *Invocation) {
			v.Recipients, v.SenderFlag, v.Sender, v.IgnoreDots = true, 'f', "x", true
			v.Options = []Option{{"IgnoreDots", "true"}}
		}},
		{"flags end at the first address", []string{"sendmail", "a", "-t"}, func(v *Invocation) { v.Args = []string{"a", "-t"} }},
		{"flags end at --", []string{"sendmail", "--", "-oi", "-oMrX"}, func(v *Invocation) { v.Args = []string{"-oi", "-oMrX"} }},
		{"a lone minus is an address", []string{"sendmail", "-"}, func(v *Invocation) { v.Args = []string{"-"} }},
		{"long options end the flags", []string{"sendmail", "--help", "a"}, func(v *Invocation) { v.Args = []string{"a"} }},
		{"-v delivers at once, whatever -odq says", []string{"sendmail", "-v", "-odq", "a"}, func(v *Invocation) {
			v.Verbose, v.When, v.Args = true, envelope.WhenNow, []string{"a"}
			v.Options = []Option{{"Verbose", "true"}, {"DeliveryMode", "q"}}
		}},
		{"delivery mode by its long name, cut short", []string{"sendmail", "-ODeliveryMode=queueonly", "-OdeliveryMODE=i"}, func(v *Invocation) {
			v.When = envelope.WhenNow
			v.Options = []Option{{"DeliveryMode", "queueonly"}, {"DeliveryMode", "i"}}
		}},
		{"unknown option letter", []string{"sendmail", "-oWfoo", "a"}, func(v *Invocation) { v.Args = []string{"a"} }},
		{"delivery reports", []string{"sendmail", "-N", "success,DELAY", "-Rhdrs", "-V", "id+20x", "a"}, func(v *Invocation) {
			v.Notify, v.NotifyFlag = envelope.NotifySuccess|envelope.NotifyDelay, true
			v.Ret, v.EnvID, v.Args = envelope.RetHeaders, "id+20x", []string{"a"}
		}},
		{"protocol and hops", []string{"sendmail", "-puucp:hub.example.org", "-h", "7", "-G", "a"}, func(v *Invocation) {
			v.Protocol, v.ProtoHost, v.Hops, v.Gateway, v.Args = "uucp", "hub.example.org", 7, true, []string{"a"}
		}},
		{"body type nobody knows: complained about, and sent", []string{"sendmail", "-B", "9BIT", "a"}, func(v *Invocation) {
			v.Complaints, v.Exit, v.Args = []string{"Illegal body type 9BIT"}, 64, []string{"a"}
		}},
		{"files named on the command line are unsafe", []string{"sendmail", "-Cx.cf", "-Xlog", "-OQueueDirectory=/q", "-oA/x", "-Mrr", "-Mx1", "-OMinFreeBlocks=9", "a"}, func(v *Invocation) {
			v.ConfigFile, v.TrafficLog, v.Args = "x.cf", "log", []string{"a"}
			v.Options = []Option{{"QueueDirectory", "/q"}, {"AliasFile", "/x"}, {"MinFreeBlocks", "9"}}
			v.Macros = []Macro{{"r", "r"}, {"x", "1"}}
			v.Unsafe = []string{"-C", "-X", "-O QueueDirectory", "-O AliasFile", "-Mx"}
		}},
		{"-oM is -M", []string{"sendmail", "-oMsname", "-M{daemon_flags}CC f", "a"}, func(v *Invocation) {
			v.Macros, v.Args = []Macro{{"s", "name"}, {"daemon_flags", "CC f"}}, []string{"a"}
			v.Unsafe = []string{"-Mdaemon_flags"}
		}},
		{"sub-options", []string{"sendmail", "-OTimeout.queuereturn=3s", "-q"}, func(v *Invocation) {
			v.Mode, v.Queue.Asked = RunQueue, true
			v.Options = []Option{{"Timeout.queuereturn", "3s"}}
			v.Unsafe = []string{"-O Timeout.queuereturn"}
		}},
		{"mailq", []string{"/usr/bin/mailq", "-v"}, func(v *Invocation) {
			v.Mode, v.Verbose = PrintQueue, true
			v.Options = []Option{{"Verbose", "true"}}
		}},
		{"newaliases", []string{"newaliases"}, func(v *Invocation) { v.Mode = InitAliases }},
		{"hoststat", []string{"hoststat"}, func(v *Invocation) { v.Mode = HostStatus }},
		{"purgestat", []string{"purgestat"}, func(v *Invocation) { v.Mode = PurgeHostStatus }},
		{"smtpd", []string{"smtpd"}, func(v *Invocation) { v.Mode = Daemon }},
		{"runq", []string{"runq", "-v"}, func(v *Invocation) {
			v.Mode, v.Queue.Asked, v.Verbose = RunQueue, true, true
			v.Options = []Option{{"Verbose", "true"}}
		}},
		{"another name is sendmail", []string{"inject", "a"}, func(v *Invocation) { v.Args = []string{"a"} }},
		{"daemon with a queue interval", []string{"sendmail", "-bd", "-q1h30m"}, func(v *Invocation) {
			v.Mode, v.Queue = Daemon, QueueRun{Asked: true, Interval: 90 * time.Minute}
		}},
		{"a bare interval is minutes", []string{"sendmail", "-q15"}, func(v *Invocation) {
			v.Mode, v.Queue = RunQueue, QueueRun{Asked: true, Interval: 15 * time.Minute}
		}},
		{"selectors", []string{"sendmail", "-qRcarol", "-q!Sbob", "-qIk1", "-qGslow", "-qL", "-qQspam"}, func(v *Invocation) {
			v.Mode = RunQueue
			v.Queue = QueueRun{Asked: true, Group: "slow", Lost: true, Quarantined: true,
				Select: []Selector{{'R', false, "carol"}, {'S', true, "bob"}, {'I', false, "k1"}, {'Q', false, "spam"}}}
		}},
		{"persistent runner", []string{"sendmail", "-qp5s"}, func(v *Invocation) {
			v.Mode, v.Queue = RunQueue, QueueRun{Asked: true, Persistent: true, Interval: 5 * time.Second}
		}},
		{"foreground, and what follows f", []string{"sendmail", "-qfoo"}, func(v *Invocation) {
			v.Mode, v.Queue = RunQueue, QueueRun{Asked: true, Foreground: true}
		}},
		{"quarantine is a queue operation", []string{"sendmail", "-odq", "-Qspam", "dave"}, func(v *Invocation) {
			v.Mode, v.Quarantines, v.Quarantine, v.When, v.Args = RunQueue, true, "spam", envelope.WhenQueue, []string{"dave"}
			v.Options = []Option{{"DeliveryMode", "q"}}
		}},
		{"-bp with selectors prints", []string{"sendmail", "-bp", "-qQ"}, func(v *Invocation) {
			v.Mode, v.Queue = PrintQueue, QueueRun{Asked: true, Quarantined: true}
		}},
		{"debugging", []string{"sendmail", "-d0.1", "-d", "21.4", "-d", "-bp"}, func(v *Invocation) {
			v.Mode, v.Debug = PrintQueue, []string{"0.1", "21.4", ""}
		}},
		{"submission configuration", []string{"sendmail", "-Ac", "-bp"}, func(v *Invocation) { v.Mode, v.ConfigChoice = PrintQueue, 'c' }},
		{"a tag of 32 characters at most", []string{"sendmail", "-L", strings.Repeat("t", 40)}, func(v *Invocation) { v.LogTag = strings.Repeat("t", 32) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := &Invocation{Program: c.argv[0], Mode: Deliver, Errors: Print, Hops: -1}
			want.Name = want.Program[strings.LastIndexByte(want.Program, '/')+1:]
			c.want(want)
			got, err := Parse(c.argv)
			if err != nil {
				t.Fatal(err)
			}
			if len(got.Args) == 0 {
				got.Args = nil
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestErrors(t *testing.T) {
	for _, c := range []struct {
		args string
		want Error
	}{
		{"-k a", Error{"/s/sendmail: illegal option -- k", true, 64}},
		{"-x a", Error{"/s/sendmail: illegal option -- x", true, 64}},
		{"-E a", Error{"/s/sendmail: illegal option -- E", true, 64}},
		{"-tif", Error{"/s/sendmail: option requires an argument -- f", true, 64}},
		{"-f a -r b c", Error{`More than one "from" person`, false, 64}},
		{"-N sometimes a", Error{"Invalid -N argument", false, 64}},
		{"-N never,success a", Error{"Invalid -N argument", false, 64}},
		{"-R some a", Error{"Invalid -R value", false, 64}},
		{"-Rfull -Rfull a", Error{"Duplicate -R flag", false, 64}},
		{"-V b+3 a", Error{"Invalid syntax in -V flag", false, 64}},
		{"-V b+c=d a", Error{"Invalid syntax in -V flag", false, 64}},
		{"-U a", Error{"", false, 64}},
		{"-I", Error{"", false, 64}},
		{"-bz", Error{"Frozen configurations unsupported", false, 64}},
		{"-bq", Error{"Invalid operation mode q", false, 64}},
		{"-odx a", Error{"Unknown delivery mode x", false, 64}},
		{"-O NoSuchOption=1 a", Error{"readcf: unknown option name NoSuchOption", false, 70}},
		{"-ODeliv=q a", Error{"readcf: ambiguous option name Deliv (matches DeliveryMode and DeliverByMin)", false, 70}},
		{"-q9x", Error{"Invalid time unit `x'", false, 64}},
		{"-qx", Error{"Invalid time unit `x'", false, 64}},
		{"-M{x y", Error{"Unbalanced { in -M flag", false, 64}},
		{"-hx a", Error{"Bad hop count (x)", false, 64}},
	} {
		t.Run(c.args, func(t *testing.T) {
			v, err := Parse(append([]string{"/s/sendmail"}, strings.Fields(c.args)...))
			if err == nil {
				t.Fatalf("no error: %+v", v)
			}
			if *err != c.want {
				t.Errorf("got %+v, want %+v", *err, c.want)
			}
		})
	}
}

// The getopt string of sendmail 8.17, from its manual: our table must know the same letters with the same values.
func TestTableIsSendmails(t *testing.T) {
	const getopt = "A:B:b:C:cD:d:e:F:f:Gh:IiL:M:mN:nO:o:p:Q:q:R:r:sTtUV:vX:"
	letters := map[byte]bool{}
	for i := 0; i < len(getopt); i++ {
		if getopt[i] == ':' {
			continue
		}
		takes := i+1 < len(getopt) && getopt[i+1] == ':'
		f, ok := flagOf(getopt[i])
		if !ok {
			t.Errorf("-%c is not in the table", getopt[i])
			continue
		}
		letters[getopt[i]] = true
		if takes != (f.Value != ValueNone) {
			t.Errorf("-%c: value %v", getopt[i], f.Value)
		}
	}
	last := byte(0)
	for _, f := range table {
		if !letters[f.Letter] {
			t.Errorf("-%c is in the table and not in sendmail", f.Letter)
		}
		if f.Letter <= last {
			t.Errorf("-%c is out of order", f.Letter)
		}
		last = f.Letter
	}
}

func TestDuration(t *testing.T) {
	for in, want := range map[string]time.Duration{"1h30m": 90 * time.Minute, "2w": 14 * 24 * time.Hour, "5": 5 * time.Minute, "1d1": 24*time.Hour + time.Minute, "": 0} {
		if got, ok := Duration(in, time.Minute); !ok || got != want {
			t.Errorf("%q: %v %v, want %v", in, got, ok, want)
		}
	}
	for _, in := range []string{"x", "1y", "-1", "1 h", "h", "99999999999", "9999999w", "5200w5200w"} {
		if got, ok := Duration(in, time.Minute); ok {
			t.Errorf("%q is %v", in, got)
		}
	}
}

func TestOptionNamesAreUnique(t *testing.T) {
	names, letters := map[string]bool{}, map[byte]string{}
	for _, o := range OptionNames() {
		if names[strings.ToLower(o.Name)] {
			t.Errorf("%s is there twice", o.Name)
		}
		names[strings.ToLower(o.Name)] = true
		if o.Letter != 0 && letters[o.Letter] != "" {
			t.Errorf("%s and %s share %c", o.Name, letters[o.Letter], o.Letter)
		}
		letters[o.Letter] = o.Name
	}
	if len(names) < 160 {
		t.Errorf("only %d options", len(names))
	}
}

// FuzzParse: any command line parses or fails with a status of sysexits and one printable line.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{"-t\x00-i", "-f\x00\x00a", "-odq\x00-Qx\x00b", "-q!Rx", "-M{x}y", "-O\x00A=b", "-d\x001.2", "--\x00-x", "-h99999999999999999999", "-V\x00+", "-L", "-b", "-b\x00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, joined string) {
		argv := append([]string{"sendmail"}, strings.Split(joined, "\x00")...)
		given := append([]string(nil), argv...)
		v, err := Parse(argv)
		if !reflect.DeepEqual(given, argv) {
			t.Fatal("argv was changed")
		}
		if err != nil {
			if err.Exit < 64 || err.Exit > 78 || strings.ContainsAny(err.Text, "\n\r\x1b") {
				t.Fatalf("%+v", err)
			}
			return
		}
		if v.Hops < -1 || v.Queue.Interval < 0 {
			t.Fatalf("%+v", v)
		}
	})
}
