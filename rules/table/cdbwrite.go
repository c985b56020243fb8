package table

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
)

// ReadCDB reads all records of a cdb file.
func ReadCDB(data []byte) ([]Entry, error) {
	if len(data) < cdbHeader {
		return nil, fmt.Errorf("%w: only %d octets", errDamaged, len(data))
	}
	le := binary.LittleEndian
	end := uint64(len(data)) // the records end where the first table begins
	for i := range 256 {
		at, slots := uint64(le.Uint32(data[8*i:])), uint64(le.Uint32(data[8*i+4:]))
		if at < cdbHeader || at+8*slots > uint64(len(data)) {
			return nil, fmt.Errorf("%w: table %d at %d", errDamaged, i, at)
		}
		end = min(end, at)
	}
	var all []Entry
	for at := uint64(cdbHeader); at < end; {
		if at+8 > end {
			return nil, fmt.Errorf("%w: record at %d", errDamaged, at)
		}
		k, v := uint64(le.Uint32(data[at:])), uint64(le.Uint32(data[at+4:]))
		if at+8+k+v > end {
			return nil, fmt.Errorf("%w: record at %d", errDamaged, at)
		}
		at += 8
		all = append(all, Entry{data[at : at+k : at+k], data[at+k : at+k+v : at+k+v]})
		at += k + v
	}
	return all, nil
}

func cdbHash(key []byte) uint32 {
	h := uint32(5381)
	for _, c := range key {
		h = (h<<5 + h) ^ uint32(c)
	}
	return h
}

// WriteCDB writes a cdb file.
func WriteCDB(w io.Writer, all []Entry) error {
	type slot struct{ hash, at uint32 }
	var tables [256][]slot
	le := binary.LittleEndian
	body := bytes.NewBuffer(make([]byte, cdbHeader))
	for _, e := range all {
		if uint64(body.Len())+uint64(len(e.Key)+len(e.Value))+16*uint64(len(all)) > 1<<32-64 {
			return errTooBig
		}
		h := cdbHash(e.Key)
		tables[h&255] = append(tables[h&255], slot{h, uint32(body.Len())})
		body.Write(le.AppendUint32(le.AppendUint32(nil, uint32(len(e.Key))), uint32(len(e.Value))))
		body.Write(e.Key)
		body.Write(e.Value)
	}
	head := make([]byte, cdbHeader)
	for i, t := range tables {
		n := uint32(2 * len(t))
		le.PutUint32(head[8*i:], uint32(body.Len()))
		le.PutUint32(head[8*i+4:], n)
		slots := make([]slot, n)
		for _, s := range t {
			j := (s.hash >> 8) % n
			for slots[j].at != 0 {
				j = (j + 1) % n
			}
			slots[j] = s
		}
		for _, s := range slots {
			body.Write(le.AppendUint32(le.AppendUint32(nil, s.hash), s.at))
		}
	}
	out := body.Bytes()
	copy(out, head)
	_, err := w.Write(out)
	return err
}
