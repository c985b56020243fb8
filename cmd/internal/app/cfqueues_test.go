package app

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"waybill/queue"
)

// The factors and the order of a sendmail.cf decide the order of its queue runs.
func TestSortOrderOfCF(t *testing.T) {
	at := func(s int64) time.Time { return time.Unix(1795000000+s, 0) }
	listed := func(w queue.Weights) []queue.Listed {
		list := []queue.Listed{
			{ID: "kAK31Xxp000003", Arrival: at(1), Changed: at(9), Given: 100, Attempts: 5, Recipients: []queue.ListedRecipient{{Name: "x@c.test"}}},
			{ID: "kAK31Xxp000001", Arrival: at(2), Changed: at(8), Given: 200, Recipients: []queue.ListedRecipient{{Name: "x@B.test"}, {Name: "y@b.test"}, {Name: "z@b.test"}}},
			{ID: "kAK31Xxp000002", Arrival: at(3), Changed: at(7), Given: 300, Priority: -60, Recipients: []queue.ListedRecipient{{Name: "x@a.test"}}},
		}
		for i := range list {
			l := &list[i]
			l.Job = w.Job(l.Given, l.Priority, len(l.Recipients), l.Attempts)
		}
		return list
	}
	for _, tt := range []struct{ options, want string }{
		{"", "123"},
		{"O RecipientFactor=0\nO ClassFactor=0\nO RetryFactor=0\n", "312"},
		{"O RecipientFactor=1000000\n", "231"},
		{"O QueueSortOrder=Host\n", "213"},
		{"O QueueSortOrder=time\n", "312"},
		{"O QueueSortOrder=FILENAME\n", "123"},
		{"O QueueSortOrder=modification\n", "213"},
		{"O QueueSortOrder=none\n", "312"},
	} {
		conf := policySite(t, tt.options).conf
		list := listed(cfWeights(conf))
		order, _ := conf.Option("QueueSortOrder", "")
		slices.SortStableFunc(list, sortOrder(order))
		var got strings.Builder
		for _, l := range list {
			got.WriteString(l.ID[13:])
		}
		if got.String() != tt.want {
			t.Errorf("%q: %s, want %s", tt.options, got.String(), tt.want)
		}
	}
}

func TestQueueDirectoriesOfCF(t *testing.T) {
	dir := t.TempDir()
	other := t.TempDir()
	for _, d := range []string{"q1", "q2", "queue", "hold", "other"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	os.WriteFile(filepath.Join(dir, "q3"), nil, 0o600)
	os.Symlink(other, filepath.Join(dir, "q4"))
	conf := policySite(t, "O QueueDirectory="+dir+"/q*\n").conf
	want := []string{dir + "/q1", dir + "/q2", dir + "/q4"}
	if s := cfSettings(conf); s.Spool != dir || !slices.Equal(s.Spread, want) {
		t.Errorf("spool %s, spread over %v; want %v", s.Spool, s.Spread, want)
	}
	if got := cfQueues(policySite(t, "O QueueDirectory="+dir+"\n").conf); got != nil {
		t.Errorf("one directory is %v", got)
	}
}
