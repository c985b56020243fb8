package main

import (
	"bytes"
	"io"
	"os"
	"strings"
)

const (
	// memoryLimit is how much of a message is remembered in memory for a bounce or dead.letter.
	memoryLimit = 1 << 20
	// fileLimit is how much more of it is remembered in a file. Of a longer one, the beginning is returned: the caller
	// still has the rest.
	fileLimit = 64 << 20
)

// memory is standard input first and then the message that was made of it; it remembers the message while it is handed
// over, because a pipe cannot be read twice.
type memory struct {
	r       io.Reader // standard input
	message io.Reader
	seen    [][]byte // in pieces: one slice that grows costs three times the memory
	size    int
	file    *os.File // what did not fit there, under no name; nil: nothing
	filed   int
	over    bool
	err     error // of standard input, other than its end
}

// begin makes m the message that Read yields.
func (m *memory) begin(message io.Reader) { m.message = message }

// Read yields standard input until begin was called, and through the message afterwards.
func (m *memory) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	if err != nil && err != io.EOF {
		m.err = err
	}
	return n, err
}

// remembering is the message as the hand-over reads it.
type remembering struct{ m *memory }

func (r remembering) Read(p []byte) (int, error) {
	n, err := r.m.message.Read(p)
	r.m.remember(p[:n])
	return n, err
}

func (m *memory) remember(p []byte) {
	switch {
	case m.over || len(p) == 0:
	case m.file == nil && m.size+len(p) <= memoryLimit:
		m.seen = append(m.seen, bytes.Clone(p))
		m.size += len(p)
	case m.filed+len(p) > fileLimit || !m.spill(p):
		m.over = true
	}
}

// spill writes p into the file. Without one, as when the disk is full, the rest is not remembered.
func (m *memory) spill(p []byte) bool {
	if m.file == nil {
		f, err := os.CreateTemp("", "sendmail")
		if err != nil {
			return false
		}
		os.Remove(f.Name())
		m.file = f
	}
	n, err := m.file.WriteAt(p, int64(m.filed))
	m.filed += n
	return err == nil
}

// replay is the message from its beginning: what was read, and what was not read yet unless something between is lost.
func (m *memory) replay() io.Reader {
	var all []io.Reader
	for _, piece := range m.seen {
		all = append(all, bytes.NewReader(piece))
	}
	if m.file != nil {
		all = append(all, io.NewSectionReader(m.file, 0, int64(m.filed)))
	}
	if m.over {
		return io.MultiReader(append(all, strings.NewReader("\n[...]\n"))...)
	}
	return io.MultiReader(append(all, m.message)...)
}
