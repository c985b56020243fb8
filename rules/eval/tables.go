package eval

import (
	"context"
	"errors"
	"fmt"

	"waybill/rules/prog"
	"waybill/rules/table"
)

// Tables are the opened tables of a program.
type Tables = map[string]table.Table

// TableEnv is what tables need from outside.
type TableEnv = table.Env

// Resolver asks DNS for tables.
type Resolver = table.Resolver

// Record is one record of DNS.
type Record = table.Record

// OpenTables opens all tables of a program, in the order in which they are declared, so that one may ask those before
// it. A table that cannot be opened is reported; when it may become readable later, it is there and says "not now".
func OpenTables(p *prog.Program, env TableEnv) (Tables, []error) {
	tables := Tables{}
	var errs []error
	env = env.Shared()
	env.Table = func(name string) table.Table { return tables[name] }
	if p.Table(hostTable) == nil { // $[ $] asks it whether it is declared or not
		if t, err := table.Open(&prog.Table{Name: hostTable, Class: "host"}, env); err == nil {
			tables[hostTable] = t
		}
	}
	for _, def := range p.Tables {
		if def.Broken {
			tables[def.Name] = table.Broken{}
			continue
		}
		t, err := table.Open(def, env)
		if err != nil {
			errs = append(errs, err)
		}
		switch {
		case t != nil:
			tables[def.Name] = t
		case errors.Is(err, table.ErrClass): // there may be an answer, but not for us
			tables[def.Name] = table.Failing{Err: err}
		default:
			tables[def.Name] = table.Broken{}
		}
	}
	return tables, errs
}

// CheckTable looks at a declaration and returns what sendmail says when it makes no sense; empty when all is well.
func CheckTable(def *prog.Table, p *prog.Program) (say string, broken bool) {
	return table.Check(def, func(name string) bool { return p.Table(name) != nil })
}

// Answer is the answer of a table to a person who asks (sendmail -bt /map).
type Answer struct {
	Value  string
	Found  bool
	Status int // 0, 68 when there is nothing, 75 for "not now"
	Exists bool
	Open   bool     // false for a table whose file is not there
	Says   string   // what the real engine prints, empty when nothing
	During bool     // it says so while it looks, not when it opens the table
	Pos    prog.Pos // of the entry
	Err    error
}

// Ask looks up one key in one table.
func (e *Engine) Ask(ctx context.Context, name, key string, st *State) Answer {
	t := e.table(name)
	if t == nil {
		return Answer{}
	}
	a := Answer{Exists: true, Open: true}
	if o, ok := t.(interface{ Open() bool }); ok {
		a.Open = o.Open()
	}
	if e.setters[name] { // sendmail sets it without a value
		a.Found = true
		return a
	}
	r, found, err := t.Lookup(ctx, key, nil)
	a.Value, a.Found, a.Err, a.Pos = r.Value, found, err, r.Pos
	var says *Complaint
	if errors.As(err, &says) {
		a.Says, a.During = says.Say, says.Again
	}
	switch {
	case err != nil && table.Status(err) != 0:
		a.Status, a.Found = table.Status(err), false
	case found && err == nil:
		if n, ok := t.(interface{ Hit(key string) int }); ok {
			a.Status = n.Hit(key)
		}
	case err != nil || !found:
		a.Found = false
		a.Status = 68
		if n, ok := t.(interface{ Miss(key string) int }); ok {
			a.Status = n.Miss(key)
		}
		if a.Status == TempFail { // an error of the resolver that was about another name
			a.Says, a.During = key+": Name server timeout", true
		}
	}
	return a
}

// Complaint is an error of a table that says what the real engine prints.
type Complaint = table.Complaint

// hostTables are the questions about hosts that are asked beside rules.
type hostTables interface {
	Canonical(ctx context.Context, name string) (string, bool, error)
	MX(ctx context.Context, name string) (hosts []string, null bool, err error)
}

// Canonical makes a host name canonical with the table "host", as $[ $] does but without a dot at the end.
func (e *Engine) Canonical(ctx context.Context, name string) (string, bool, error) {
	if t, ok := e.tables[hostTable].(hostTables); ok {
		return t.Canonical(ctx, name)
	}
	return name, false, fmt.Errorf("no table %s", hostTable)
}

// MX returns the mail exchangers of a host with the table "host".
func (e *Engine) MX(ctx context.Context, name string) (hosts []string, null bool, err error) {
	if t, ok := e.tables[hostTable].(hostTables); ok {
		return t.MX(ctx, name)
	}
	return nil, false, fmt.Errorf("no table %s", hostTable)
}

// AskOnce opens a table, asks it for one key, and forgets it: for class files that name a map.
func AskOnce(t *prog.Table, key string, env TableEnv) (value string, found bool, err error) {
	opened, err := table.Open(t, env.Shared())
	if err != nil && opened == nil {
		return "", false, err
	}
	r, found, err := opened.Lookup(context.Background(), key, nil)
	return r.Value, found, err
}

// KnownHost reports whether a name stands for a host, by the hosts file or DNS; while DNS does not answer, it does not.
func KnownHost(ctx context.Context, name string, r Resolver) bool {
	t, err := table.Open(&prog.Table{Name: hostTable, Class: "host"}, TableEnv{Resolver: r}.Shared())
	if err != nil {
		return true
	}
	_, found, _ := t.Lookup(ctx, name, nil)
	return found
}
