package table

import (
	"bytes"
	"encoding/binary"
)

// The values of a key that has many stand on pages of their own, in a tree of type recno without an order, as libdb puts
// them there: it does so when they take more than a quarter of a page.
const (
	apartHash  = 4 // types of the items that point to such a tree
	apartBtree = 2
)

// sameKey returns the end of the entries that begin at i and have its key, and whether their values belong apart.
func sameKey(all []Entry, i int) (end int, apart bool) {
	size := 0
	for end = i; end < len(all) && bytes.Equal(all[end].Key, all[i].Key); end++ {
		size += len(all[end].Value) + 5
	}
	return end, end-i > 1 && size > pageSize/4
}

// many puts the values of a key on pages of their own and returns the root of their tree.
func (s *sheaf) many(values []Entry) uint32 {
	le := binary.LittleEndian
	type child struct{ page, records uint32 }
	var row []child
	var at uint32
	for _, v := range values {
		item := s.btreeItem(v.Value)
		if at == 0 || room(s.pages[at]) < len(item)+2 {
			n := s.add(pageRecordLeaf, 1)
			if at != 0 {
				le.PutUint32(s.pages[at][16:], n)
				le.PutUint32(s.pages[n][12:], at)
			}
			at = n
			row = append(row, child{n, 0})
		}
		if s.err != nil {
			return 0
		}
		put(s.pages[at], item)
		row[len(row)-1].records++
	}
	for level := byte(2); len(row) > 1; level++ {
		var above []child
		at = 0
		for _, c := range row {
			if at == 0 || room(s.pages[at]) < 8+2 {
				at = s.add(pageRecords, level)
				above = append(above, child{at, 0})
			}
			if s.err != nil {
				return 0
			}
			put(s.pages[at], le.AppendUint32(le.AppendUint32(nil, c.page), c.records))
			above[len(above)-1].records += c.records
		}
		row = above
		le.PutUint32(s.pages[row[0].page][12:], row[0].records) // counts in the root
	}
	return row[0].page
}

// apartItem points to the tree with the values of a key.
func apartItem(hash bool, root uint32) []byte {
	if hash {
		item := make([]byte, 8)
		item[0] = apartHash
		binary.LittleEndian.PutUint32(item[4:], root)
		return item
	}
	item := make([]byte, 12)
	item[2] = apartBtree
	binary.LittleEndian.PutUint32(item[4:], root)
	return item
}
