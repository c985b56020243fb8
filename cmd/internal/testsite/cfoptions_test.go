package testsite_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestOptionsBesideASendmailCF gives options of a sendmail.cf on the command line, as the real sendmail was seen to obey them:
// what the program hears on standard output and as exit status, and what arrives for whom. The local mailer writes what it
// gets to a file; mail for "far" goes to another that fails for now.
func TestOptionsBesideASendmailCF(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("this test needs root")
	}
	if err := build(); err != nil {
		t.Fatal(err)
	}
	const big, eight = "Subject: s\nX-A: 0123456789\nX-B: 0123456789\n\n0123456789\n0123456789\n0123456789\n", "Subject: s\n\ncaf\xe9\n"
	for name, c := range map[string]struct {
		args, in string
		exit     int
		out      string   // in standard output
		root     []string // in what root gets; nothing of "!..." is
		nobody   bool     // root gets nothing
		file     string   // below the directory, must be there afterwards
	}{
		"header": {"-OMaxHeadersLength=20 root", big, 0, "Headers too large (20 max)", []string{"Returned mail", "552 5.6.0 Headers too large (20 max)", "message/rfc822", "!0123456789\n0123"}, false, ""},
		"size":   {"-OMaxMessageSize=60 root", big, 0, "Message exceeds maximum fixed size (60)", []string{"552 5.2.3 Message exceeds maximum fixed size (60)", "text/rfc822-headers", "!0123456789\n0123"}, false, ""},
		"within": {"-OMaxMessageSize=100000 -OMaxHeadersLength=1000 root", big, 0, "", []string{"X-B: 0123456789\n", "!Returned"}, false, ""},
		"wrong":  {"-OMaxMessageSize=60 nobody-here", big, 67, "nobody-here... User unknown\nMessage exceeds maximum", []string{"550 5.1.1 nobody-here... User unknown"}, false, ""},
		"strict": {"-OEightBitMode=strict root", eight, 0, "Eight bit data not allowed", []string{"554 5.6.1 Eight bit data not allowed"}, false, ""},
		"mime":   {"-OEightBitMode=mime -ODefaultCharSet=latin9 root", eight, 0, "", []string{"MIME-Version: 1.0\n", "Content-Type: text/plain; charset=latin9\n", "Content-Transfer-Encoding: 8bit\n", "caf\xe9"}, false, ""},
		"quoted": {"root", "Content-Type: text/plain\nContent-Transfer-Encoding: quoted-printable\n\ncaf=E9 =\nau lait\n", 0, "",
			[]string{"Content-Transfer-Encoding: 8bit\nX-MIME-Autoconverted: from quoted-printable to 8bit by mail.example.org id ", "\n\ncaf\xe9 au lait\n"}, false, ""},
		"ascii": {"-OEightBitMode=mime root", big, 0, "", []string{"!MIME-Version"}, false, ""},
		"short": {"-OMaxMimeHeaderLength=150/40 root", "MIME-Version: 1.0\nContent-Type: text/plain; name=\"" + strings.Repeat("n", 80) + "\"\n\nx\n", 0, "",
			[]string{"Content-Type: text/plain; name=\"" + strings.Repeat("n", 33) + "\"\n"}, false, ""},
		"notice":   {"-oem -OErrorHeader=Call_the_desk -OPrivacyOptions=noactualrecipient,nobodyreturn nobody-here", big, 67, "", []string{"\n\nCall_the_desk\n\n", "text/rfc822-headers", "!X-Actual-Recipient", "!0123456789\n0123"}, false, ""},
		"errorsto": {"-oem -OUseErrorsTo nobody-here", "Errors-To: daemon\nSubject: s\n\nx\n", 67, "", []string{"To: daemon\nTo: root\n"}, false, "got-daemon"},
		"joint":    {"-oem -odi nobody-here bad", big, 67, "", []string{"\nnobody-here\n    (reason: 550 5.1.1 User unknown)\nbad\n    (reason: Service unavailable)\n"}, false, ""},
		"copy":     {"-oem -OPostmasterCopy=daemon nobody-here", big, 67, "", []string{"Subject: Returned mail", "!Postmaster notify"}, false, "got-daemon"},
		"hops":     {"-oem -h 30 -ODeadLetterDrop=@DIR@/drop root", big, 69, "", nil, true, "drop"},
		"to":       {"-ONoRecipientAction=add-to daemon root", big, 0, "", []string{"\nTo: root\nTo: daemon\n"}, false, ""},
		"never":    {"-N never -odi far", big, 0, "", nil, true, ""},
		"now":      {"-odi -oem -OTimeout.queuereturn=now far", big, 0, "", []string{"Message could not be delivered for too long", "Status: 4.4.7"}, false, ""},
		"user":     {"-ORunAsUser=no-such-user root", big, 70, "readcf: option RunAsUser: unknown user no-such-user", nil, true, ""},
		"group":    {"-ODefaultUser=root:no-such-group root", big, 70, "readcf: option u: unknown group no-such-group", nil, true, ""},
		"nobody":   {"-ORunAsUser=nobody root", big, 78, "can not chdir(@DIR@/q/): Permission denied", nil, true, ""},
		"msp":      {"-OUseMSP root", big, 78, "Mail submission program must have RunAsUser set to non root user", nil, true, ""},
		"database": {"-OMailboxDatabase=x root", big, 69, "Can't initialize mailbox database \"x\"", nil, true, ""},
		"debug":    {"-D @DIR@/debug root", big, 0, "", []string{"X-A"}, false, "debug"},
		"nodebug":  {"-D @DIR@/none/debug root", big, 73, "cannot open @DIR@/none/debug: No such file or directory", nil, true, ""},
		"late":     {"-d0 -D @DIR@/debug root", big, 64, "-D file must be before -d", nil, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			fill := strings.NewReplacer("@DIR@", dir)
			if err := os.Mkdir(filepath.Join(dir, "q"), 0o700); err != nil {
				t.Fatal(err)
			}
			for file, text := range map[string]string{
				"deliver": "#!/bin/sh\ncat >>@DIR@/got-$1\n",
				"later":   "#!/bin/sh\nexit 75\n",
				"bad":     "#!/bin/sh\nexit 69\n",
				"a.cf": "V10/Berkeley\nDjmail.example.org\nCwmail.example.org localhost\nO QueueDirectory=@DIR@/q\nO OperatorChars=.:%@!^/[]+\n" +
					"Mlocal, P=@DIR@/deliver, F=lsDFMAw5S9, U=root:root, A=deliver $u\nMlater, P=@DIR@/later, F=lsDFMS, U=root:root, A=later\nMbad, P=@DIR@/bad, F=lsDFMS, U=root:root, A=bad\nMprog, P=/bin/sh, F=lsDFMo, A=sh -c $u\n" +
					"H?D?Date: $a\nH?F?From: $g\nS3\nR$*<$*>$*\t$:$2\nS0\nRfar\t$#later $: far\nRbad\t$#bad $: bad\nR$+@$+\t$#local $: $1\nR$+\t$#local $: $1\n",
			} {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(fill.Replace(text)), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, filepath.Join(bin, "sendmail"), append([]string{"-C", filepath.Join(dir, "a.cf")}, strings.Fields(fill.Replace(c.args))...)...)
			cmd.Stdin, cmd.Env, cmd.Dir = strings.NewReader(c.in), []string{"PATH=/usr/bin:/bin", "HOME=" + dir}, dir
			var out, said bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &said
			err := cmd.Run()
			exit := 0
			var failed *exec.ExitError
			if errors.As(err, &failed) {
				exit = failed.ExitCode()
			}
			if exit != c.exit || !strings.Contains(out.String(), fill.Replace(c.out)) {
				t.Errorf("exit status %d, want %d\n%s%s", exit, c.exit, &out, &said)
			}
			got := func() string { text, _ := os.ReadFile(filepath.Join(dir, "got-root")); return string(text) }
			if c.nobody {
				if text := got(); text != "" {
					t.Errorf("root got:\n%s", text)
				}
			}
			whole := func(text string) bool { // of a notice the last line is its boundary
				return text != "" && (!strings.Contains(text, "multipart/report") || strings.HasSuffix(strings.TrimSpace(text), "--"))
			}
			for !c.nobody && !whole(got()) && ctx.Err() == nil {
				time.Sleep(20 * time.Millisecond)
			}
			for _, want := range c.root {
				if absent, not := strings.CutPrefix(want, "!"); not && strings.Contains(got(), absent) || !not && !strings.Contains(got(), want) {
					t.Errorf("root's mail, looking for %q:\n%s", want, got())
				}
			}
			for c.file != "" && ctx.Err() == nil {
				if _, err := os.Stat(filepath.Join(dir, c.file)); err == nil {
					return
				}
				time.Sleep(20 * time.Millisecond)
			}
			if ctx.Err() != nil {
				t.Error("it takes too long")
			}
		})
	}
}
