package table

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"waybill/rules/prog"
)

// Berkeley DB files, as makemap and newaliases of Debian write them (libdb 5.3, metadata version 7 to 10 of hash and
// btree). All entries are read when the file is opened; nothing is ever written. The layout is that of the db.h and
// db_page structures in the public documentation of the file format:
//
//	page 0        LSN[8] pgno[4] magic[4] version[4] pagesize[4] ... last_pgno[4] at 32
//	other pages   LSN[8] pgno[4] prev[4] next[4] entries[2] hf_offset[2] level[1] type[1] index[2]...
const (
	magicHash  = 0x061561
	magicBtree = 0x053162

	pageHashUnsorted  = 2
	pageBtree         = 3
	pageRecords       = 4
	pageBtreeLeaf     = 5
	pageRecordLeaf    = 6
	pageOverflow      = 7
	pageDuplicateLeaf = 12
	pageHash          = 13

	pageHeader = 26

	maxItem = 16 << 20 // octets of one key or value
)

var errDamaged = errors.New("damaged Berkeley DB file")

// pager reads pages of a file.
type pager struct {
	data  []byte
	order binary.ByteOrder
	size  int // of a page
	last  uint32
	hash  bool
	every bool // all values of a key, not only the first
}

// loadDB reads all entries of a Berkeley DB file.
func (f *flags) loadDB(r io.Reader, name string) (content, []Warning, error) {
	data, err := whole(r)
	if err != nil {
		return nil, nil, err
	}
	p, err := newPager(data)
	if err != nil {
		return nil, nil, err
	}
	var b builder
	err = p.each(func(key, value []byte) error {
		ended := len(key) > 0 && key[len(key)-1] == 0
		if f.set['N'] && !ended || f.set['O'] && ended {
			return nil
		}
		if ended {
			key = key[:len(key)-1]
			if n := len(value); n > 0 && value[n-1] == 0 {
				value = value[:n-1]
			}
		}
		return b.add(key, value, 0)
	})
	if err != nil {
		return nil, nil, err
	}
	return &records{name, b.done(nil)}, nil, nil
}

// records is the content of a file whose keys are compared as they are.
type records struct {
	name  string
	store *store
}

func (e *records) lookup(key string, _ []string) (Result, bool) {
	v, _, ok := e.store.get(key)
	return Result{Value: v, Pos: prog.Pos{File: e.name}}, ok
}

func newPager(data []byte) (*pager, error) {
	if len(data) < 512 {
		return nil, fmt.Errorf("%w: only %d octets", errDamaged, len(data))
	}
	p := &pager{data: data, order: binary.LittleEndian}
	magic := p.order.Uint32(data[12:])
	if magic != magicHash && magic != magicBtree {
		p.order = binary.BigEndian
		magic = p.order.Uint32(data[12:])
	}
	if magic != magicHash && magic != magicBtree {
		return nil, errors.New("no Berkeley DB file of type hash or btree")
	}
	p.hash = magic == magicHash
	if v := p.order.Uint32(data[16:]); v < 7 || v > 10 {
		return nil, fmt.Errorf("Berkeley DB version %d is not known", v)
	}
	size := p.order.Uint32(data[20:])
	if size < 512 || size > 64<<10 || size&(size-1) != 0 {
		return nil, fmt.Errorf("%w: page size %d", errDamaged, size)
	}
	if data[24] != 0 {
		return nil, errors.New("encrypted Berkeley DB files are not read")
	}
	p.size = int(size)
	p.last = p.order.Uint32(data[32:])
	if uint64(p.last) >= uint64(len(data))/uint64(p.size) {
		return nil, fmt.Errorf("%w: %d pages announced, %d there", errDamaged, uint64(p.last)+1, len(data)/p.size)
	}
	return p, nil
}

// page returns a page other than the first.
func (p *pager) page(n uint32) ([]byte, bool) {
	if n == 0 || n > p.last {
		return nil, false
	}
	return p.data[int(n)*p.size:][:p.size], true
}

// each calls f for all entries. Pages are read in their order in the file but for the leaves of a btree, which are
// chained in the order of the keys.
func (p *pager) each(f func(key, value []byte) error) error {
	if p.hash {
		for n := uint32(1); n <= p.last; n++ {
			pg, _ := p.page(n)
			if t := pg[25]; t == pageHash || t == pageHashUnsorted {
				if err := p.items(n, pg, p.hashItem, f); err != nil {
					return err
				}
			}
		}
		return nil
	}
	done := make(map[uint32]bool)
	for n := uint32(1); n <= p.last; n++ {
		pg, _ := p.page(n)
		if pg[25] != pageBtreeLeaf || p.order.Uint32(pg[12:]) != 0 {
			continue
		}
		for at := n; at != 0; at = p.order.Uint32(pg[16:]) {
			var ok bool
			if pg, ok = p.page(at); !ok || pg[25] != pageBtreeLeaf || done[at] {
				return fmt.Errorf("%w: page %d is no leaf of this chain", errDamaged, at)
			}
			done[at] = true
			if err := p.items(at, pg, p.btreeItem, f); err != nil {
				return err
			}
		}
	}
	return nil
}

// items reads the pairs of a page.
func (p *pager) items(n uint32, pg []byte, item func(pg []byte, i, at, end int) ([]byte, bool, error), f func(key, value []byte) error) error {
	entries := int(p.order.Uint16(pg[20:]))
	if pageHeader+2*entries > p.size {
		return fmt.Errorf("%w: page %d: %d entries", errDamaged, n, entries)
	}
	end := p.size
	var pair [2][]byte
	keep := true
	for i := range entries {
		at := int(p.order.Uint16(pg[pageHeader+2*i:]))
		if at < pageHeader+2*entries || at >= p.size {
			return fmt.Errorf("%w: page %d: entry %d at %d", errDamaged, n, i, at)
		}
		if p.hash && at >= end {
			return fmt.Errorf("%w: page %d: entry %d at %d", errDamaged, n, i, at)
		}
		v, ok, err := item(pg, i, at, end)
		if err != nil {
			return fmt.Errorf("page %d: entry %d: %w", n, i, err)
		}
		more := []byte(nil) // values behind the first one of a key
		if p.hash && p.every && i&1 == 1 && pg[at] == 2 {
			more = pg[min(end, at+5+len(v)):end]
		}
		var apart uint32 // the page where the values of a key begin that are too many for one page
		if i&1 == 1 {
			apart = p.apart(pg, at)
		}
		end = at
		keep = keep && ok
		if pair[i&1] = v; i&1 == 1 && apart != 0 {
			if err := p.duplicates(apart, func(value []byte) error { return f(pair[0], value) }); err != nil {
				return fmt.Errorf("page %d: entry %d: %w", n, i, err)
			}
			keep = true
		} else if i&1 == 1 {
			for keep {
				if err := f(pair[0], pair[1]); err != nil {
					return err
				}
				if len(more) < 4 {
					break
				}
				n := int(p.order.Uint16(more))
				if 4+n > len(more) {
					return errDamaged
				}
				pair[1], more = more[2:2+n], more[4+n:]
			}
			keep = true
		}
	}
	return nil
}

// apart returns the root of the tree in which the values of a key stand that has too many for one page; 0: it has not.
func (p *pager) apart(pg []byte, at int) uint32 {
	switch {
	case at+12 > len(pg) && (!p.hash || at+8 > len(pg)):
		return 0
	case p.hash && pg[at] == apartHash, !p.hash && pg[at+2] == apartBtree:
		return p.order.Uint32(pg[at+4:])
	}
	return 0
}

// duplicates reads the values of one key from a tree of their own: down to its first leaf, and along the leaves.
func (p *pager) duplicates(n uint32, f func(value []byte) error) error {
	for steps := uint32(0); n != 0; steps++ {
		pg, ok := p.page(n)
		if !ok || steps > p.last { // a chain that leads back to itself
			return fmt.Errorf("%w: page %d of duplicates", errDamaged, n)
		}
		entries := int(p.order.Uint16(pg[20:]))
		if pageHeader+2*entries > p.size {
			return fmt.Errorf("%w: page %d: %d entries", errDamaged, n, entries)
		}
		inner := 0 // where the number of the page below stands in an item
		switch pg[25] {
		case pageRecords:
		case pageBtree:
			inner = 4
		case pageRecordLeaf, pageDuplicateLeaf:
			for i := range entries {
				v, ok, err := p.btreeItem(pg, i, int(p.order.Uint16(pg[pageHeader+2*i:])), p.size)
				if err != nil {
					return err
				}
				if !ok {
					continue
				}
				if err := f(v); err != nil || !p.every {
					return err
				}
			}
			n = p.order.Uint32(pg[16:])
			continue
		default:
			return fmt.Errorf("%w: page %d of type %d among duplicates", errDamaged, n, pg[25])
		}
		if entries == 0 {
			return nil
		}
		at := int(p.order.Uint16(pg[pageHeader:])) + inner
		if at+4 > len(pg) {
			return fmt.Errorf("%w: page %d", errDamaged, n)
		}
		n = p.order.Uint32(pg[at:])
	}
	return nil
}

// hashItem reads one item of a hash page: its type is in the first octet, its end is where the one before begins.
func (p *pager) hashItem(pg []byte, _, at, end int) (v []byte, ok bool, err error) {
	switch it := pg[at:end]; it[0] {
	case 1: // on this page
		return it[1:], true, nil
	case 3: // on overflow pages
		if len(it) < 12 {
			return nil, false, errDamaged
		}
		v, err = p.overflow(p.order.Uint32(it[4:]), p.order.Uint32(it[8:]))
		return v, err == nil, err
	case 2: // duplicates: length, data, length; the first counts
		if len(it) < 3 {
			return nil, false, errDamaged
		}
		n := int(p.order.Uint16(it[1:]))
		if 3+n > len(it) {
			return nil, false, errDamaged
		}
		return it[3 : 3+n], true, nil
	}
	return nil, false, nil
}

// btreeItem reads one item of a leaf: length, type, data.
func (p *pager) btreeItem(pg []byte, _, at, _ int) (v []byte, ok bool, err error) {
	if at+3 > len(pg) {
		return nil, false, errDamaged
	}
	n, t := int(p.order.Uint16(pg[at:])), pg[at+2]
	if t&0x80 != 0 {
		return nil, false, nil // deleted
	}
	switch t {
	case 1:
		if at+3+n > len(pg) {
			return nil, false, errDamaged
		}
		return pg[at+3 : at+3+n], true, nil
	case 3:
		if at+12 > len(pg) {
			return nil, false, errDamaged
		}
		v, err = p.overflow(p.order.Uint32(pg[at+4:]), p.order.Uint32(pg[at+8:]))
		return v, err == nil, err
	}
	return nil, false, nil
}

// overflow joins the pages of a large item.
func (p *pager) overflow(n, length uint32) ([]byte, error) {
	if length > maxItem || uint64(length) > uint64(len(p.data)) {
		return nil, fmt.Errorf("%w: an item of %d octets", errDamaged, length)
	}
	v := make([]byte, 0, min(int(length), p.size))
	for n != 0 && len(v) < int(length) {
		pg, ok := p.page(n)
		if !ok || pg[25] != pageOverflow {
			return nil, fmt.Errorf("%w: page %d is no overflow page", errDamaged, n)
		}
		used := int(p.order.Uint16(pg[22:])) // hf_offset counts the octets here
		if used == 0 || pageHeader+used > p.size {
			return nil, fmt.Errorf("%w: overflow page %d has %d octets", errDamaged, n, used)
		}
		v = append(v, pg[pageHeader:pageHeader+used]...)
		n = p.order.Uint32(pg[16:])
	}
	if len(v) != int(length) {
		return nil, fmt.Errorf("%w: an item of %d octets has %d", errDamaged, length, len(v))
	}
	return v, nil
}
