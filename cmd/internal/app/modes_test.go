package app

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"waybill/compat/flags"
)

// "sendmail -C waybill.rules -bd" names a file of the directory where it is typed; the daemon works in another one.
func TestTheDaemonFindsAConfigurationThatWasNamedRelatively(t *testing.T) {
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		config string
		want   []string
	}{
		{"", nil},
		{"/etc/x.rules", []string{"-C", "/etc/x.rules"}},
		{"x.rules", []string{"-C", filepath.Join(here, "x.rules")}},
	} {
		if got := configArgs(&flags.Invocation{ConfigFile: c.config}); !slices.Equal(got, c.want) {
			t.Errorf("%q: %q, want %q", c.config, got, c.want)
		}
	}
}
