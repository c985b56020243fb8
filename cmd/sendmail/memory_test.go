package main

import (
	"bytes"
	"io"
	"testing"
	"testing/iotest"
)

// A message is remembered whole although only its first part is in memory, also when it was not read to its end.
func TestMemoryOfALongMessage(t *testing.T) {
	text := bytes.Repeat([]byte("0123456789abcdef"), 5<<16)
	for _, read := range []int{0, 1000, memoryLimit, memoryLimit + 1, 3 << 20, len(text)} {
		m := &memory{}
		m.begin(iotest.HalfReader(bytes.NewReader(text)))
		if _, err := io.CopyN(io.Discard, remembering{m}, int64(read)); err != nil {
			t.Fatal(err)
		}
		for range 2 { // a reader that fails may be followed by another one, but what was unread is read once
			got, err := io.ReadAll(m.replay())
			if err != nil || !bytes.HasPrefix(text, got) || len(got) < read {
				t.Fatalf("after %d octets: %d octets, %v", read, len(got), err)
			}
			if read == 0 {
				break
			}
		}
	}
	m := &memory{}
	m.begin(bytes.NewReader(text))
	t.Setenv("TMPDIR", "/nonexistent")
	io.Copy(io.Discard, remembering{m})
	if got, err := io.ReadAll(m.replay()); err != nil || !bytes.HasSuffix(got, []byte("\n[...]\n")) {
		t.Errorf("without a directory for the file: %d octets, %v", len(got), err)
	}
}
