package table

import "context"

// View is what the tables of a configuration held at one moment. Whoever asks tables with a context of it gets the
// answers of that moment, whatever is read again meanwhile, and from all tables alike.
type View struct{ now map[*file]*snapshot }

type viewKey struct{}

// Look makes a view of what tables hold now; nil when none of them can change.
func Look(tables map[string]Table) *View {
	v := &View{now: map[*file]*snapshot{}}
	for _, t := range tables {
		if f, ok := t.(interface{ base() *file }); ok {
			v.now[f.base()] = f.base().now.Load()
		}
	}
	if len(v.now) == 0 {
		return nil
	}
	return v
}

// In returns a context in which tables answer as they did when the view was made.
func (v *View) In(ctx context.Context) context.Context {
	if v == nil {
		return ctx
	}
	return context.WithValue(ctx, viewKey{}, v)
}

func (t *file) base() *file { return t }

// at is the content that counts for a context.
func (t *file) at(ctx context.Context) *snapshot {
	if v, ok := ctx.Value(viewKey{}).(*View); ok {
		if s := v.now[t]; s != nil {
			return s
		}
	}
	return t.now.Load()
}
