package table

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"waybill/rules/prog"
)

func openRoutes(t *testing.T, text string) (Table, string) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "paths")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	table, err := Open(&prog.Table{Name: "paths", Class: "pathalias", Args: []string{name}}, Env{Native: true})
	if err != nil {
		t.Fatal(err)
	}
	return table, name
}

func TestRoutes(t *testing.T) {
	table, name := openRoutes(t, "# made by pathalias\nGamma\tbeta!gamma!%s\n.rutgers.edu\tseismo!%s\n.edu\tgw!%s\n120\tcost.example\tbeta!cost!%s\n\nlocalhost\t%s\n"+
		"odd\tbeta!%s%%x@gw\nbroken\nnoaddress\tbeta!x\n")
	for _, c := range []struct{ host, user, want string }{
		{"gamma", "bob", "beta!gamma!bob"},
		{"GAMMA", "delta!bob", "beta!gamma!delta!bob"},
		{"gamma.", "bob", "beta!gamma!bob"},
		{"caip.rutgers.edu", "pleasant", "seismo!caip.rutgers.edu!pleasant"},
		{"a.b.rutgers.edu", "x", "seismo!a.b.rutgers.edu!x"},
		{"rutgers.edu", "x", "gw!rutgers.edu!x"},
		{"CAIP.Rutgers.EDU", "x", "seismo!CAIP.Rutgers.EDU!x"},
		{"cost.example", "x", "beta!cost!x"},
		{"localhost", "x", "x"},
		{"odd", "x", "beta!x%x@gw"},
		{"gamma", "%s%%%0%1$(id)", "beta!gamma!%s%%%0%1$(id)"}, // data
		{"caip.rutgers.edu", "", "seismo!caip.rutgers.edu!"},
	} {
		r, found, err := table.Lookup(context.Background(), c.host, []string{c.user})
		if err != nil || !found || r.Value != c.want || r.Pos.File != name || r.Pos.Line == 0 {
			t.Errorf("%s %s: %+v %v %v, want %s", c.host, c.user, r, found, err, c.want)
		}
	}
	for _, host := range []string{"", ".", "..", "edu", "example", "x.example", "broken", "noaddress", "gamma.example", "%s"} {
		if r, found, err := table.Lookup(context.Background(), host, []string{"x"}); found || err != nil {
			t.Errorf("%q: %+v %v", host, r, err)
		}
	}
	if r, _, _ := table.Lookup(context.Background(), "caip.rutgers.edu", nil); r.Value != "seismo!caip.rutgers.edu!%s" {
		t.Errorf("without an address: %s", r.Value)
	}
	if w := table.(interface{ Warnings() []Warning }).Warnings(); len(w) != 2 || w[0].Pos.Line != 9 {
		t.Errorf("warnings: %v", w)
	}
	if err := os.WriteFile(name, []byte("gamma new!%s\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(name, time.Now(), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if changed, err := table.(Reloader).Reload(); !changed || err != nil {
		t.Errorf("reload: %v %v", changed, err)
	}
	if r, _, _ := table.Lookup(context.Background(), "gamma", []string{"x"}); r.Value != "new!x" {
		t.Errorf("after the change: %s", r.Value)
	}
}
