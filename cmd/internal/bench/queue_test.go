package main

import "testing"

func TestFigures(t *testing.T) {
	all := map[string]figure{}
	for _, line := range []string{
		"goos: linux", "BenchmarkSync-2     \t    6000\t    457023 ns/op\t      2188 messages/s",
		"BenchmarkAccept/log/producers=32-2         \t    6000\t    145180 ns/op\t      6888 messages/s",
		"BenchmarkAccept/log/producers=32-2         \t    6000\t    145180 ns/op\t      7000 messages/s",
		"BenchmarkAccept/log/producers=32-2         \t    6000\t    145180 ns/op\t      9000 messages/s", "PASS",
	} {
		figures(all, line)
	}
	if got := all["Accept/log/producers=32"].median("messages/s"); got != 7000 {
		t.Errorf("median %v of %v", got, all)
	}
	if got := all["Sync"].String(); got != "  messages/s 2188" {
		t.Errorf("%q", got)
	}
}
