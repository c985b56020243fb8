package table

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"slices"
)

// Entry is one key of a file with its value.
type Entry struct{ Key, Value []byte }

// The layout of what is written: version 9 of hash and btree, little-endian, as libdb 5.3 reads and changes it.
const (
	pageSize   = 4096
	dbVersion  = 9
	hashMeta   = 8
	btreeMeta  = 9
	internal   = 3
	keyData    = 1
	duplicates = 2
	offPage    = 3
	maxOnPage  = pageSize / 4 // longer items go to pages of their own
	maxPages   = 1 << 30 / pageSize * 4
	charKey    = "%$sniglet^&\x00" // its hash stands in the file, so that libdb knows the function
	hashDup    = 1
	btreeDup   = 1
)

var errTooMany = errors.New("too many entries for a Berkeley DB file")

// sheaf is a file that grows page by page.
type sheaf struct {
	pages [][]byte
	err   error
}

// add appends a page and returns its number.
func (s *sheaf) add(kind, level byte) uint32 {
	n := len(s.pages)
	if n >= maxPages {
		s.err = errTooMany
		n = 0
	}
	p := make([]byte, pageSize)
	binary.LittleEndian.PutUint32(p[4:], 1) // the sequence number of files without a log
	binary.LittleEndian.PutUint32(p[8:], uint32(n))
	binary.LittleEndian.PutUint16(p[22:], pageSize)
	p[24], p[25] = level, kind
	if s.err == nil {
		s.pages = append(s.pages, p)
	} else if n == 0 && len(s.pages) == 0 {
		s.pages = append(s.pages, p)
	}
	return uint32(n)
}

// big puts an item on pages of its own and returns the first.
func (s *sheaf) big(item []byte) uint32 {
	var first, prev uint32
	for off := 0; off == 0 || off < len(item); {
		part := item[off:min(len(item), off+pageSize-pageHeader)]
		n := s.add(pageOverflow, 0)
		p := s.pages[n]
		binary.LittleEndian.PutUint32(p[12:], prev)
		binary.LittleEndian.PutUint16(p[20:], 1) // used once
		binary.LittleEndian.PutUint16(p[22:], uint16(len(part)))
		copy(p[pageHeader:], part)
		if prev == 0 {
			first = n
		} else {
			binary.LittleEndian.PutUint32(s.pages[prev][16:], n)
		}
		prev = n
		off += len(part)
		if len(part) == 0 {
			break
		}
	}
	return first
}

// room is what is free on a page for one more index and item.
func room(p []byte) int {
	return int(binary.LittleEndian.Uint16(p[22:])) - pageHeader - 2*int(binary.LittleEndian.Uint16(p[20:]))
}

// put puts an item at the end of the free room of a page and its place into the index.
func put(p, item []byte) {
	n := int(binary.LittleEndian.Uint16(p[20:]))
	at := int(binary.LittleEndian.Uint16(p[22:])) - len(item)
	copy(p[at:], item)
	index(p, n, at)
	binary.LittleEndian.PutUint16(p[22:], uint16(at))
}

func index(p []byte, n, at int) {
	binary.LittleEndian.PutUint16(p[pageHeader+2*n:], uint16(at))
	binary.LittleEndian.PutUint16(p[20:], uint16(n+1))
}

// meta fills in the first page.
func (s *sheaf) meta(magic uint32, kind byte, flags uint32) []byte {
	p := s.pages[0]
	clear(p[20:])
	le := binary.LittleEndian
	le.PutUint32(p[12:], magic)
	le.PutUint32(p[16:], dbVersion)
	le.PutUint32(p[20:], pageSize)
	p[25] = kind
	le.PutUint32(p[32:], uint32(len(s.pages)-1))
	le.PutUint32(p[48:], flags)
	rand.Read(p[52:72]) // the file's identity
	return p
}

func (s *sheaf) write(w io.Writer) error {
	if s.err != nil {
		return s.err
	}
	for _, p := range s.pages {
		if _, err := w.Write(p); err != nil {
			return err
		}
	}
	return nil
}

// hash5 is libdb's hash function for keys.
func hash5(key []byte) uint32 {
	h := uint32(0)
	for _, c := range key {
		h = h*16777619 ^ uint32(c)
	}
	return h
}

// WriteHash writes a Berkeley DB file of type hash. Entries with equal keys must stand in a row; dup says that there may
// be such.
func WriteHash(w io.Writer, all []Entry, dup bool) error {
	s := &sheaf{}
	s.add(hashMeta, 0)
	size, keys := 0, 0
	for i, e := range all {
		if i == 0 || !bytes.Equal(e.Key, all[i-1].Key) {
			keys++
		} else if !dup {
			return fmt.Errorf("key %q is there twice", e.Key)
		}
		size += min(len(e.Key), maxOnPage) + min(len(e.Value), maxOnPage) + 6
	}
	level := bits.Len(uint(max(1, size*3/2/(pageSize-pageHeader)))) // buckets: a power of two, pages about two thirds full
	buckets := 1 << level
	for range buckets {
		s.add(pageHashUnsorted, 0)
	}
	tails := map[uint32]uint32{} // the last page of a bucket that has several
	for i := 0; i < len(all) && s.err == nil; {
		j, apart := sameKey(all, i)
		key, value := s.hashItem(all[i].Key), []byte(nil)
		switch {
		case j-i == 1:
			value = s.hashItem(all[i].Value)
		case apart:
			value = apartItem(true, s.many(all[i:j]))
		default:
			value = []byte{duplicates}
			for _, e := range all[i:j] {
				n := binary.LittleEndian.AppendUint16(nil, uint16(len(e.Value)))
				value = append(append(append(value, n...), e.Value...), n...)
			}
		}
		first := hash5(all[i].Key)&uint32(buckets-1) + 1
		at := first
		if t := tails[first]; t != 0 {
			at = t
		}
		if room(s.pages[at]) < len(key)+len(value)+4 {
			n := s.add(pageHashUnsorted, 0)
			binary.LittleEndian.PutUint32(s.pages[at][16:], n)
			binary.LittleEndian.PutUint32(s.pages[n][12:], at)
			tails[first], at = n, n
		}
		put(s.pages[at], key)
		put(s.pages[at], value)
		i = j
	}
	flags := uint32(0)
	if dup {
		flags = hashDup
	}
	p, le := s.meta(magicHash, hashMeta, flags), binary.LittleEndian
	le.PutUint32(p[72:], uint32(buckets-1))
	le.PutUint32(p[76:], uint32(buckets-1))
	le.PutUint32(p[80:], uint32(buckets/2-1))
	le.PutUint32(p[88:], uint32(keys))
	le.PutUint32(p[92:], hash5([]byte(charKey)))
	for i := range level + 1 { // where the buckets of each doubling begin, less their numbers
		le.PutUint32(p[96+4*i:], 1)
	}
	return s.write(w)
}

// hashItem is an item of a page of type hash.
func (s *sheaf) hashItem(b []byte) []byte {
	if len(b) <= maxOnPage {
		return append([]byte{keyData}, b...)
	}
	item := make([]byte, 12)
	item[0] = offPage
	binary.LittleEndian.PutUint32(item[4:], s.big(b))
	binary.LittleEndian.PutUint32(item[8:], uint32(len(b)))
	return item
}

// WriteBtree writes a Berkeley DB file of type btree.
func WriteBtree(w io.Writer, all []Entry, dup bool) error {
	all = slices.Clone(all)
	slices.SortStableFunc(all, func(a, b Entry) int { return bytes.Compare(a.Key, b.Key) })
	s := &sheaf{}
	s.add(btreeMeta, 0)
	type child struct {
		first []byte // its smallest key
		page  uint32
	}
	var row []child
	at, keyAt := uint32(0), 0
	for i, whole := 0, 0; i < len(all); i++ { // whole: the end of the values that stand apart
		e := all[i]
		again := i > 0 && bytes.Equal(e.Key, all[i-1].Key)
		if again && !dup {
			return fmt.Errorf("key %q is there twice", e.Key)
		}
		if i < whole {
			continue
		}
		var value []byte
		if end, apart := sameKey(all, i); apart {
			value, whole = apartItem(false, s.many(all[i:end])), end
		} else {
			value = s.btreeItem(e.Value)
		}
		key := s.btreeItem(e.Key)
		need := len(key) + len(value) + 4
		if at == 0 || room(s.pages[at]) < need {
			n := s.add(pageBtreeLeaf, 1)
			if at != 0 {
				binary.LittleEndian.PutUint32(s.pages[at][16:], n)
				binary.LittleEndian.PutUint32(s.pages[n][12:], at)
			}
			at, again = n, false
			row = append(row, child{e.Key, n})
		}
		if s.err != nil {
			return s.err
		}
		p := s.pages[at]
		if again { // the key is there already
			index(p, int(binary.LittleEndian.Uint16(p[20:])), keyAt)
		} else {
			put(p, key)
			keyAt = int(binary.LittleEndian.Uint16(p[22:]))
		}
		put(p, value)
	}
	if row == nil {
		row = []child{{nil, s.add(pageBtreeLeaf, 1)}}
	}
	for level := byte(2); len(row) > 1; level++ {
		var above []child
		at = 0
		for _, c := range row {
			key := c.first
			if len(key) > maxOnPage {
				return fmt.Errorf("a key of %d octets is too long for a btree", len(key))
			}
			if at != 0 && room(s.pages[at]) < 16+len(key)+2 {
				at = 0
			}
			if at == 0 {
				at = s.add(internal, level)
				above = append(above, child{c.first, at})
				key = nil // what is smaller than all goes to the first child
			}
			if s.err != nil {
				return s.err
			}
			item := make([]byte, (12+len(key)+3)&^3)
			binary.LittleEndian.PutUint16(item, uint16(len(key)))
			item[2] = keyData
			binary.LittleEndian.PutUint32(item[4:], c.page)
			copy(item[12:], key)
			put(s.pages[at], item)
		}
		row = above
	}
	flags := uint32(0)
	if dup {
		flags = btreeDup
	}
	p, le := s.meta(magicBtree, btreeMeta, flags), binary.LittleEndian
	le.PutUint32(p[76:], 2) // at least two keys a page
	le.PutUint32(p[84:], ' ')
	le.PutUint32(p[88:], row[0].page)
	return s.write(w)
}

// btreeItem is an item of a page of type btree; items begin at multiples of four.
func (s *sheaf) btreeItem(b []byte) []byte {
	if len(b) <= maxOnPage/2 {
		item := make([]byte, (3+len(b)+3)&^3)
		binary.LittleEndian.PutUint16(item, uint16(len(b)))
		item[2] = keyData
		copy(item[3:], b)
		return item
	}
	item := make([]byte, 12)
	item[2] = offPage
	binary.LittleEndian.PutUint32(item[4:], s.big(b))
	binary.LittleEndian.PutUint32(item[8:], uint32(len(b)))
	return item
}

// ReadDB reads all entries of a Berkeley DB file, with their keys and values as they stand there.
func ReadDB(data []byte) ([]Entry, error) {
	p, err := newPager(data)
	if err != nil {
		return nil, err
	}
	p.every = true
	var all []Entry
	err = p.each(func(key, value []byte) error {
		all = append(all, Entry{bytes.Clone(key), bytes.Clone(value)})
		return nil
	})
	return all, err
}
