package maillog

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
)

// Handler returns a handler for a *slog.Logger that writes the program's own messages into the same log. An attribute
// "id" at the top becomes the mark in front of the line; warnings and errors are marked in the text too.
func (l *Log) Handler(least slog.Level) slog.Handler { return &handler{log: l, least: least} }

type handler struct {
	log    *Log
	least  slog.Level
	id     string
	attrs  string // rendered
	prefix string // of the open groups, each with a dot
}

func (h *handler) Enabled(_ context.Context, level slog.Level) bool { return level >= h.least }

func (h *handler) Handle(_ context.Context, r slog.Record) error {
	at := *h
	r.Attrs(func(a slog.Attr) bool {
		at.add(a)
		return true
	})
	text := r.Message
	switch {
	case r.Level >= slog.LevelError:
		text = "error: " + text
	case r.Level >= slog.LevelWarn:
		text = "warning: " + text
	}
	h.log.level(r.Level, at.id, text+at.attrs)
	return nil
}

func (h *handler) add(a slog.Attr) {
	v := a.Value.Resolve()
	if v.Kind() == slog.KindGroup {
		inner := *h
		if a.Key != "" {
			inner.prefix += a.Key + "."
		}
		for _, b := range v.Group() {
			inner.add(b)
		}
		h.attrs = inner.attrs
		return
	}
	if a.Key == "id" && h.prefix == "" {
		h.id = v.String()
		return
	}
	text := v.String()
	if strings.ContainsAny(text, " ,\"") {
		text = fmt.Sprintf("%q", text)
	}
	h.attrs += ", " + h.prefix + a.Key + "=" + text
}

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	next := *h
	for _, a := range attrs {
		next.add(a)
	}
	return &next
}

func (h *handler) WithGroup(name string) slog.Handler {
	next := *h
	if name != "" {
		next.prefix += name + "."
	}
	return &next
}
