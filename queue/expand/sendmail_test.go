package expand

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"waybill/transport/passwd"
)

// sendmailSite is a site in sendmail's ways; bob, carol and dave are users.
func sendmailSite(t *testing.T, aliases aliasMap, ways *Sendmail) (*Expander, string) {
	t.Helper()
	_, home := site(t, nil)
	me := passwd.Entry{UID: os.Getuid(), GID: os.Getgid(), Home: home, Shell: "/bin/sh"}
	away := me
	away.Home = "/nonexistent"
	x, err := New(Config{
		Aliases: aliases, Users: passwd.Static{"bob": me, "carol": away, "dave": away, "a+b": away}, Forward: []string{"$home/.forward+$detail", "$home/.forward"},
		LastFirst: true, Sendmail: ways, Host: "mx.here.test",
	})
	if err != nil {
		t.Fatal(err)
	}
	return x, home
}

func TestSendmailWays(t *testing.T) {
	aliases := aliasMap{
		"list-request": "x@y", "owner-list-request": "carol", "owner-list": "x@y", "owner-owner": "dave",
		"ring": "ring2", "ring2": "ring", "bob": "carol", "carol": "bob", "own": "bob, own",
		"prog": `|/bin/prog a "b c"`, "prog2": `"|/bin/prog a"`, "bs": `\bob`, "bsfar": `\x@y`, "paren": "bob (x, carol", "quote": `"bob, carol`, "open": `dave, "bob`, "lt": "<bob, carol", "gt": "bob>, carol",
		"remark": "(nobody)", "whole@mx.here.test": "dave", "owner-whole": "carol", "rel": ":include:f/list", "team+x": "dave", "team+*": "carol", "deep": "x@y",
	}
	x, home := sendmailSite(t, aliases, &Sendmail{})
	aliases["inc"] = ":include:" + home + "/list"
	put(t, home+"/list", "dave\nINC\n:include:"+home+"/list\n", 0o644)
	for _, c := range []struct {
		user User
		want string
	}{
		{User{Name: "list-request"}, "[x@y] owner carol"}, // not only lists have owners
		{User{Name: "owner-list"}, "[x@y] owner dave"},
		{User{Name: "remark"}, "failed 5.4.6"},
		{User{Name: "whole"}, "[dave] owner carol"}, // its key has our name behind it
		{User{Name: "ring", Trail: []string{"ring", "ring2"}}, "failed 5.4.6"},
		{User{Name: "bob", Trail: []string{"bob", "carol"}}, "[bob noalias]"},        // who has a mailbox ends the loop
		{User{Name: "bob", Detail: "+x", Trail: []string{"bob"}}, "[bob+x noalias]"}, // the detail comes along
		{User{Name: "ring", Trail: []string{"ring", "dave"}}, "[dave final]"},
		{User{Name: "own"}, "[bob] [own noalias] [own noalias]"}, // reported twice, since there is no such user
		{User{Name: "deep", Depth: 10}, "failed 5.4.6"},
		{User{Name: "prog"}, `[|/bin/prog a "b c"]`},
		{User{Name: "prog2"}, `["|/bin/prog a"]`},
		{User{Name: "bs"}, `[\bob final]`},
		{User{Name: "bsfar"}, `[\x@y final]`},
		{User{Name: "paren"}, "[bob]"},
		{User{Name: "quote"}, `["\"bob, carol"]`},
		{User{Name: "open"}, "[dave] [bob]"},
		{User{Name: "lt"}, "[bob] [carol]"},
		{User{Name: "gt"}, "[bob] [carol]"},
		{User{Name: "rel"}, "[5.2.4::include:f/list]"},
		{User{Name: "inc"}, "[dave]"}, // a file in itself, and a list in its own file, add nobody
		{User{Name: "team"}, "failed 5.1.1"},
		{User{Name: "team+y"}, "failed 5.1.1"}, // ruleset 5 tells details apart
		{User{Name: "dave+y"}, "failed 5.1.1"},
		{User{Name: "dave", Detail: "+y"}, "mailbox dave +y"},
		{User{Name: "mailer-daemon"}, "failed 5.1.1"},
		{User{Name: NoAlias + "bob"}, "mailbox bob"}, // sendmail -n
	} {
		r, err := x.Expand(context.Background(), c.user)
		got := describe(r, err)
		if !strings.EqualFold(got, c.want) {
			t.Errorf("%+v: got %s, want %s", c.user, got, c.want)
		}
		if odd := slices.Contains([]string{"paren", "quote", "open", "lt", "gt"}, c.user.Name); len(r.Odd) > 0 != odd {
			t.Errorf("%s: a list that is not well formed: %v, want %v", c.user.Name, r.Odd, odd)
		}
	}
	put(t, home+"/.forward", "dave\n<carol\n", 0o644)
	if r, err := x.Expand(context.Background(), User{Name: "bob", Stage: StageNoAlias}); err != nil || len(r.Odd) != 1 || r.Odd[0] != home+"/.forward: line 2: <carol... Unbalanced '<'" || len(r.Members) != 2 {
		t.Errorf("a .forward file with a bracket: %+v, %v", r, err)
	}
}

// drops is a user database: who goes where, with the sender behind a blank.
type drops map[string]string

func (d drops) Drops(user string) ([]string, string, error) {
	text, found := d[strings.ToLower(user)]
	if text == "error" {
		return nil, "", errors.New("cannot be read")
	}
	list, sender, _ := strings.Cut(text, " ")
	if !found {
		return nil, "", nil
	}
	return strings.Split(list, ","), sender, nil
}

// The user database is asked behind the aliases and before the .forward file, also for names without a mailbox.
func TestUserDatabase(t *testing.T) {
	x, home := sendmailSite(t, aliasMap{"alias": "x@y", "dave": "dave, y@z"}, &Sendmail{Database: drops{
		"bob": "carol@example.com,dave", "alias": "nobody", "team": "bob,x@y owner@example.net", "carol": "carol", "loop": "loop", "dave": "z@z", "broken": "error", "prog": "|/bin/p",
	}})
	put(t, home+"/.forward", "x@y\n", 0o644)
	for _, c := range []struct {
		user User
		want string
	}{
		{User{Name: "bob"}, "[carol@example.com] [dave]"},
		{User{Name: "BOB"}, "[carol@example.com] [dave]"},
		{User{Name: "bob", Stage: StageFinal}, "mailbox bob"},
		{User{Name: `\bob`}, "mailbox bob"},
		{User{Name: NoAlias + "bob"}, "[carol@example.com] [dave]"}, // sendmail -n is about aliases only
		{User{Name: "alias"}, "[x@y]"},
		{User{Name: "team"}, "[bob] [x@y] owner owner@example.net"},
		{User{Name: "carol"}, "[carol listed]"},
		{User{Name: "carol", Stage: StageListed, Trail: []string{"carol"}}, "mailbox carol"},
		{User{Name: "bob", Stage: StageListed, Trail: []string{"bob"}}, "[x@y]"}, // his .forward file
		{User{Name: "carol", Trail: []string{"carol"}}, "mailbox carol"},         // carol@this.host
		{User{Name: "loop"}, "[loop listed] [loop listed]"},                      // reported twice, since there is no such user
		{User{Name: "dave", Stage: StageNoAlias, Trail: []string{"dave"}}, "[z@z]"},
		{User{Name: "prog"}, "[|/bin/p]"},
		{User{Name: "bob", Depth: 10}, "failed 5.4.6"},
	} {
		r, err := x.Expand(context.Background(), c.user)
		if got := describe(r, err); !strings.EqualFold(got, c.want) {
			t.Errorf("%+v: got %s, want %s", c.user, got, c.want)
		}
	}
	if _, err := x.Expand(context.Background(), User{Name: "broken"}); err == nil {
		t.Error("a user database that cannot be read says no")
	}
}

// A user whose own alias names him still has his .forward file read, and once.
func TestForwardBehindOwnAlias(t *testing.T) {
	x, home := sendmailSite(t, aliasMap{"bob": "bob, x@y"}, &Sendmail{})
	put(t, home+"/.forward", "dave\n", 0o644)
	put(t, home+"/.forward+w", "carol\n", 0o644)
	for _, c := range []struct {
		user User
		want string
	}{
		{User{Name: "bob", Stage: StageNoAlias, Trail: []string{"bob"}}, "[dave]"},
		{User{Name: "bob", Stage: StageNoAlias, Trail: []string{"bob", "bob"}}, "mailbox bob"},
		{User{Name: "bob", Stage: StageFinal, Trail: []string{"bob"}}, "mailbox bob"},
		{User{Name: "bob", Stage: StageNoAlias, Detail: "+w"}, "[carol]"},
		{User{Name: NoAlias + "bob"}, "[dave]"},
	} {
		r, err := x.Expand(context.Background(), c.user)
		if got := describe(r, err); got != c.want {
			t.Errorf("%+v: got %s, want %s", c.user, got, c.want)
		}
	}
}

// TestUnsafeLists: what says that a file is not safe is asked with whose rights it is read, and a file that it forgives
// still names no programs and files unless it says so.
func TestUnsafeLists(t *testing.T) {
	var asked []ListFile
	var why error
	run := true
	ways := &Sendmail{Safe: func(l ListFile) (error, bool) { asked = append(asked, l); return why, run }}
	x, home := sendmailSite(t, aliasMap{"l": ":include:/nonexistent/list"}, ways)
	put(t, home+"/.forward", "\"|/bin/p\", /tmp/f, x@y\n", 0o666)
	forward := func() string {
		r, err := x.Expand(context.Background(), User{Name: "bob"})
		return strings.ReplaceAll(describe(r, err), " as bob", "") // root's own programs run as the default user
	}
	if got := forward(); got != `["|/bin/p"] [/tmp/f] [x@y]` {
		t.Errorf("safe: %s", got)
	}
	if len(asked) != 1 || !asked[0].Forward || asked[0].Opened == nil || asked[0].UID != os.Getuid() || asked[0].Path != home+"/.forward" {
		t.Errorf("asked %+v", asked)
	}
	run = false
	got := forward()
	for _, want := range []string{"x@y", `5.7.1:"|/bin/p"`, `5.7.1:/tmp/f`} {
		if !strings.Contains(got, want) {
			t.Errorf("unsafe: %s, without %s", got, want)
		}
	}
	why = errors.New("World writable directory")
	if got := forward(); got != "mailbox bob" {
		t.Errorf("refused: %s", got)
	}
	asked = nil
	r, err := x.Expand(context.Background(), User{Name: "l"})
	if len(asked) != 1 || asked[0].Forward || asked[0].Opened != nil || len(r.Members) != 1 || r.Members[0].Refused == nil || !strings.Contains(r.Members[0].Refused.Text(), "Cannot open /nonexistent/list: World writable directory") {
		t.Errorf("%+v: %s", asked, describe(r, err))
	}
}

// Two users who forward to each other keep a copy each, also where they write the name of this host.
func TestForwardRoundByFullNames(t *testing.T) {
	x, home := sendmailSite(t, nil, &Sendmail{})
	put(t, home+"/.forward", "carol@mx.here.test\n", 0o600)
	r, err := x.Expand(t.Context(), User{Name: "bob", Trail: []string{"carol"}, Depth: 1})
	if err != nil || len(r.Members) != 2 || !slices.ContainsFunc(r.Members, func(m Member) bool { return m.Addr == "bob" && m.Stage == StageFinal }) {
		t.Errorf("%+v, %v", r.Members, err)
	}
}
