package table

import (
	"io/fs"
	"syscall"
)

// inode is the file's number, so that a file renamed over another is seen to be new.
func inode(info fs.FileInfo) uint64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Ino
	}
	return 0
}
