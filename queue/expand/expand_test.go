package expand

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"waybill/transport/envelope"
	"waybill/transport/passwd"
)

type aliasMap map[string]string

var errDown = errors.New("down")

func (m aliasMap) Lookup(_ context.Context, key string) (string, bool, error) {
	v, ok := m[key]
	if v == "!" {
		return "", false, errDown
	}
	return v, ok, nil
}

// describe shows a result in one line.
func describe(r Result, err error) string {
	if err != nil {
		return "error"
	}
	if r.Status != nil {
		return r.Status.Outcome().String() + " " + r.Status.Code()
	}
	var all []string
	if r.Mailbox != "" {
		all = append(all, "mailbox "+r.Mailbox)
		if r.Detail != "" {
			all = append(all, "+"+r.Detail)
		}
	}
	for _, m := range r.Members {
		s := envelope.Recipient{Addr: m.Addr, Command: m.Command, File: m.File}.Name()
		if m.Refused != nil {
			s = m.Refused.Code() + ":" + m.Name
		}
		if m.As != "" {
			s += " as " + m.As
		}
		if m.Stage != "" {
			s += " " + m.Stage
		}
		all = append(all, "["+s+"]")
	}
	if r.HasOwner {
		all = append(all, "owner "+string(r.Owner))
	}
	return strings.Join(all, " ")
}

func site(t *testing.T, aliases aliasMap) (x *Expander, home string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	home = filepath.Join(dir, "home")
	if err := os.Mkdir(home, 0o755); err != nil {
		t.Fatal(err)
	}
	shells := filepath.Join(dir, "shells")
	put(t, shells, "# shells\n/bin/sh\n", 0o644)
	me := passwd.Entry{UID: os.Getuid(), GID: os.Getgid(), Home: home, Shell: "/bin/sh"}
	ftp := me
	ftp.Shell = "/bin/false"
	x, err := New(Config{
		Aliases: aliases, Shells: shells, Host: "mx", Forward: []string{"$home/.forward.$host+$detail", "$z/.forward+$h", "$z/.forward.$w", "$home/.forward"},
		Users: passwd.Static{"root": {UID: 0, Home: "/nonexistent"}, "bob": me, "ftp": ftp, "a+b": {UID: me.UID, Home: "/nonexistent"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return x, home
}

func put(t *testing.T, name, text string, mode os.FileMode) {
	t.Helper()
	_ = os.Remove(name)
	if err := os.WriteFile(name, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(name, mode); err != nil {
		t.Fatal(err)
	}
}

func TestAliases(t *testing.T) {
	aliases := aliasMap{
		"list": `bob, \carol, "|prog a", /var/x, x@y`, "owner-list": "carol", "team": "bob", "owner-team": "a, b", "bob": "bob, x@y", "sup+*": "any", "sup+x": "exact", "sup": "plain",
		"empty": "", "broken": `"bob`, "down": "!", "down2": "x", "owner-down2": "!", "loop": "loop2", "loop2": "loop",
	}
	x, home := site(t, aliases)
	for key, file := range map[string]string{"inc": "list", "noinc": "none", "ring": "ring", "unsafe": "unsafe", "emptyinc": "nothing"} {
		aliases[key] = ":include:" + home + "/" + file
	}
	put(t, home+"/list", "# members\nbob, carol\n\n\\dave\n|prog\n", 0o644)
	put(t, home+"/nothing", "# nobody\n", 0o644)
	put(t, home+"/unsafe", "bob\n|prog\n/file\n", 0o666)
	put(t, home+"/ring", "bob\n:include:"+home+"/ring\n", 0o644)
	me := "[|prog]" // a root-owned list is the administrator's
	if os.Getuid() != 0 {
		me = "[5.7.1:|prog]" // passwd.Static does not know user ids: nobody to run it as
	}
	for _, c := range []struct {
		user User
		want string
	}{
		{User{Name: "list"}, `[bob] [carol final] [|prog a] [/var/x] [x@y] owner carol`},
		{User{Name: "LIST"}, `[bob] [carol final] [|prog a] [/var/x] [x@y] owner carol`},
		{User{Name: `"list"`}, `[bob] [carol final] [|prog a] [/var/x] [x@y] owner carol`},
		{User{Name: "list+d"}, `[bob] [carol final] [|prog a] [/var/x] [x@y] owner carol`},
		{User{Name: "team"}, "[bob] owner owner-team"},
		{User{Name: "bob"}, "[bob noalias] [x@y]"},
		{User{Name: "bob", Stage: StageNoAlias, Trail: []string{"bob"}}, "mailbox bob"},
		{User{Name: `\bob`}, "mailbox bob"},
		{User{Name: "sup+x"}, "[exact]"},
		{User{Name: "sup+y"}, "[any]"},
		{User{Name: "sup"}, "[plain]"},
		{User{Name: "owner-list"}, "[carol]"},
		{User{Name: "empty"}, "failed 5.1.1"},
		{User{Name: "emptyinc"}, "failed 5.4.6"},
		{User{Name: "broken"}, "error"},
		{User{Name: "down"}, "error"},
		{User{Name: "down2"}, "error"},
		{User{Name: "inc"}, "[bob] [carol] [dave final] " + me},
		{User{Name: "unsafe"}, "[5.2.4::include:" + home + "/unsafe]"},
		{User{Name: "noinc"}, "[5.2.4::include:" + home + "/none]"},
		{User{Name: "ring"}, strings.Repeat("[bob] ", 10) + "[5.4.6::include:" + home + "/ring]"},
		{User{Name: "loop"}, "[loop2]"},
		{User{Name: "loop", Trail: []string{"loop", "loop2"}, Depth: 2}, "failed 5.4.6"},
		{User{Name: "list", Depth: 10}, "failed 5.4.6"},
		{User{Name: "list", Stage: StageFinal}, "failed 5.1.1"},
		{User{Name: "nobody-here"}, "failed 5.1.1"},
		{User{Name: ""}, "failed 5.1.1"},
		{User{Name: "+x"}, "failed 5.1.1"},
		{User{Name: "a\nb"}, "failed 5.1.1"},
		{User{Name: "../etc/passwd"}, "failed 5.1.1"},
		{User{Name: "a+b"}, "mailbox a+b"},
		{User{Name: "ROOT+x"}, "mailbox root +x"},
		{User{Name: "Postmaster"}, "[root]"},
		{User{Name: "MAILER-DAEMON"}, "[postmaster]"},
		{User{Name: "postmaster", Trail: []string{"postmaster"}}, "failed 5.1.1"},
	} {
		if got := describe(x.Expand(context.Background(), c.user)); got != c.want {
			t.Errorf("%+v:\n got %s\nwant %s", c.user, got, c.want)
		}
	}
}

func TestForward(t *testing.T) {
	x, home := site(t, nil)
	fwd := home + "/.forward"
	expect := func(what, name, want string) {
		t.Helper()
		if os.Getuid() == 0 { // what root's own lists name runs as the default user
			want = strings.ReplaceAll(want, " as bob", "")
		}
		if got := describe(x.Expand(context.Background(), User{Name: name})); got != want {
			t.Errorf("%s:\n got %s\nwant %s", what, got, want)
		}
	}
	expect("none", "bob", "mailbox bob")
	put(t, fwd, "", 0o644)
	expect("empty", "bob", "mailbox bob")
	put(t, fwd, "# comment\nx@y\n\\bob, bob\n\"|prog a\"\n/file\n", 0o600)
	expect("full", "bob", "[x@y] [bob final] [bob final] [|prog a as bob] [/file as bob]")
	expect("with detail", "bob+d", "[x@y] [bob final] [bob final] [|prog a as bob] [/file as bob]")
	expect("no shell", "ftp", "[x@y] [bob final] [bob] [5.7.1:|prog a] [5.7.1:/file]")
	put(t, fwd+"+d", "detail@y\n", 0o600)
	expect("file of a detail", "bob+d", "[detail@y]")
	expect("detail that is a path", "bob+../x", "[x@y] [bob final] [bob final] [|prog a as bob] [/file as bob]")
	put(t, fwd+".mx", "host@y", 0o600)
	expect("file of a host", "bob", "[host@y]")
	_ = os.Remove(fwd + ".mx")
	put(t, fwd, "x@y\n\"unbalanced\n", 0o600)
	if r, err := x.Expand(context.Background(), User{Name: "bob"}); err == nil || strings.Contains(err.Error(), "unbalanced\n") || !strings.Contains(err.Error(), ".forward:1:") && !strings.Contains(err.Error(), ".forward:2:") {
		t.Errorf("broken file: %s, %v", describe(r, nil), err)
	}
	for _, mode := range []os.FileMode{0o660, 0o606} {
		put(t, fwd, "x@y\n", mode)
		expect("writable by others", "bob", "mailbox bob")
	}
	put(t, fwd, "x@y\n", 0o600)
	if err := os.Chmod(home, 0o777); err != nil {
		t.Fatal(err)
	}
	expect("directory writable by others", "bob", "mailbox bob")
	if err := os.Chmod(home, 0o755); err != nil {
		t.Fatal(err)
	}
	// two users who forward to each other both get it
	if got := describe(x.Expand(context.Background(), User{Name: "bob", Trail: []string{"bob", "ftp"}, Depth: 2})); got != "mailbox bob" {
		t.Errorf("forwarding loop: %s", got)
	}
	put(t, fwd, "ftp, x@y\n", 0o600)
	if got := describe(x.Expand(context.Background(), User{Name: "bob", Trail: []string{"ftp"}, Depth: 1})); got != "[ftp] [x@y] [bob final]" {
		t.Errorf("who sends it round keeps a copy: %s", got)
	}
	_ = os.Remove(fwd)
	if err := os.Mkdir(fwd, 0o700); err != nil {
		t.Fatal(err)
	}
	expect("a directory", "bob", "mailbox bob")
}

// A user may not make us read what he may not read: the error text of a list that is not understood would show it.
func TestForwardReadsAsTheUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir, err := os.MkdirTemp("/tmp", "expand")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	home := dir + "/home"
	if err := os.Mkdir(home, 0o755); err != nil {
		t.Fatal(err)
	}
	put(t, dir+"/secret", "secret-name@x\n", 0o600)
	put(t, home+"/.forward", "bob, :include:"+dir+"/secret, \"|prog\"\n", 0o644)
	for _, name := range []string{home, home + "/.forward"} {
		if err := os.Chown(name, 20001, 20001); err != nil {
			t.Fatal(err)
		}
	}
	x, err := New(Config{Forward: []string{"$home/.forward"}, Users: passwd.Static{"bob": {UID: 20001, GID: 20001, Home: home}, "eve": {UID: 20002, GID: 20002, Home: home}}})
	if err != nil {
		t.Fatal(err)
	}
	if got := describe(x.Expand(context.Background(), User{Name: "bob"})); got != "[bob final] [5.2.4::include:"+dir+"/secret] [|prog as bob]" {
		t.Errorf("bob: %s", got)
	}
	if got := describe(x.Expand(context.Background(), User{Name: "eve"})); got != "mailbox eve" {
		t.Errorf("eve uses a .forward file of bob: %s", got)
	}
	if err := os.Remove(home + "/.forward"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(dir+"/secret", home+"/.forward"); err != nil {
		t.Fatal(err)
	}
	if got := describe(x.Expand(context.Background(), User{Name: "bob"})); got != "mailbox bob" {
		t.Errorf("a link to a file of root: %s", got)
	}
}
