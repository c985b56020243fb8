package spool

import (
	"encoding/binary"
)

const (
	sector       = 512 // records begin at multiples of it; a disk writes it whole or not at all
	recordHeader = 64
	kindMessage  = 1
	kindDone     = 2
	kindJournal  = 3
	slotLength   = 12 // of a slot's epoch and offset
)

var recordMagic = [4]byte{'W', 'B', 'L', '1'}

// slot is where a record is.
type slot struct {
	epoch uint64
	off   uint32
	size  uint32 // of the content
}

// record is one record as it was read.
type record struct {
	slot
	kind byte
	// synced is an offset of the same segment: what stands before it had been synced when this was written.
	synced uint32
	// before is where the segment of the epoch before ended, all of it synced; 0: not known.
	before uint32
	id     string
}

func appendSlot(b []byte, s slot) []byte {
	return binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint64(b, s.epoch), s.off)
}

// readSlot undoes appendSlot.
func readSlot(b []byte) slot {
	return slot{epoch: binary.LittleEndian.Uint64(b), off: binary.LittleEndian.Uint32(b[8:])}
}

// appendRecord renders a record, padded to whole sectors.
func appendRecord(b []byte, seg *segment, kind byte, id string, data []byte) []byte {
	return appendSummed(b, seg, kind, id, data, Checksum(0, data))
}

// appendSummed is appendRecord with the checksum of data.
func appendSummed(b []byte, seg *segment, kind byte, id string, data []byte, sum uint32) []byte {
	start := len(b)
	var h [recordHeader]byte
	copy(h[0:4], recordMagic[:])
	binary.LittleEndian.PutUint64(h[8:], seg.epoch)
	binary.LittleEndian.PutUint32(h[16:], seg.synced)
	binary.LittleEndian.PutUint32(h[20:], seg.before)
	binary.LittleEndian.PutUint32(h[24:], uint32(len(data)))
	binary.LittleEndian.PutUint32(h[28:], sum)
	h[32] = kind
	copy(h[33:47], id)
	binary.LittleEndian.PutUint32(h[4:], Checksum(0, h[8:]))
	b = append(b, h[:]...)
	b = append(b, data...)
	if pad := (len(b) - start) % sector; pad > 0 {
		b = append(b, make([]byte, sector-pad)...)
	}
	return b
}

func recordSize(data int) int { return (recordHeader + data + sector - 1) / sector * sector }

// readHeader reads the head of a record; sum is what the checksum of its content should be.
func readHeader(h []byte, off uint32) (r record, sum uint32, ok bool) {
	if len(h) < recordHeader || [4]byte(h[:4]) != recordMagic || binary.LittleEndian.Uint32(h[4:]) != Checksum(0, h[8:recordHeader]) {
		return r, 0, false
	}
	r = record{
		slot: slot{binary.LittleEndian.Uint64(h[8:]), off, binary.LittleEndian.Uint32(h[24:])},
		kind: h[32], synced: binary.LittleEndian.Uint32(h[16:]), before: binary.LittleEndian.Uint32(h[20:]), id: string(h[33:47]),
	}
	return r, binary.LittleEndian.Uint32(h[28:]), true
}
