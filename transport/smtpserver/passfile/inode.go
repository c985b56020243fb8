package passfile

import (
	"os"
	"syscall"
)

// inode tells a file from the one that replaced it within the same second.
func inode(info os.FileInfo) uint64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Ino
	}
	return 0
}
