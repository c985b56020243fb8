package dsn

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestBounceParserReadsIt gives the golden notices to a bounce parser that mailing lists use, Perl's
// Mail::DeliveryStatus::BounceParser: it must find the same recipients and reasons, and no bounce in what is none.
func TestBounceParserReadsIt(t *testing.T) {
	const script = `use Mail::DeliveryStatus::BounceParser; local $/; open F, "<", shift or die; my $b = Mail::DeliveryStatus::BounceParser->new(<F>);
print join(";", $b->is_bounce ? "bounce" : "none", map { $_->get("email")." ".$_->get("std_reason") } $b->reports)`
	for name, want := range map[string]string{
		"failure": "bounce;No+such@example.net user_unknown;full@mail.example.org over_quota",
		"expired": "bounce;bob@example.net domain_error",
		"double":  "bounce;spammer@example.net unknown",
		"program": "bounce;robot@mail.example.org unknown",
		"delay":   "none",
		"success": "none",
	} {
		out, err := exec.Command("perl", "-e", script, filepath.Join("testdata", name+".eml")).CombinedOutput()
		if err != nil {
			t.Fatalf("%v (make peers installs what the tests need)\n%s", err, out)
		}
		if got := strings.TrimSpace(string(out)); got != want {
			t.Errorf("%s: the parser says %q, want %q", name, got, want)
		}
	}
}
