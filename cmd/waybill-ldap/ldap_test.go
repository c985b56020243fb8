package main

import (
	"bufio"
	"bytes"
	"context"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"waybill/compat/cf"
	"waybill/compat/testmode"
	"waybill/rules/prog"
	"waybill/rules/table"
)

// peer is a Debian package that make peers has unpacked.
func peer(t *testing.T, name, file string) string {
	t.Helper()
	dir := os.Getenv("PEERS")
	if dir == "" {
		dir, _ = filepath.Abs("../../run/peers")
	}
	dir = filepath.Join(dir, name)
	if _, err := os.Stat(filepath.Join(dir, file)); err != nil {
		t.Fatalf("Debian's %s is not here; run make peers (as root, with network): %v", name, err)
	}
	return dir
}

// directoryServer runs Debian's slapd with the entries of testdata/directory.ldif. It answers on a Unix socket.
func directoryServer(t *testing.T, dir string) (uri string) {
	t.Helper()
	slapd := peer(t, "slapd", "usr/sbin/slapd")
	conf, err := os.ReadFile("testdata/slapd.conf")
	if err != nil {
		t.Fatal(err)
	}
	conf = []byte(strings.NewReplacer("@PEER@", slapd, "@DIR@", dir).Replace(string(conf)))
	if err := os.WriteFile(filepath.Join(dir, "slapd.conf"), conf, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "db"), 0o700); err != nil {
		t.Fatal(err)
	}
	libraries, _ := filepath.Glob(filepath.Join(slapd, "usr/lib/*/libslapi*"))
	if len(libraries) == 0 {
		t.Fatal("slapd has no libslapi")
	}
	env := append(os.Environ(), "LD_LIBRARY_PATH="+filepath.Dir(libraries[0])+":"+filepath.Join(slapd, "usr/lib/ldap"))
	add := exec.Command(filepath.Join(slapd, "usr/sbin/slapd"), "-T", "add", "-f", filepath.Join(dir, "slapd.conf"), "-l", "testdata/directory.ldif")
	add.Env = env
	if out, err := add.CombinedOutput(); err != nil {
		t.Fatalf("slapadd: %v\n%s", err, out)
	}
	socket := filepath.Join(dir, "ldapi")
	uri = "ldapi://" + url.QueryEscape(socket)
	var says bytes.Buffer
	server := exec.Command(filepath.Join(slapd, "usr/sbin/slapd"), "-d", "0", "-f", filepath.Join(dir, "slapd.conf"), "-h", uri)
	server.Env, server.Stderr = env, &says
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		server.Process.Kill()
		server.Wait()
	})
	for range 600 {
		if conn, err := net.Dial("unix", socket); err == nil {
			conn.Close()
			return uri
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("slapd does not answer\n%s", &says)
	return ""
}

// safeDir is a directory that sendmail trusts: it trusts none below /tmp.
func safeDir(t *testing.T) string {
	t.Helper()
	base, err := os.UserCacheDir()
	if err != nil {
		base = "/root/.cache"
	}
	if err := os.MkdirAll(base, 0o755); err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp(base, "waybill-ldap-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// build makes the program as the installer gets it.
func build(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "waybill-ldap")
	cmd := exec.Command("go", "build", "-trimpath", "-o", program, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program
}

var questions = map[string][]string{
	"plain one all named append base deep raw match":                                                                         {"bob", "BOB", "nobody", "*", "bo*", `a*b(c)\d`, `"bob"`, ")(uid=*"},
	"names escaped bare percent other there noattr class noclass quoted nobody secret":                                       {"bob", "nobody", "*", `a*b(c)\d`, "carol"},
	"twin twins dn dnclass dnfirst filter filterone url every limit":                                                         {"list", "loop", "twin", "nobody"},
	"gone gonetag goneopt nobase nofilter scope method deref version letter kind host empty only namesdn nofile args noargs": {"bob", "bob"},
}

// ours are the answers that are not sendmail's, on purpose: with -1 an entry that has a value is not followed further.
var ours = map[string]bool{"/map filterone loop": true}

// TestBesideSendmail asks Debian's sendmail and our address test mode about many ldap maps, with one directory.
func TestBesideSendmail(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("this test needs root, for a network and a host name of sendmail's own")
	}
	sendmail := filepath.Join(peer(t, "sendmail", "usr/libexec/sendmail/sendmail"), "usr/libexec/sendmail/sendmail")
	dir, program := safeDir(t), build(t)
	uri := directoryServer(t, dir)
	conf, err := os.ReadFile("testdata/maps.cf")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"maps.cf": strings.NewReplacer("@DIR@", dir, "@URI@", uri).Replace(string(conf)), "secret": "secret\n",
		"hosts": "127.0.0.1 localhost\n192.0.2.10 mail.example.org mail\n", "resolv.conf": "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var commands []string
	for maps, keys := range questions {
		for m := range strings.FieldsSeq(maps) {
			for _, k := range keys {
				commands = append(commands, "/map "+m+" "+k)
			}
		}
	}
	commands = append(commands, "Args carol/bob/list", "NoArgs carol/bob/list", "Tag bob", "Class bob", "$={Bob}", "$={Carol}")
	input := strings.Join(commands, "\n") + "\n"

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	script := `hostname mail.example.org && mount --bind "$0/hosts" /etc/hosts && mount --bind "$0/resolv.conf" /etc/resolv.conf && exec "$@"`
	real := exec.CommandContext(ctx, "unshare", "-n", "-u", "-m", "--", "/bin/sh", "-c", script, dir, sendmail, "-bt", "-C", filepath.Join(dir, "maps.cf"))
	real.Stdin = strings.NewReader(input)
	theirs, _ := real.Output() // its exit status is that of the last answer
	var mine bytes.Buffer
	testmode.Main([]string{"-bt", "-C", filepath.Join(dir, "maps.cf")}, strings.NewReader(input), &mine, testmode.Config{Host: cf.Host{Name: "mail.example.org", NodeName: "mail"}, LDAP: program})
	want, got := strings.Split(strings.TrimSuffix(string(theirs), "\n> "), "\n> "), strings.Split(strings.TrimSuffix(mine.String(), "\n> "), "\n> ")
	if len(want) != len(commands)+1 || len(got) != len(want) {
		t.Fatalf("%d answers of sendmail, %d of ours, to %d questions\n%s", len(want), len(got), len(commands), theirs)
	}
	for i := range want {
		what := "the beginning"
		if i > 0 {
			what = commands[i-1]
		}
		if strings.HasPrefix(what, "$=") { // in no order
			want[i], got[i] = sorted(want[i]), sorted(got[i])
		}
		if got[i] != want[i] && !ours[what] {
			t.Errorf("%s\n sendmail %s\n ours     %s", what, want[i], got[i])
		}
	}
}

func sorted(text string) string {
	words := strings.Fields(text)
	for i := range words {
		for j := i; j > 0 && words[j] < words[j-1]; j-- {
			words[j], words[j-1] = words[j-1], words[j]
		}
	}
	return strings.Join(words, " ")
}

// TestTable asks a directory as the engine does: several at once, and again after the server's end.
func TestTable(t *testing.T) {
	dir, program := safeDir(t), build(t)
	uri := directoryServer(t, dir)
	ask := func(tab table.Table, key string) string {
		r, found, err := tab.Lookup(t.Context(), key, nil)
		switch {
		case err != nil:
			return "not now"
		case !found:
			return "no"
		}
		return r.Value
	}
	open := func(args ...string) table.Table {
		t.Helper()
		tab, err := table.Open(declared(args), table.Env{Native: true, LDAP: program})
		if err != nil {
			t.Fatal(err)
		}
		return tab
	}
	people := open("-H", uri, "-b", "dc=example,dc=org", "-k", "(uid=%0)", "-v", "mail", "-1")
	done := make(chan string, 20)
	for range cap(done) {
		go func() { done <- ask(people, "bob") + ask(people, "nobody") }()
	}
	for range cap(done) {
		if got := <-done; got != "bob@example.orgno" {
			t.Error(got)
		}
	}
	if got := ask(open("-H", "ldapi://%2Fnonexistent", "-b", "dc=example,dc=org", "-k", "(uid=%0)"), "bob"); got != "not now" {
		t.Errorf("a directory that is not there: %s", got)
	}
	if got := ask(open("-H", uri, "-b", "dc=example,dc=org", "-k", "(uid=%0)", "-v", "mail", "-o"), "bob"); got != "bob@example.org" {
		t.Errorf("an optional one: %s", got)
	}
	if _, err := table.Open(declared([]string{"-s", "weird", "-k", "x"}), table.Env{Native: true}); err == nil || !strings.Contains(err.Error(), "Scope must be") {
		t.Errorf("a wrong option: %v", err)
	}
	missing, err := table.Open(declared([]string{"-k", "x"}), table.Env{Native: true, LDAP: filepath.Join(dir, "none")})
	if err != nil || ask(missing, "bob") != "not now" {
		t.Errorf("without the program: %v", err)
	}
}

// TestSocket serves a Unix socket, and a table of class socket asks it.
func TestSocket(t *testing.T) {
	dir, program := safeDir(t), build(t)
	uri := directoryServer(t, dir)
	socket := filepath.Join(dir, "ask")
	cmd := exec.Command(program, "-listen", socket, "people", "-H", uri, "-b", "dc=example,dc=org", "-k", "(uid=%0)", "-v", "mail")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	var conn net.Conn
	for range 1500 {
		var err error
		if conn, err = net.Dial("unix", socket); err == nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if conn == nil {
		t.Fatal("it does not listen")
	}
	defer conn.Close()
	in := bufio.NewReader(conn)
	for request, want := range map[string]string{"people bob": "OK bob@example.org", "people x": "NOTFOUND ", "other bob": "PERM there is no map other here", "people": "PERM a request is a name and a key"} {
		if err := table.WriteNetstring(conn, request); err != nil {
			t.Fatal(err)
		}
		if got, err := table.ReadNetstring(in); err != nil || got != want {
			t.Errorf("%s: %q, %v", request, got, err)
		}
	}
}

func TestURL(t *testing.T) {
	spec := &table.LDAP{Values: []table.LDAPValue{{Name: "mail", Kind: "NORMAL"}}}
	for in, want := range map[string]search{
		"ldap:///dc=x?mail,cn?sub?(a=b)":       {kind: "URL", base: "dc=x", scope: "sub", filter: "(a=b)"},
		"ldap://elsewhere/ou=a%2Cdc=x":         {kind: "URL", base: "ou=a,dc=x", scope: "base", filter: "(objectClass=*)"},
		"LDAP:///dc=x??one":                    {kind: "URL", base: "dc=x", scope: "one", filter: "(objectClass=*)"},
		"ldap:///dc=x??weird?(cn=a%3fb%20%28)": {kind: "URL", base: "dc=x", scope: "base", filter: "(cn=a?b ()"},
	} {
		got, ok := parseURL(in, spec)
		got.values = nil
		if !ok || got.key() != want.key() || got.scope != want.scope {
			t.Errorf("%s: %+v, %v", in, got, ok)
		}
	}
	for _, bad := range []string{"http://x/", "dc=x", "ldap:///%zz"} {
		if _, ok := parseURL(bad, spec); ok {
			t.Errorf("%s is none", bad)
		}
	}
}

func declared(args []string) *prog.Table {
	return &prog.Table{Name: "people", Class: "ldap", Args: args}
}
