package transport

import "testing"

func TestStatusIsNeverWithoutCodeAndReason(t *testing.T) {
	for _, bad := range []Status{
		{},
		NewStatus(Failed, "", "no such user"),
		NewStatus(Failed, "5.1.1", " "),
		NewStatus(Failed, "4.1.1", "class and outcome differ"),
		NewStatus(Delivered, "5.0.0", "class and outcome differ"),
		NewStatus(Failed, "5.1.1111", "detail too long"),
		NewStatus(Failed, "5.1", "two parts"),
	} {
		if bad.Outcome() != Deferred || !ValidCode(bad.Code()) || bad.Text() == "" {
			t.Errorf("%+v: a status that is not understood must be temporary, got %v %s %q", bad, bad.Outcome(), bad.Code(), bad.Text())
		}
	}
	s := NewStatus(Failed, "5.1.1", "no such user")
	if s.Outcome() != Failed || s.Code() != "5.1.1" || s.Text() != "no such user" {
		t.Errorf("got %v %s %q", s.Outcome(), s.Code(), s.Text())
	}
}
