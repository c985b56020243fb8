package praliases

import (
	"errors"
	"strings"
	"testing"
)

type source [][2]string

func (s source) Each(f func(name, members string) error) error {
	for _, e := range s {
		if err := f(e[0], e[1]); err != nil {
			return err
		}
	}
	return nil
}

func (s source) Lookup(name string) (string, bool, error) {
	for _, e := range s {
		if e[0] == name {
			return e[1], true, nil
		}
	}
	return "", false, nil
}

type broken struct{ source }

func (broken) Lookup(string) (string, bool, error) { return "", false, errors.New("not now") }

// What Debian's praliases prints for the same aliases.
func TestPrint(t *testing.T) {
	first, second := source{{"@", "@"}, {"a", "b"}, {"team", "x, y"}}, source{{"b", "c\x1b[2J"}}
	for _, c := range []struct {
		args string
		want string
	}{
		{"", "@:@\na:b\nteam:x, y\nb:c?[2J\n"},
		{"team nosuch A", "team:x, y\nnosuch: No such key\nA: No such key\n"},
		{"-f /x b", "b:c?[2J\n"},
	} {
		o, err := Parse(strings.Fields(c.args))
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		if exit, err := Print(&out, o, first, second); exit != 0 || err != nil || out.String() != c.want {
			t.Errorf("%q: exit %d, %v, %q", c.args, exit, err, out.String())
		}
	}
	if exit, err := Print(&strings.Builder{}, Options{Keys: []string{"a"}}, broken{}); exit != 75 || err == nil {
		t.Errorf("a lookup that fails: exit %d, %v", exit, err)
	}
}

func TestParse(t *testing.T) {
	o, err := Parse([]string{"-C", "x.cf", "-ffile", "--", "-k", "l"})
	if err != nil || o.Config != "x.cf" || o.File != "file" || strings.Join(o.Keys, " ") != "-k l" {
		t.Errorf("%+v %v", o, err)
	}
	for _, args := range []string{"-x", "-C", "-f"} {
		if _, err := Parse(strings.Fields(args)); err == nil || !strings.HasSuffix(err.Error(), "usage: praliases [-C cffile] [-f aliasfile] [key ...]") {
			t.Errorf("%q: %v", args, err)
		}
	}
}
