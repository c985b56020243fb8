package app

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"waybill/compat/cf"
	"waybill/compat/convert"
	"waybill/compat/testmode"
	"waybill/transport/sysexits"
)

// oracleHost is the machine that the configurations of these tests run on.
var oracleHost = cf.Host{Name: "mail.example.org", NodeName: "mail.example.org", Addresses: []string{"[192.0.2.10]"}}

// macroLibrary is a copy of sendmail's m4 files, which make peers has unpacked. They know where they are installed; in the
// copy they know where the copy is.
func macroLibrary(t *testing.T) string {
	t.Helper()
	peers := os.Getenv("PEERS")
	if peers == "" {
		peers, _ = filepath.Abs("../../../run/peers")
	}
	dir := filepath.Join(peers, "sendmail/usr/share/sendmail/cf")
	if _, err := os.Stat(filepath.Join(dir, "m4/cf.m4")); err != nil {
		t.Fatalf("sendmail's macros are not here; run make peers: %v", err)
	}
	copied := t.TempDir()
	err := filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, name)
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(copied, rel), 0o755)
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(copied, rel), bytes.ReplaceAll(data, []byte("/usr/share/sendmail/cf"), []byte(copied)), 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
	return copied
}

// madeByM4 makes a sendmail.cf of each .mc file of ours, and of Debian's own. Names and files.
func madeByM4(t *testing.T) map[string]string {
	t.Helper()
	library := macroLibrary(t)
	made := map[string]string{}
	archives, _ := filepath.Glob("../../../testdata/mc/*.txtar")
	if len(archives) < 6 {
		t.Fatalf("only %d .mc files", len(archives))
	}
	for _, name := range archives {
		a, err := txtar.ParseFile(name)
		if err != nil {
			t.Fatal(err)
		}
		short := strings.TrimSuffix(filepath.Base(name), ".txtar")
		dir := unpack(t, a)
		made[short] = runM4(t, library, dir, short)
	}
	debian, err := os.ReadFile(filepath.Join(library, "debian/sendmail.mc"))
	if err != nil {
		t.Fatal(err)
	}
	made["debian"] = runM4(t, library, unpack(t, &txtar.Archive{Files: []txtar.File{{Name: "mc", Data: debianMC(debian)}}}), "debian")
	return made
}

// debianMC is Debian's sendmail.mc for a machine on which it is not installed.
func debianMC(mc []byte) []byte {
	var out bytes.Buffer
	for line := range strings.Lines(string(mc)) {
		if strings.HasPrefix(line, "include(`/etc/mail/") {
			continue
		}
		out.WriteString(line)
	}
	return out.Bytes()
}

// safeDir is a directory that sendmail trusts: it trusts none below /tmp.
func safeDir(t *testing.T) string {
	t.Helper()
	base, err := os.UserCacheDir()
	if err == nil {
		err = os.MkdirAll(base, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp(base, "waybill-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func unpack(t *testing.T, a *txtar.Archive) string {
	t.Helper()
	dir := safeDir(t)
	files := append(a.Files, txtar.File{Name: "switch", Data: []byte("hosts files\naliases files\n")},
		txtar.File{Name: "hosts", Data: []byte("127.0.0.1 localhost\n192.0.2.10 mail.example.org mail\n192.0.2.11 relay.example\n")})
	for _, f := range files {
		if err := os.WriteFile(filepath.Join(dir, f.Name), bytes.ReplaceAll(f.Data, []byte("$DIR"), []byte(dir)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func runM4(t *testing.T, library, dir, name string) string {
	t.Helper()
	mc := filepath.Join(dir, "mc")
	cmd := exec.Command("m4", "-D_CF_DIR_="+library+"/", filepath.Join(library, "m4/cf.m4"), mc)
	if name == "debian" { // it includes cf.m4 itself
		cmd = exec.Command("m4", mc)
	}
	var says bytes.Buffer
	cmd.Stderr = &says
	out, err := cmd.Output()
	if err != nil || len(out) < 10000 {
		t.Fatalf("m4 %s: %v, %d octets\n%s", name, err, len(out), &says)
	}
	file := filepath.Join(dir, name+".cf")
	if err := os.WriteFile(file, out, 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// byHand are the sendmail.cf files that we wrote ourselves.
func byHand(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, pattern := range []string{"../../../compat/cf/testdata/*.txtar", "../../../compat/testmode/testdata/*.txtar"} {
		names, _ := filepath.Glob(pattern)
		for _, name := range names {
			a, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			dir := unpack(t, a)
			short := strings.TrimSuffix(filepath.Base(name), ".txtar")
			if err := os.Rename(filepath.Join(dir, "cf"), filepath.Join(dir, short+".cf")); err != nil {
				t.Fatal(err)
			}
			found[short] = filepath.Join(dir, short+".cf")
		}
	}
	if len(found) < 5 {
		t.Fatalf("only %d", len(found))
	}
	return found
}

// further are the .cf and .mc files, or all of those in the directories, that CONVERT names, parted by colons: "make convert
// FILES=DIRECTORY". An .mc file goes through m4. Names and sendmail.cf files.
func further(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	var library string
	for name := range strings.SplitSeq(os.Getenv("CONVERT"), ":") {
		files := []string{name}
		if info, err := os.Stat(name); err == nil && info.IsDir() {
			cfs, _ := filepath.Glob(filepath.Join(name, "*.cf"))
			mcs, _ := filepath.Glob(filepath.Join(name, "*.mc"))
			if files = append(cfs, mcs...); len(files) == 0 {
				t.Fatalf("%s: no .cf or .mc file in it", name)
			}
		}
		for _, file := range files {
			base := filepath.Base(file)
			if strings.HasSuffix(base, ".mc") {
				if library == "" {
					library = macroLibrary(t)
				}
				data, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				file = runM4(t, library, unpack(t, &txtar.Archive{Files: []txtar.File{{Name: "mc", Data: data}}}), strings.TrimSuffix(base, ".mc"))
			}
			if name != "" {
				found["further "+base] = file
			}
		}
	}
	return found
}

// addresses is how many each configuration is asked about.
const addresses = 2000

// TestConvertedConfigurationsDoTheSame converts every sendmail.cf that we have with the command, and asks both files
// in address test mode about 2,000 addresses each: every line of every trace must be the same.
func TestConvertedConfigurationsDoTheSame(t *testing.T) {
	files := madeByM4(t)
	for name, file := range byHand(t) {
		files[name] = file
	}
	for name, file := range further(t) {
		files[name] = file
	}
	for name, file := range files {
		t.Run(filepath.Base(name), func(t *testing.T) {
			var text, says bytes.Buffer
			exit := rulesCommand(stdio{strings.NewReader(""), &text, &says}, []string{"convert", file})
			if exit != sysexits.OK && !strings.Contains(file, "/bad.cf") && !strings.Contains(file, "/errors.cf") && !strings.Contains(says.String(), "program") {
				t.Errorf("exit status %d\n%s", exit, &says)
			}
			converted := filepath.Join(t.TempDir(), "converted.rules")
			if err := os.WriteFile(converted, text.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
			input := commandsFor(t, file, rand.New(rand.NewPCG(4, 2)), addresses)
			sameAnswers(t, input, file, converted)
		})
	}
}

// answers runs address test mode and returns what it says behind its greeting.
func answers(t *testing.T, file, input string) []string {
	t.Helper()
	var out bytes.Buffer
	testmode.Main([]string{"-bt", "-C", file}, strings.NewReader(input), &out, testmode.Config{Read: readCF, Host: oracleHost, Resolver: nothingResolves{}})
	_, text, ok := strings.Cut(out.String(), "Enter <ruleset> <address>\n")
	if !ok {
		t.Fatalf("%s: %s", file, &out)
	}
	text = strings.ReplaceAll(text, filepath.Base(file), "FILE")
	return strings.Split(text, "\n> ")
}

func sameAnswers(t *testing.T, input, file, converted string) {
	t.Helper()
	want, got := answers(t, file, input), answers(t, converted, input)
	lines := strings.Split(input, "\n")
	wrong := 0
	for i := 0; i < max(len(want), len(got)); i++ {
		a, b := "", ""
		if i < len(want) {
			a = want[i]
		}
		if i < len(got) {
			b = got[i]
		}
		if a != b {
			if wrong++; wrong <= 5 {
				t.Errorf("%s\n was %s\n is  %s", lines[min(i, len(lines)-1)], a, b)
			}
		}
	}
	if wrong > 0 {
		t.Errorf("%d of %d answers differ", wrong, len(want))
	}
	if len(want) < addresses*9/10 { // some commands have no answer
		t.Errorf("only %d answers", len(want))
	}
}

// commandsFor makes commands of address test mode about addresses that have to do with a configuration: names, domains
// and keys that stand in it, put together well and badly.
func commandsFor(t *testing.T, file string, r *rand.Rand, n int) string {
	t.Helper()
	conf, err := cf.ReadFile(file, cf.Options{Host: oracleHost})
	if err != nil {
		t.Fatal(err)
	}
	a := convert.NewAddresses(conf, r)
	var mailers, rulesets []string
	for _, m := range conf.Mailers {
		mailers = append(mailers, m.Name)
	}
	for _, rs := range conf.Prog.Rulesets {
		rulesets = append(rulesets, rs.Name)
	}
	pick := func(list []string) string { return list[r.IntN(len(list))] }
	var b strings.Builder
	for i := range n {
		switch address := a.Next(); i % 8 {
		case 0, 1, 2:
			fmt.Fprintf(&b, "/parse %s\n", address)
		case 3:
			fmt.Fprintf(&b, "3,0 %s\n", address)
		case 4:
			fmt.Fprintf(&b, "/tryflags %c%c\n/try %s %s\n", "HE"[r.IntN(2)], "SR"[r.IntN(2)], pick(mailers), address)
		case 5:
			fmt.Fprintf(&b, ".D{client_addr}%s\n.D{client_name}%s\n.D{rcpt_mailer}%s\ncheck_rcpt <%s>\n", pick(clientAddresses), a.Domain(), pick(mailers), address)
		case 6:
			fmt.Fprintf(&b, "check_mail <%s>\n", address)
		default:
			fmt.Fprintf(&b, "%s %s\n", pick(rulesets), address)
		}
	}
	return b.String()
}

var clientAddresses = []string{"192.0.2.9", "198.51.100.7", "203.0.113.5", "127.0.0.1", "10.1.2.3", "IPv6:2001:db8::1"}
