package main

import (
	"os"
	"os/exec"
	"testing"
)

// TestBench runs everything a few times: the figures mean nothing, but the program works.
func TestBench(t *testing.T) {
	bin := t.TempDir()
	build := exec.Command("go", "build", "-o", bin+"/", "waybill/cmd/waybill", "waybill/cmd/sendmail")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := bench(bin, 3, "", []contestant{{name: "cat", args: []string{"cat"}}}); err != nil {
		t.Fatal(err)
	}
}
