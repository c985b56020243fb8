package spool

import (
	"hash/crc32"
	"sync"
	"sync/atomic"
)

// CRC-32C is computed by hardware where it can be, but preparing for that costs package crc32 a tenth of a millisecond
// or two: more than a front end's whole message is worth. The first octets of a process go by a small table.
const softOctets = 64 << 10

var (
	summed atomic.Int64 // octets, by this process
	hard   = sync.OnceValue(func() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) })
	soft   = sync.OnceValue(softTable)
)

// Checksum continues the spool's CRC-32C of a message.
func Checksum(crc uint32, p []byte) uint32 {
	if summed.Add(int64(len(p))) > softOctets {
		return crc32.Update(crc, hard(), p)
	}
	table := soft()
	crc = ^crc
	for _, c := range p {
		crc = table[byte(crc)^c] ^ crc>>8
	}
	return ^crc
}

func softTable() *[256]uint32 {
	table := new([256]uint32)
	for i := range table {
		crc := uint32(i)
		for range 8 {
			if crc&1 == 1 {
				crc = crc>>1 ^ crc32.Castagnoli
			} else {
				crc >>= 1
			}
		}
		table[i] = crc
	}
	return table
}
