package check

import (
	"errors"
	"testing"

	"waybill/rules/prog"
	"waybill/rules/table"
)

// TestTableClasses: a class that a rule file may name is one that package table knows.
func TestTableClasses(t *testing.T) {
	for _, class := range TableClasses() {
		if _, err := table.Open(&prog.Table{Name: "t", Class: class}, table.Env{Native: true}); errors.Is(err, table.ErrClass) {
			t.Errorf("class %q: %v", class, err)
		}
	}
}
