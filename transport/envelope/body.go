package envelope

import (
	"bytes"
	"io"
	"os"
)

// Body is the message itself, header section and body, with lines that end in LF alone. A message is never held in
// memory as a whole: a Body is a file, a part of one, or a stream.
type Body interface {
	// Open returns a reader at the first octet. It may be called again for another try, also while an earlier
	// reader is open, unless the implementation says that it streams.
	Open() (io.ReadCloser, error)
	// Size is the number of octets that Open yields, or -1 when a stream does not know it yet.
	Size() int64
}

// FileBody is the part of a file that begins at Offset and has Length octets.
type FileBody struct {
	Path   string
	Offset int64
	Length int64
}

// Open opens the file anew. The reader implements io.WriterTo and io.ReaderAt's cheap cousin, io.Seeker, through
// io.SectionReader.
func (b FileBody) Open() (io.ReadCloser, error) {
	f, err := os.Open(b.Path)
	if err != nil {
		return nil, err
	}
	return sectionFile{io.NewSectionReader(f, b.Offset, b.Length), f}, nil
}

// Size returns Length.
func (b FileBody) Size() int64 { return b.Length }

type sectionFile struct {
	*io.SectionReader
	io.Closer
}

// BytesBody is a short message that we made ourselves: a bounce, a test. Received mail is never kept in one.
type BytesBody []byte

// Open returns a reader over the octets.
func (b BytesBody) Open() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }

// Size returns the number of octets.
func (b BytesBody) Size() int64 { return int64(len(b)) }

// Prepend returns a Body that yields head and then body. head is whole header lines, each ending in LF: this is how a
// Received line comes in front of a message that is not ours to rewrite.
func Prepend(head []byte, body Body) Body { return prepended{head, body} }

type prepended struct {
	head []byte
	body Body
}

func (p prepended) Open() (io.ReadCloser, error) {
	r, err := p.body.Open()
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(p.head), r), r}, nil
}

func (p prepended) Size() int64 {
	if n := p.body.Size(); n >= 0 {
		return n + int64(len(p.head))
	}
	return -1
}

// ReplaceHead returns a Body with head in the place of the first octets of body: this is how a header section that was
// rewritten for one mailer comes before a message that stays as it is.
func ReplaceHead(head []byte, octets int64, body Body) Body { return replaced{head, octets, body} }

type replaced struct {
	head   []byte
	octets int64
	body   Body
}

func (p replaced) Open() (io.ReadCloser, error) {
	r, err := p.body.Open()
	if err != nil {
		return nil, err
	}
	if _, err := io.CopyN(io.Discard, r, p.octets); err != nil {
		r.Close()
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(p.head), r), r}, nil
}

func (p replaced) Size() int64 {
	if n := p.body.Size(); n >= 0 {
		return n - p.octets + int64(len(p.head))
	}
	return -1
}
