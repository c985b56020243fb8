package spool

import (
	"bytes"
	"hash/crc32"
	"testing"
)

// The two ways of computing agree, also where one takes over from the other.
func TestChecksum(t *testing.T) {
	table := crc32.MakeTable(crc32.Castagnoli)
	text := bytes.Repeat([]byte("The quick brown fox\x00\xff\n"), 3*softOctets/20)
	for _, step := range []int{1000, 4096, softOctets - 1, len(text)} {
		summed.Store(0)
		var crc uint32
		for rest := text; len(rest) > 0; {
			n := min(step, len(rest))
			crc, rest = Checksum(crc, rest[:n]), rest[n:]
		}
		if want := crc32.Checksum(text, table); crc != want {
			t.Errorf("in steps of %d: %08x, want %08x", step, crc, want)
		}
	}
}
