package app

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"waybill/compat/cf"
)

// ownDirectories are those that a spool of ours has in the directory above the queues of a pattern.
var ownDirectories = []string{"queue", "hold", "bad", "drop", "log"}

// cfQueues are the directories of QueueDirectory=/var/spool/mqueue/q*: files go to each in turn. The pattern's last part
// is a name with a star at its end; what it matches is a directory, or a link to one on another disk.
func cfQueues(conf *cf.Config) (dirs []string) {
	pattern, _ := conf.Option("QueueDirectory", "")
	above, name := filepath.Split(pattern)
	prefix, star := strings.CutSuffix(name, "*")
	if !star {
		return nil
	}
	entries, err := os.ReadDir(above)
	if err != nil {
		return nil // the spool cannot be used, which is told where it is opened
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), prefix) || slices.Contains(ownDirectories, e.Name()) || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		dir := filepath.Join(above, e.Name())
		if st, err := os.Stat(dir); err == nil && st.IsDir() {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}
