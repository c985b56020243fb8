package app

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestARefusedConfigurationRunsNothing has what the real sendmail says of bad files, in all its modes, and its exit
// status: sendmail -bC says it, and nothing else starts with such a file.
func TestARefusedConfigurationRunsNothing(t *testing.T) {
	const (
		local = "Mlocal, P=/bin/true, F=lsDFMAw5:/|@q, A=x $u\nMprog, P=/bin/sh, F=lsDFMo, A=sh -c $u\n"
		queue = "O QueueDirectory=$DIR\n"
	)
	for name, tc := range map[string]struct {
		text, says string
		exit       int
	}{
		"good":      {queue + local, "", 0},
		"option":    {queue + "O NoSuch=1\n" + local, "line 3: readcf: unknown option name NoSuch", 70},
		"no local":  {queue, "No local mailer defined", 70},
		"user":      {queue + local + "Mbad, P=/bin/true, U=nosuchuser, A=x\n", "readcf: mailer U= flag: unknown user nosuchuser", 70},
		"path":      {queue + local + "Mbad, A=x\n", "Mbad: P= argument required", 70},
		"queue":     {local, "QueueDirectory (Q) option must be set", 78},
		"directory": {"O QueueDirectory=/nonexistent\n" + local, "can not chdir(/nonexistent/): No such file or directory", 78},
		"mode":      {queue + "O DeliveryMode=x\n" + local, "Unknown delivery mode x", 64},
		"class":     {queue + "F{X}/nonexistent\n" + local, "fileclass: cannot open '/nonexistent': No such file or directory", 71},
		"optional":  {queue + "F{X}-o /nonexistent\n" + local, "", 0},
		"version":   {queue + local, "Warning: .cf version level (11) exceeds sendmail version 8.17.1.9 functionality (10)", 70},
		"group":     {queue + local + "Mbad, P=/bin/true, U=root:nosuchgroup, A=x\n", "readcf: mailer U= flag: unknown group nosuchgroup", 70},
		"network":   {queue + local + "Mbad, P=[IPC], A=TCP\n", "Mbad: too few parameters for [IPC] mailer", 70},
		"relative":  {queue + local + "Mother, P=true, A=true\n", "", 0},
		"inherited": {queue + local + "EHOME\nENOSUCHVARIABLE\n", "", 0},
		"nul":       {queue + local + "D\x00x\n", "Name required for macro/class", 70},
		"ruleset":   {queue + local + "Sfoo=10\nSfoo=11\n", "foo=11: ruleset changed value (old 10, new 11)", 70},
		"group dir": {queue + local + "Qg, P=/nonexistent\n", "QueuePath /nonexistent not subpath of QueueDirectory ", 78},
		"rel group": {queue + local + "Qg, P=x\n", "QueuePath x not absolute: No such file or directory", 78},
		"filter":    {queue + local + "Xf, S=local:/x\nXf, S=local:/x\n", "Xf: duplicate filter definition: No such file or directory", 71},
		"limits":    {queue + local + "O MaxHeadersLength=10\n", "Warning: MaxHeadersLength: headers length limit set lower than 16384", 0},
		"operators": {queue + local + "Sx\nR$*\t$1\nO OperatorChars=.:\n", "Warning: OperatorChars is being redefined.", 0},
		"sort":      {queue + "O QueueSortOrder=zzz\n" + local, `Invalid queue sort order "zzz"`, 70},
	} {
		dir := t.TempDir()
		if err := os.Chmod(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, "x.cf")
		if err := os.WriteFile(file, []byte(map[bool]string{true: "V11/Berkeley\n", false: "V10/Berkeley\n"}[name == "version"]+strings.ReplaceAll(tc.text, "$DIR", dir)), 0o600); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if got := checkCF(stdio{out: &out}, file); got != tc.exit || !strings.Contains(out.String(), tc.says) {
			t.Errorf("%s: -bC exits %d: %s", name, got, &out)
		}
		_, err := openCF(file, slog.LevelError, nil)
		var refused *cfRefused
		switch {
		case tc.exit == 0 && err == nil:
		case tc.exit == 0 || !errors.As(err, &refused):
			t.Errorf("%s: %v", name, err)
		case refused.exit != tc.exit || !strings.Contains(err.Error(), tc.says):
			t.Errorf("%s: %d: %v", name, refused.exit, err)
		}
	}
	for line, said := range map[string]string{
		"x.cf: line 3: unknown configuration line \"Zfoo\"":                   "554 5.0.0 ",
		"x.cf: line 3: header syntax error, line \"X\"":                       "553 5.3.0 ",
		"x.cf: line 3: fileclass: cannot open '/x': World writable directory": "451 4.0.0 ",
		"can not chdir(/nonexistent/): No such file or directory":             "451 4.0.0 ",
		"x.cf: line 3: Invalid time unit `x'":                                 "550 ",
	} {
		if got := (&cfRefused{says: []string{line}}).overSMTP(); got != said+line+"\r\n" {
			t.Errorf("sendmail -bs says %q", got)
		}
	}
	if got := (&cfRefused{says: []string{"Warning: x"}}).overSMTP(); got != "Warning: x\n" {
		t.Errorf("sendmail -bs says %q", got)
	}
	if _, err := os.Stat("/nonexistent"); err == nil {
		t.Error("a queue directory was made")
	}
	// A file that others may write to is told of; one that nobody may read is not read.
	file := filepath.Join(t.TempDir(), "x.cf")
	var out bytes.Buffer
	os.WriteFile(file, []byte("V10/Berkeley\nO QueueDirectory=/\n"+local), 0o600)
	os.Chmod(file, 0o666)
	var warned bytes.Buffer
	if exit := checkCF(stdio{out: &out, err: &warned}, file); exit != 0 || out.Len() > 0 || warned.String() != file+": WARNING: dangerous write permissions\n" {
		t.Errorf("%d %s %s", exit, &out, &warned)
	}
	os.Chmod(file, 0)
	out.Reset()
	if exit := checkCF(stdio{out: &out}, file); exit != 72 || !strings.Contains(out.String(), "line 0: cannot open: Permission denied") {
		t.Errorf("%d %s", exit, &out)
	}
}
