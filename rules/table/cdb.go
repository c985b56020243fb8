package table

import (
	"encoding/binary"
	"fmt"
	"io"

	"waybill/rules/prog"
)

// constant is the content of a constant database (https://cr.yp.to/cdb/cdb.txt): 256 hash tables, whose places stand at
// the beginning of the file, point at records of key and value. It is used as it stands in the file; a lookup looks at
// the slots of one table until one is free. Keys are compared as they are, but for the octet 0 that some makers of such
// files put behind them.
type constant struct {
	name string
	data []byte
	f    *flags
}

const cdbHeader = 256 * 8

// loadCDB reads a constant database and looks at its structure once, so that lookups meet no surprise.
func (f *flags) loadCDB(r io.Reader, name string) (content, []Warning, error) {
	data, err := whole(r)
	if err != nil {
		return nil, nil, err
	}
	c := &constant{name, data, f}
	if len(data) < cdbHeader {
		return nil, nil, fmt.Errorf("%w: only %d octets", errDamaged, len(data))
	}
	for i := range uint32(256) {
		at, slots := c.table(i)
		if slots > 0 && (at < cdbHeader || uint64(at)+8*uint64(slots) > uint64(len(data))) {
			return nil, nil, fmt.Errorf("%w: hash table %d lies outside of the file", errDamaged, i)
		}
		for n := range slots {
			place := c.number(at + 8*n + 4)
			if place == 0 {
				continue
			}
			if _, _, ok := c.record(place); !ok {
				return nil, nil, fmt.Errorf("%w: a record lies outside of the file", errDamaged)
			}
		}
	}
	return c, nil, nil
}

func (c *constant) number(at uint32) uint32 { return binary.LittleEndian.Uint32(c.data[at:]) }

// table returns the place of a hash table and the number of its slots.
func (c *constant) table(hash uint32) (at, slots uint32) {
	i := 8 * (hash & 255)
	return c.number(i), c.number(i + 4)
}

// record returns key and value of the record at a place.
func (c *constant) record(at uint32) (key, value []byte, ok bool) {
	if uint64(at)+8 > uint64(len(c.data)) {
		return nil, nil, false
	}
	kn, vn := uint64(c.number(at)), uint64(c.number(at+4))
	rest := c.data[at+8:]
	if kn+vn > uint64(len(rest)) {
		return nil, nil, false
	}
	return rest[:kn], rest[kn : kn+vn], true
}

func (c *constant) lookup(key string, _ []string) (Result, bool) {
	forms := []string{key, key + "\x00"}
	switch {
	case c.f.set['N']:
		forms = forms[1:]
	case c.f.set['O']:
		forms = forms[:1]
	}
	for _, k := range forms {
		if v, ok := c.get(k); ok {
			if n := len(v); len(k) > len(key) && n > 0 && v[n-1] == 0 {
				v = v[:n-1]
			}
			return Result{Value: string(v), Pos: prog.Pos{File: c.name}}, true
		}
	}
	return Result{}, false
}

// get finds the first record with a key.
func (c *constant) get(key string) ([]byte, bool) {
	hash := uint32(5381)
	for i := range len(key) {
		hash = (hash<<5 + hash) ^ uint32(key[i])
	}
	at, slots := c.table(hash)
	for n := range slots {
		slot := at + 8*((hash>>8+n)%slots)
		place := c.number(slot + 4)
		if place == 0 {
			return nil, false
		}
		if c.number(slot) != hash {
			continue
		}
		if k, v, ok := c.record(place); ok && string(k) == key {
			return v, true
		}
	}
	return nil, false
}

// suffixCDB puts ".cdb" behind the file's name, where it belongs.
func (f *flags) suffixCDB() { f.suffixWith(".cdb") }
