package watch

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func start(t *testing.T) (*Watcher, context.Context) {
	w := New(slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	return w, ctx
}

func expect(t *testing.T, c <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(time.Minute):
		t.Fatal("not told of: " + what)
	}
}

func TestChangesAreTold(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "rules")
	other := filepath.Join(dir, "other")
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(file, "1")
	w, ctx := start(t)
	told := make(chan struct{}, 100)
	replace := w.Files([]string{file}, func() { told <- struct{}{} })
	dropped := make(chan struct{}, 100)
	drop := filepath.Join(dir, "drop")
	if err := os.Mkdir(drop, 0o700); err != nil {
		t.Fatal(err)
	}
	w.Dir(drop, func() { dropped <- struct{}{} })
	go w.Run(ctx)

	// What is done to a file that is not watched has been seen when a later change to another file is told.
	mark := filepath.Join(dir, "mark")
	marked := make(chan struct{}, 100)
	w.Files([]string{mark}, func() { marked <- struct{}{} })
	write(other, "not watched")
	write(mark, "1")
	expect(t, marked, "the mark")
	if len(told) > 0 {
		t.Fatal("told of a file that is not watched")
	}
	write(file, "22")
	expect(t, told, "a write")
	write(other, "333")
	if err := os.Rename(other, file); err != nil {
		t.Fatal(err)
	}
	expect(t, told, "a rename over the file")
	replace([]string{file, other})
	write(other, "watched now")
	expect(t, told, "a write to a file that was added")
	write(filepath.Join(drop, "m1"), "mail")
	expect(t, dropped, "a drop")
}

func TestComparingFindsWhatNoEventTold(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "rules")
	if err := os.WriteFile(file, []byte("1"), 0o600); err != nil {
		t.Fatal(err)
	}
	w := &Watcher{log: slog.New(slog.DiscardHandler)} // as where inotify is not to be had
	called := 0
	w.Files([]string{file}, func() { called++ })
	w.compare(false)
	w.fire(time.Now())
	if called != 0 {
		t.Fatal("told of a change that was none")
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	w.compare(false)
	w.fire(time.Now())
	if called != 1 {
		t.Fatalf("a removed file was told %d times", called)
	}
}
