package queue

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"

	"waybill/queue/spool"
	"waybill/queue/spool/crashfs"
	"waybill/transport"
	"waybill/transport/envelope"
)

// life is what the crash tests do: messages of all kinds come in by Accept and by the drop directory, are delivered,
// deferred, refused, expanded, held and tried again. It returns the recipients that were acknowledged and those that
// were refused to the sender, as keys of world.got().
func life(r *rig) (acked, refused []string) {
	r.users.lists["list"] = Expansion{Members: []Member{{Addr: "one@there.test"}, {Addr: "later2@else.test"}, {Addr: "bad2@there.test"}}}
	r.world.answer = answers
	take := func(id string, size int, when envelope.When, to ...string) string {
		e := mail("alice@here.test", when, to...)
		receipt, err := r.q.Accept(context.Background(), e, strings.NewReader(message(id, size)), Options{})
		for _, a := range to {
			if err == nil {
				acked = append(acked, id+" "+a)
			} else {
				refused = append(refused, id+" "+a)
			}
		}
		return receipt.ID
	}
	take("plain", 100, envelope.WhenNow, "bob@there.test")
	take("large", 200_000, envelope.WhenNow, "bob@there.test", "later@there.test", "bad@there.test", "list")
	take("several", 300, envelope.WhenNow, "bob@there.test", "later@else.test", "bad@other.test")
	held := take("held", 100, envelope.WhenQueue, "bob@there.test")
	if held != "" {
		r.q.Hold(held, "")
	}
	e := mail("alice@here.test", envelope.WhenBackground, "bob@there.test", "later@there.test")
	if _, err := spool.DropIn(r.fs, "/spool", e, strings.NewReader(message("drop", 100_000))); err == nil {
		acked = append(acked, "drop bob@there.test", "drop later@there.test")
	} else {
		refused = append(refused, "drop bob@there.test", "drop later@there.test")
	}
	r.q.RunOnce(context.Background(), nil)
	if held != "" {
		r.q.Release(held)
	}
	r.q.RunOnce(context.Background(), nil)
	r.closeQueue()
	return acked, refused
}

func answers(id, user string, try int) transport.Status {
	switch {
	case strings.HasPrefix(user, "later") && try == 1:
		return deferred()
	case strings.HasPrefix(user, "bad"):
		return failed()
	}
	return ok()
}

// finish restarts the queue and delivers what is left.
func finish(r *rig) {
	for range 4 {
		r.open()
		r.q.spool.Held(func(id string) bool { r.q.Release(id); return true })
		r.q.RunOnce(context.Background(), nil)
		r.closeQueue()
	}
}

// lost returns the acknowledged recipients who neither got their message nor a notice to the sender.
func lost(w *world, acked []string) (gone []string) {
	for _, key := range acked {
		id, to, _ := strings.Cut(key, " ")
		wants := []string{key}
		if to == "list" {
			wants = []string{id + " one@there.test", id + " later2@else.test", id + " bad2@there.test"}
		}
		for _, k := range wants {
			if strings.Contains(k, " bad") {
				k = "notice-" + id + " alice"
			}
			if w.got()[k] == 0 {
				gone = append(gone, k)
			}
		}
	}
	return gone
}

// The machine stops at every step in turn, in every way: nothing that was acknowledged is lost, whatever of the
// unsynced writes the disk kept.
func TestNothingAcknowledgedIsLostInACrash(t *testing.T) {
	t.Run("files", func(t *testing.T) { crashEverywhere(t, newRig) })
	t.Run("log", func(t *testing.T) { crashEverywhere(t, logRig) })
}

func logRig(t testing.TB) *rig {
	r := &rig{t: t, fs: crashfs.New(), world: newWorld(), users: &users{lists: map[string]Expansion{}, unknown: map[string]bool{}}, route: plainRoute, useLog: true}
	r.fs.Mkdir("/", 0)
	r.open()
	return r
}

func crashEverywhere(t *testing.T, newRig func(testing.TB) *rig) {
	r := newRig(t)
	before := r.fs.Steps()
	acked, _ := life(r)
	steps := r.fs.Steps()
	finish(r)
	if gone := lost(r.world, acked); len(gone) > 0 || len(acked) != 11 {
		t.Fatalf("without a crash: %d acknowledged, lost %v", len(acked), gone)
	}
	t.Logf("%d steps", steps-before)
	if steps-before < 60 {
		t.Fatalf("only %d steps: the test is void", steps-before)
	}
	total, duplicates := 0, 0
	for n := before + 1; n <= steps+1; n += stride {
		for _, how := range []struct {
			torn bool
			loss crashfs.Loss
		}{{false, crashfs.Nothing}, {true, crashfs.All}, {true, crashfs.Some}, {false, crashfs.Some}} {
			r := newRig(t)
			r.fs.StopAt(n, how.torn)
			acked, _ := life(r)
			r.fs = r.fs.Crash(how.loss, rand.New(rand.NewPCG(uint64(n), uint64(total))))
			finish(r)
			total++
			if gone := lost(r.world, acked); len(gone) > 0 {
				t.Fatalf("stopped at step %d, %+v: lost %v; queue %v, drop %v, bad %v, log %v", n, how, gone,
					r.queued(), r.fs.Names("/spool/drop"), r.fs.Names("/spool/bad"), r.slog.bad())
			}
			if names := r.queued(); len(names) > 0 && !onlyTemporary(names) {
				t.Fatalf("stopped at step %d, %+v: stuck %v", n, how, names)
			}
			for _, c := range r.world.got() {
				duplicates += c - 1
			}
			if names := r.fs.Names("/spool/bad"); how.loss == crashfs.Nothing && len(names) > 0 {
				t.Fatalf("stopped at step %d, %+v: set aside %v", n, how, names)
			}
		}
	}
	t.Logf("%d crashes, lost 0, copies too many %d", total, duplicates)
}

func onlyTemporary(names []string) bool {
	for _, n := range names {
		if n[0] != '.' {
			return false
		}
	}
	return true
}

// Each step fails in turn while the rest works: nothing is lost, what was refused is not delivered, and a sync that
// failed is not believed because a later one succeeded.
func TestNothingIsLostWhenAStepFails(t *testing.T) {
	t.Run("files", func(t *testing.T) { failEverywhere(t, newRig) })
	t.Run("log", func(t *testing.T) { failEverywhere(t, logRig) })
}

func failEverywhere(t *testing.T, newRig func(testing.TB) *rig) {
	r := newRig(t)
	before := r.fs.Steps()
	life(r)
	steps := r.fs.Steps()
	for i, trouble := range []error{syscall.EIO, syscall.ENOSPC, syscall.EROFS, syscall.EDQUOT, syscall.EMFILE} {
		for n := before + 1 + i; n <= steps+1; n += stride * (1 + i/3*4) {
			for _, cut := range []bool{false, true} {
				r := newRig(t)
				r.fs.FailAt(n, trouble)
				acked, refused := life(r)
				if cut {
					r.fs = r.fs.Crash(crashfs.All, nil)
				}
				finish(r)
				name := fmt.Sprintf("%v at step %d, power cut %v", trouble, n, cut)
				if gone := lost(r.world, acked); len(gone) > 0 {
					t.Fatalf("%s: lost %v", name, gone)
				}
				for _, key := range refused {
					if r.world.got()[key] > 0 {
						t.Fatalf("%s: refused and delivered: %s", name, key)
					}
				}
				for key, copies := range r.world.got() {
					if !cut && copies > 1 && !strings.HasPrefix(key, "notice-") {
						t.Fatalf("%s: %s was delivered %d times", name, key, copies)
					}
				}
			}
		}
	}
}
