package main

import (
	"bytes"
	"io"
	"strings"
)

// memoryLimit is how much of a message is remembered for a bounce or dead.letter. Of a longer one, the beginning is
// returned: the caller still has the rest.
const memoryLimit = 1 << 20

// memory is standard input first and then the message that was made of it; it remembers the message while it is handed
// over, because a pipe cannot be read twice.
type memory struct {
	r       io.Reader // standard input
	message io.Reader
	seen    [][]byte // in pieces: one slice that grows costs three times the memory
	size    int
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
	m := r.m
	n, err := m.message.Read(p)
	if m.size+n > memoryLimit {
		m.over = true
	} else if !m.over && n > 0 {
		m.seen = append(m.seen, bytes.Clone(p[:n]))
		m.size += n
	}
	return n, err
}

// replay is the message from its beginning: what was read, and what was not read yet unless something between is lost.
func (m *memory) replay() io.Reader {
	var all []io.Reader
	for _, piece := range m.seen {
		all = append(all, bytes.NewReader(piece))
	}
	if m.over {
		return io.MultiReader(append(all, strings.NewReader("\n[...]\n"))...)
	}
	return io.MultiReader(append(all, m.message)...)
}
