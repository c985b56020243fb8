package queue

import (
	"waybill/queue/dsn"
	"waybill/queue/spool"
)

// A receipt for a recipient that became several is owed, like other notices, while it cannot be written: the recipient's
// outcome in the journal says so, and of what kind it was.
const (
	grownList  = "list"
	grownAlias = "alias"
)

// oweGrown notes that the receipts for these are still to be written.
func (a *try) oweGrown(grown []grownOf) {
	for _, g := range grown {
		s := a.m.Recipients[g.index].Status
		s.Owed, s.Diagnostic = dsn.Success.String(), grownAlias
		if g.how == dsn.ToList {
			s.Diagnostic = grownList
		}
		a.m.Note(spool.OutcomeOf{Index: g.index, Status: s})
	}
	a.owing = true
}

// paidGrown notes that receipts that were owed are written.
func (a *try) paidGrown(grown []grownOf) {
	for _, g := range grown {
		if s := a.m.Recipients[g.index].Status; s.Owed != "" {
			s.Owed = ""
			a.m.Note(spool.OutcomeOf{Index: g.index, Status: s})
		}
	}
}

// owedGrown is the receipt that recipient i is owed.
func owedGrown(i int, s *spool.Status) grownOf {
	g := grownOf{i, dsn.ToAlias}
	if s.Diagnostic == grownList {
		g.how = dsn.ToList
	}
	return g
}
