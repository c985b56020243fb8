package getopt

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, c := range []struct{ line, want, rest, fails string }{
		{"", "", "", ""},
		{"name", "", "name", ""},
		{"-a -b name -a", "a b", "name -a", ""},
		{"-ab", "a b", "", ""},
		{"-abCfile x", "a b C=file", "x", ""},
		{"-C file -a", "C=file a", "", ""},
		{"-C -a", "C=-a", "", ""},
		{"-a -- -b", "a", "-b", ""},
		{"-a - -b", "a", "- -b", ""},
		{"-aC", "a", "", "option requires an argument -- 'C'"},
		{"-az", "a", "", "invalid option -- 'z'"},
		{"-:", "", "", "invalid option -- ':'"},
		{"-x", "", "", "no x"},
	} {
		var got []string
		rest, err := Parse(strings.Fields(c.line), "abC:x", func(letter byte, value string) error {
			if letter == 'x' {
				return errors.New("no x")
			}
			if value != "" {
				value = "=" + value
			}
			got = append(got, fmt.Sprintf("%c%s", letter, value))
			return nil
		})
		failed := ""
		if err != nil {
			failed = err.Error()
		}
		if failed != c.fails || strings.Join(got, " ") != c.want || err == nil && !slices.Equal(rest, strings.Fields(c.rest)) {
			t.Errorf("%q: options %q, rest %q, error %v", c.line, got, rest, err)
		}
	}
}
