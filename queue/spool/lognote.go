package spool

import "time"

const (
	// tiredFor is how long notes wait after they could not be written.
	tiredFor = time.Second
	// maxNotes is how many go into one write.
	maxNotes = 1024
)

// note is something about a message of the log, to be written without waiting for a sync: that it is done, or what
// became of some of its recipients.
type note struct {
	slot slot
	id   string
	done bool
	text []byte // journal lines, unless done
}

// done tells that the message at s needs no place any more. When it returns, the mark is on its way to the kernel: a
// process that is killed later has not delivered the message twice.
func (l *intakeLog) done(s slot) {
	l.vacate(s)
	l.mark(s)
}

// mark writes the done-mark; the message keeps its place until vacate.
func (l *intakeLog) mark(s slot) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.add(note{slot: s, done: true})
}

// vacate gives the place of a message back.
func (l *intakeLog) vacate(s slot) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, seg := range l.segs {
		if seg.epoch == s.epoch {
			seg.live--
		}
	}
}

// journal notes lines about the message at s.
func (l *intakeLog) journal(s slot, id string, text []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.add(note{slot: s, id: id, text: text})
}

// add writes a note, unless somebody is about it. l.mu is held.
func (l *intakeLog) add(n note) {
	l.notes = append(l.notes, n)
	if !l.marking && !l.tired && !l.closing {
		l.marking = true
		l.writeNotes()
	}
}

// writeNotes writes all notes. l.mu is held and let go meanwhile; l.marking is set, and cleared at the end.
func (l *intakeLog) writeNotes() {
	for len(l.notes) > 0 && !l.tired {
		taken := l.notes[:min(len(l.notes), maxNotes)]
		need := notesSize(taken)
		seg := l.last()
		if seg == nil || seg.file == nil || seg.room() < need {
			if l.busy { // after the batch there may be room, in another segment
				l.idle.Wait()
				continue
			}
			l.turn()
			s, err := l.current(need)
			l.yield()
			if err != nil {
				l.rest()
				break
			}
			if seg = s; seg.room() < need {
				continue // a batch came between
			}
		}
		l.notes = l.notes[len(taken):]
		buf := renderNotes(l.noteBuf[:0], taken, seg)
		l.noteBuf = buf
		off := seg.end
		seg.end += uint32(len(buf))
		file := seg.file
		seg.writers++
		l.mu.Unlock()
		_, err := file.WriteAt(buf, int64(off))
		l.mu.Lock()
		seg.writers--
		l.idle.Broadcast()
		l.touch()
		if err != nil {
			l.log.Warn("done-marks cannot be written now", "file", seg.name, "err", err)
			l.notes = append(taken[:len(taken):len(taken)], l.notes...)
			seg.full, seg.failed = true, true
			l.rest()
			break
		}
		l.dirty = true
		if !l.settling && !l.closing {
			l.settling = true
			time.AfterFunc(settleAfter, l.syncNotes)
		}
	}
	if len(l.notes) == 0 {
		l.notes = nil
	}
	l.marking = false
	l.idle.Broadcast()
}

// notesSize is the room that notes need.
func notesSize(notes []note) int {
	marks, size := 0, 0
	for _, n := range notes {
		if n.done {
			marks++
		} else {
			size += recordSize(slotLength + len(n.text))
		}
	}
	if marks > 0 {
		size += recordSize(marks * slotLength)
	}
	return size
}

func renderNotes(buf []byte, notes []note, seg *segment) []byte {
	var marks []byte
	for _, n := range notes {
		if n.done {
			marks = appendSlot(marks, n.slot)
		} else {
			buf = appendRecord(buf, seg, kindJournal, n.id, append(appendSlot(nil, n.slot), n.text...))
		}
	}
	if len(marks) > 0 {
		buf = appendRecord(buf, seg, kindDone, "", marks)
	}
	return buf
}

// syncNotes makes notes durable that no batch took along.
func (l *intakeLog) syncNotes() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.settling = false
	if !l.dirty || l.closing {
		return
	}
	if l.busy { // the batch that is being written may have begun its sync before
		l.settling = true
		time.AfterFunc(settleAfter, l.syncNotes)
		return
	}
	l.turn()
	l.settle()
	l.yield()
}

// settle syncs the notes of the last segment. l.mu is held, and let go meanwhile; it is our turn.
func (l *intakeLog) settle() {
	seg := l.last()
	if !l.dirty || seg == nil || seg.file == nil {
		return
	}
	l.dirty = false
	l.mu.Unlock()
	err := seg.file.Datasync()
	l.mu.Lock()
	if err != nil {
		seg.failed = true
		l.log.Warn("done-marks are not synced: after a crash some messages may be delivered twice", "file", seg.name, "err", err)
	}
}

// rest keeps notes from being tried for a second. l.mu is held.
func (l *intakeLog) rest() {
	if l.tired {
		return
	}
	l.tired = true
	time.AfterFunc(tiredFor, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.tired = false
		if !l.marking && !l.closing && len(l.notes) > 0 {
			l.marking = true
			l.writeNotes()
		}
	})
}
