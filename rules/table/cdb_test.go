package table

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"waybill/rules/prog"
)

// makeCDB writes a constant database as its description says: records, then the 256 hash tables with twice as many slots
// as they have records.
func makeCDB(pairs [][2]string) []byte {
	var records bytes.Buffer
	type slot struct{ hash, at uint32 }
	var tables [256][]slot
	put := func(b *bytes.Buffer, n ...uint32) {
		for _, v := range n {
			b.Write(binary.LittleEndian.AppendUint32(nil, v))
		}
	}
	for _, p := range pairs {
		h := uint32(5381)
		for _, c := range []byte(p[0]) {
			h = ((h << 5) + h) ^ uint32(c)
		}
		tables[h&255] = append(tables[h&255], slot{h, uint32(2048 + records.Len())})
		put(&records, uint32(len(p[0])), uint32(len(p[1])))
		records.WriteString(p[0] + p[1])
	}
	var head, tail bytes.Buffer
	for _, t := range tables {
		n := uint32(2 * len(t))
		put(&head, uint32(2048+records.Len()+tail.Len()), n)
		slots := make([]slot, n)
		for _, s := range t {
			i := s.hash >> 8 % max(n, 1)
			for slots[i].at != 0 {
				i = (i + 1) % n
			}
			slots[i] = s
		}
		for _, s := range slots {
			put(&tail, s.hash, s.at)
		}
	}
	return append(append(head.Bytes(), records.Bytes()...), tail.Bytes()...)
}

func TestConstantDatabase(t *testing.T) {
	var pairs [][2]string
	for i := range 2000 {
		pairs = append(pairs, [2]string{fmt.Sprintf("host%d.example", i), fmt.Sprintf("esmtp:hub%d", i)})
	}
	pairs = append(pairs, [2]string{"ended\x00", "value\x00"}, [2]string{"twice", "first"}, [2]string{"twice", "second"}, [2]string{"arg", "x%1"})
	file := filepath.Join(t.TempDir(), "hops.cdb")
	data := makeCDB(pairs)
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
	open := func(args ...string) Table {
		t.Helper()
		tab, err := Open(&prog.Table{Name: "hops", Class: "cdb", Args: args}, Env{Native: true})
		if err != nil {
			t.Fatal(err)
		}
		return tab
	}
	tab := open(file[:len(file)-4]) // the end of the name may be left out
	for key, want := range map[string]string{"host0.example": "esmtp:hub0", "HOST1999.example": "esmtp:hub1999", "host2000.example": "", "ended": "value", "twice": "first", "": "", "arg": "xy"} {
		r, found, err := tab.Lookup(context.Background(), key, []string{"y"})
		if err != nil || found != (want != "") || r.Value != want || found && r.Pos.File != file {
			t.Errorf("%s: %+v %v %v, want %s", key, r, found, err, want)
		}
	}
	if _, found, _ := open("-N", file).Lookup(context.Background(), "twice", nil); found {
		t.Error("-N: a key without an octet 0 is found")
	}
	if _, found, _ := open("-O", file).Lookup(context.Background(), "ended", nil); found {
		t.Error("-O: a key with an octet 0 is found")
	}
	for n, broken := range [][]byte{nil, data[:2000], data[:len(data)-100], append([]byte{255, 255, 255, 255, 9}, data[5:]...)} {
		if err := os.WriteFile(file, broken, 0o644); err != nil {
			t.Fatal(err)
		}
		if changed, err := tab.(Reloader).Reload(); changed || err == nil {
			t.Errorf("damage %d: changed %v, %v", n, changed, err)
		}
	}
	if r, found, err := tab.Lookup(context.Background(), "host7.example", nil); !found || err != nil || r.Value != "esmtp:hub7" {
		t.Errorf("after a damaged file: %+v %v %v", r, found, err)
	}
}

// FuzzConstantDatabase: no file makes reading or asking fail otherwise than with an error.
func FuzzConstantDatabase(f *testing.F) {
	f.Add(makeCDB([][2]string{{"a", "b"}, {"c", "d"}}), "a")
	f.Add(make([]byte, 2048), "x")
	f.Fuzz(func(t *testing.T, data []byte, key string) {
		c, _, err := (&flags{}).loadCDB(bytes.NewReader(data), "f")
		if err == nil {
			c.lookup(key, nil)
		}
	})
}
