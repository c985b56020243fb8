// Package identity runs a piece of work with the file-system rights of another user. It is a package of its own
// because a mailbox, a Maildir, a file of an alias and a .forward file all need the same few lines, and those lines
// must be right once.
//
// How: Linux keeps the ids that file access is checked against per thread (setfsuid(2), setfsgid(2)), and so does
// setgroups(2) below the C library. The work runs in a goroutine that is tied to its thread and never lets go of it, so
// that the thread ends with the goroutine and no other work can inherit the ids. There is nothing to restore and
// therefore nothing that can fail to be restored. Leaving fsuid 0 also takes the capabilities away that override
// file modes.
package identity

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ID is whose rights are used.
type ID struct {
	UID    int
	GID    int
	Groups []int // supplementary groups; none when empty
}

// CanChange reports whether this process may take another identity: when it is root, or when it is an ordinary user who
// was given the capabilities CAP_SETUID and CAP_SETGID and nothing else (systemd.exec(5), AmbientCapabilities).
func CanChange() bool {
	if os.Geteuid() == 0 {
		return true
	}
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&head, &data[0]); err != nil {
		return false
	}
	const both = 1<<unix.CAP_SETUID | 1<<unix.CAP_SETGID
	return data[0].Effective&both == both
}

// DropAmbient takes away what a program started from this thread would inherit of such capabilities. The thread must be
// locked and end afterwards.
func DropAmbient() error {
	return unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
}

// As runs work with the rights of id. A process that is not root does everything as itself, and so does one that is
// asked to be root; then work simply runs.
func As(id ID, work func() error) error {
	if !CanChange() || (id.UID == 0 && os.Geteuid() == 0 && id.GID == os.Getegid()) {
		return work()
	}
	done := make(chan error, 1)
	go func() {
		err := errors.New("the work did not end") // runtime.Goexit inside work
		defer func() { done <- err }()
		runtime.LockOSThread() // never unlocked: the thread ends here
		if err = take(id); err != nil {
			return
		}
		err = work()
	}()
	return <-done
}

func take(id ID) error {
	if id.UID < 0 || id.GID < 0 {
		return fmt.Errorf("user id %d, group id %d: out of range", id.UID, id.GID)
	}
	groups := make([]uint32, len(id.Groups))
	for i, g := range id.Groups {
		groups[i] = uint32(g)
	}
	var list unsafe.Pointer
	if len(groups) > 0 {
		list = unsafe.Pointer(&groups[0])
	}
	// The raw call changes this thread only; syscall.Setgroups would change all of them.
	if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(list), 0); errno != 0 {
		return fmt.Errorf("setgroups: %w", errno)
	}
	// setfsuid tells nothing about failure but the previous id: ask again to see what holds (setfsuid(2), BUGS).
	unix.SetfsgidRetGid(id.GID)
	if now, _ := unix.SetfsgidRetGid(-1); now != id.GID {
		return fmt.Errorf("setfsgid %d: not permitted", id.GID)
	}
	unix.SetfsuidRetUid(id.UID)
	if now, _ := unix.SetfsuidRetUid(-1); now != id.UID {
		return fmt.Errorf("setfsuid %d: not permitted", id.UID)
	}
	return nil
}
