package spool

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"waybill/transport/identity"
)

// takingName is the lock of the process that takes over what front ends drop while no daemon runs.
const takingName = "taking"

// Taking is the right to take over what front ends drop while no daemon runs. A front end that has dropped a message
// asks for it: who gets it starts an engine and hands it the lock, and who does not need do nothing, because the holder
// looks into the drop directory once more after it has given the lock up.
type Taking struct{ file *os.File }

// TryTaking takes the lock of the spool at dir. nil, nil: another process has it, and will see what was dropped before.
func TryTaking(dir string) (*Taking, error) {
	name := filepath.Join(dir, takingName)
	const flag = os.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK
	f, err := os.OpenFile(name, flag, 0)
	if os.IsNotExist(err) {
		if f, err = os.OpenFile(name, flag|os.O_CREATE|os.O_EXCL, 0o600); err == nil {
			err = identity.Leave(f)
		} else if os.IsExist(err) { // somebody was quicker
			f, err = os.OpenFile(name, flag, 0)
		}
	}
	if err != nil {
		return nil, err
	}
	t := TakingFrom(f)
	if !t.Again() {
		return nil, f.Close()
	}
	return t, nil
}

// TakingFrom is the lock that another process took and gave to this one as an open file.
func TakingFrom(f *os.File) *Taking { return &Taking{f} }

// File is the open file that carries the lock.
func (t *Taking) File() *os.File { return t.file }

// GiveUp lets others have the lock. What was dropped until now may be waiting for this process: it must look again.
func (t *Taking) GiveUp() { unix.Flock(int(t.file.Fd()), unix.LOCK_UN) }

// Again takes the lock once more; false: another process has it.
func (t *Taking) Again() bool { return unix.Flock(int(t.file.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil }

// Close ends it.
func (t *Taking) Close() error { return t.file.Close() }
