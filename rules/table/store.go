package table

import (
	"encoding/binary"
	"errors"
	"hash/maphash"
	"math"
	"math/bits"
)

// store is an immutable set of entries in two blocks of memory: all keys and values one behind the other, and an open
// hash index into them. An entry costs its text, 2 to 4 octets of lengths, and 8 octets of index at most 4/5 full.
type store struct {
	text  []byte // entries: length of key, length of value (varints), key, value
	index []slot
	seed  maphash.Seed
	n     int
	ends  endings // of keys
}

// endings tells of most keys that they are not among some: it has a bit for the last octet of each, where those of its
// length are.
type endings [64]uint32

func (e *endings) add(length int, last byte) { e[length%len(e)] |= 1 << (last & 0x1f) }

// lack reports whether a key that is not empty is certainly not among them, in whatever case its letters are.
func (e *endings) lack(length int, last byte) bool { return e[length%len(e)]>>(last&0x1f)&1 == 0 }

// slot finds an entry: at is one more than its place in text; 0 is a free slot.
type slot struct {
	at   uint32
	line uint32
}

// errTooBig is what a builder says about more than 4 GB.
var errTooBig = errors.New("more than 4 GB of entries")

// builder collects entries and makes a store of them. The first of several entries with one key stays, or the
// last.
type builder struct {
	s     store
	lines []slot // of all entries, in order
	last  bool
}

// add appends an entry. Keys are compared octet by octet: the caller has folded them.
func (b *builder) add(key, value []byte, line int) error {
	if len(b.s.text)+len(key)+len(value)+20 > math.MaxUint32 {
		return errTooBig
	}
	b.lines = append(b.lines, slot{uint32(len(b.s.text)) + 1, uint32(line)})
	b.s.text = binary.AppendUvarint(b.s.text, uint64(len(key)))
	b.s.text = binary.AppendUvarint(b.s.text, uint64(len(value)))
	b.s.text = append(b.s.text, key...)
	b.s.text = append(b.s.text, value...)
	return nil
}

// done makes the store. duplicate, if not nil, is called for entries that are left out because the key is there
// already.
func (b *builder) done(duplicate func(key string, line, first int)) *store {
	s := b.s
	s.seed = maphash.MakeSeed()
	s.text = append(make([]byte, 0, len(s.text)), s.text...)
	s.index = make([]slot, len(b.lines)+len(b.lines)/4+1)
	for _, e := range b.lines {
		key, _ := s.entry(e.at)
		i := s.find(key)
		if f := s.index[i]; f.at != 0 {
			if duplicate != nil {
				duplicate(string(key), int(e.line), int(f.line))
			}
			if b.last {
				s.index[i] = e
			}
			continue
		}
		s.index[i] = e
		s.n++
		if n := len(key); n > 0 {
			s.ends.add(n, key[n-1])
		}
	}
	return &s
}

// entry returns key and value of the entry at place at-1.
func (s *store) entry(at uint32) (key, value []byte) {
	t := s.text[at-1:]
	kn, a := binary.Uvarint(t)
	vn, b := binary.Uvarint(t[a:])
	t = t[a+b:]
	return t[:kn:kn], t[kn : kn+vn : kn+vn]
}

// find returns the slot of a key, or the free one where it would go.
func (s *store) find(key []byte) int {
	hi, _ := bits.Mul64(maphash.Bytes(s.seed, key), uint64(len(s.index)))
	for i := int(hi); ; {
		f := s.index[i]
		if f.at == 0 {
			return i
		}
		if k, _ := s.entry(f.at); string(k) == string(key) {
			return i
		}
		if i++; i == len(s.index) {
			i = 0
		}
	}
}

// get looks up a key.
func (s *store) get(key string) (value string, line int, found bool) {
	if s == nil || len(s.index) == 0 {
		return "", 0, false
	}
	f := s.index[s.find([]byte(key))]
	if f.at == 0 {
		return "", 0, false
	}
	_, v := s.entry(f.at)
	return string(v), int(f.line), true
}

// each calls f for all entries, in the order of the file.
func (s *store) each(f func(key, value string) bool) {
	for at := uint32(1); int(at) <= len(s.text); {
		k, v := s.entry(at)
		if !f(string(k), string(v)) {
			return
		}
		t := s.text[at-1:]
		kn, a := binary.Uvarint(t)
		vn, b := binary.Uvarint(t[a:])
		at += uint32(a + b + int(kn+vn))
	}
}
