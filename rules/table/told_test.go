package table

import (
	"context"
	"errors"
	"testing"

	"waybill/rules/prog"
)

// whims is a DNS in which a name's first label says what happens.
type whims struct{}

func (whims) Query(_ context.Context, name, typ string) ([]Record, bool, error) {
	switch name {
	case "tmp.example.org", "1.2.0.192.in-addr.arpa":
		return nil, false, errors.New("no answer")
	case "here.example.org", "a%%b.example.org", "a%0b.example.org", "a%1b.example.org", "a%zb.example.org":
		if typ == "MX" {
			return []Record{{Name: name, Type: "MX", Value: "5 mx.example.org"}}, true, nil
		}
		return []Record{{Name: name, Type: "A", Value: "192.0.2.9"}}, true, nil
	case "nomx.example.org":
		return nil, true, nil
	case "loop1.example.org", "LOOP1.example.org":
		return []Record{{Name: name, Type: "CNAME", Value: "loop2.example.org"}}, true, nil
	case "loop2.example.org":
		return []Record{{Name: name, Type: "CNAME", Value: "loop1.example.org"}}, true, nil
	}
	return nil, false, nil
}

// TestLastErrorOfTheResolver: for a literal that is no address sendmail shows the last error, whatever it was about, and
// goes on to show it for that literal.
func TestLastErrorOfTheResolver(t *testing.T) {
	for _, c := range []struct {
		hosts, mxs []string
		want       int
	}{
		{nil, nil, 69},
		{[]string{"here.example.org"}, nil, 68},
		{[]string{"tmp.example.org"}, nil, 75},
		{[]string{"[192.0.2.1]"}, nil, 75},
		{[]string{"[192.0.2.7]"}, nil, 68},
		{[]string{"tmp.example.org", "here.example.org"}, nil, 68},
		{nil, []string{"a..b"}, 70},
		{nil, []string{"gone.example.org"}, 68},
		{nil, []string{"gone.example.org", "nomx.example.org"}, 69},
		{[]string{"tmp.example.org"}, []string{"here.example.org"}, 75},
	} {
		env := Env{Resolver: whims{}}.Shared()
		open := func(class string) Table {
			x, err := Open(&prog.Table{Name: class, Class: class}, env)
			if err != nil {
				t.Fatal(err)
			}
			return x
		}
		host, best := open("host"), open("bestmx")
		for _, name := range c.hosts {
			host.Lookup(context.Background(), name, nil)
		}
		for _, name := range c.mxs {
			best.Lookup(context.Background(), name, nil)
		}
		miss := host.(interface{ Miss(string) int }).Miss
		if got := miss("[256.1.1.1]"); got != c.want {
			t.Errorf("after %v %v: %d, want %d", c.hosts, c.mxs, got, c.want)
		}
		host.Lookup(context.Background(), "tmp.example.org", nil)
		if got := miss("[256.1.1.1]"); got != c.want {
			t.Errorf("after %v %v, once more: %d, want %d", c.hosts, c.mxs, got, c.want)
		}
		if got := miss("[1.2.3]"); got != 68 {
			t.Errorf("an address in the old way: %d", got)
		}
		for name, want := range map[string]int{"a..b": 0, ".": 68, "..": 0, "gone.example.org": 68, "nomx.example.org": 0} {
			if got := best.(interface{ Miss(string) int }).Miss(name); got != want {
				t.Errorf("bestmx %s: %d, want %d", name, got, want)
			}
		}
	}
}

// TestLoopsAreToldOncePerSpelling: a loop of CNAMEs is told once for each spelling of the name.
func TestLoopsAreToldOncePerSpelling(t *testing.T) {
	host, err := Open(&prog.Table{Name: "host", Class: "host"}, Env{Resolver: whims{}}.Shared())
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range []struct {
		name string
		told bool
	}{{"loop1.example.org", true}, {"loop1.example.org", false}, {"LOOP1.example.org", true}, {"LOOP1.example.org", false}, {"loop1.example.org", false}} {
		_, found, err := host.Lookup(context.Background(), c.name, nil)
		var says *Complaint
		if found || errors.As(err, &says) != c.told {
			t.Errorf("%d: %s: %v %v", i, c.name, found, err)
		}
	}
	var many told
	for i := range maxTold + 5 {
		many.again(string(rune(i + 100)))
		many.last(string(rune(i + 100)))
	}
	if len(many.loops) > maxTold || len(many.missed) > maxTold {
		t.Error("names from the network are remembered without end")
	}
}

// TestDequoteLeavesTabs: what has a tab inside its quotes keeps them, as with sendmail.
func TestDequoteLeavesTabs(t *testing.T) {
	x, err := Open(&prog.Table{Name: "d", Class: "dequote", Args: []string{"-s_"}}, Env{})
	if err != nil {
		t.Fatal(err)
	}
	if r, found, err := x.Lookup(context.Background(), "\"a\tb\"@c", nil); found || err != nil {
		t.Errorf("%q %v", r.Value, err)
	}
	if r, found, _ := x.Lookup(context.Background(), `"a b"@c`, nil); !found || r.Value != "a_b@c" {
		t.Errorf("%q %v", r.Value, found)
	}
}

// With a sendmail.cf what DNS knows of a host is a value like any other, in which %% and the like mean something.
func TestNamesOfHostsAreValues(t *testing.T) {
	for _, c := range []struct {
		name, want, native string
	}{
		{"a%%b.example.org", "a%b.example.org.", "a%%b.example.org."},
		{"a%0b.example.org", "aa%0b.example.orgb.example.org.", "a%0b.example.org."},
		{"a%1b.example.org", "aargb.example.org.", "a%1b.example.org."},
		{"a%zb.example.org", "a%zb.example.org.", "a%zb.example.org."},
	} {
		for _, native := range []bool{false, true} {
			h, err := Open(&prog.Table{Name: "host", Class: "host"}, Env{Resolver: whims{}, Native: native}.Shared())
			if err != nil {
				t.Fatal(err)
			}
			want := c.want
			if native {
				want = c.native
			}
			if r, found, err := h.Lookup(context.Background(), c.name, []string{"arg"}); r.Value != want || !found || err != nil {
				t.Errorf("%s (native %v): %q %v %v", c.name, native, r.Value, found, err)
			}
		}
	}
}
