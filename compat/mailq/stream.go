package mailq

import (
	"bufio"
	"fmt"
	"io"
)

// Stream prints a long listing while it is read: its length is known, its entries come one after the other.
type Stream struct {
	out     *bufio.Writer
	listing Listing
	printed int
}

// NewStream prints the head of a listing of n entries; those of l are ignored.
func NewStream(w io.Writer, l Listing, n int) *Stream {
	s := &Stream{out: bufio.NewWriter(w), listing: l}
	s.listing.head(s.out, n)
	s.out.Flush()
	return s
}

// Print prints one entry.
func (s *Stream) Print(e Entry) error {
	e.print(s.out, s.listing.Verbose, s.listing.indent())
	if s.printed++; s.printed == 1 {
		return s.out.Flush() // somebody watches
	}
	return nil
}

// Close prints the end.
func (s *Stream) Close() error {
	fmt.Fprintf(s.out, "\t\tTotal requests: %d\n", s.printed)
	return s.out.Flush()
}
