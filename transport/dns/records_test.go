package dns

import (
	"context"
	"reflect"
	"testing"
)

func TestRecordsAsTablesSeeThem(t *testing.T) {
	zone, err := ParseZone("alias.test CNAME real.test\nreal.test A 192.0.2.1\nreal.test MX 10 mx.real.test\n!servfail broken.test\n")
	if err != nil {
		t.Fatal(err)
	}
	r := Static(zone)
	for _, c := range []struct {
		name, typ string
		want      []Record
		exists    bool
	}{
		{"real.test", "A", []Record{{Name: "real.test", Type: "A", Value: "192.0.2.1"}}, true},
		{"real.test", "mx", []Record{{Name: "real.test", Type: "MX", Value: "10 mx.real.test"}}, true},
		{"alias.test", "A", []Record{{Name: "alias.test", Type: "CNAME", Value: "real.test"}, {Name: "real.test", Type: "A", Value: "192.0.2.1"}}, true},
		{"real.test", "TXT", nil, true},
		{"no.test", "A", nil, false},
	} {
		got, exists, err := r.Records(context.Background(), c.name, c.typ)
		if err != nil || exists != c.exists || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s %s: got %v %v %v, want %v %v", c.name, c.typ, got, exists, err, c.want, c.exists)
		}
	}
	if _, _, err := r.Records(context.Background(), "broken.test", "A"); err == nil {
		t.Error("a server failure must be an error, not an absence")
	}
}
