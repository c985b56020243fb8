package uucp

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"waybill/transport"
)

// remains makes what a crash leaves: a plan and its data files.
func remains(t *testing.T, spool, site string, layout Layout, files ...string) (plan string) {
	t.Helper()
	plan = filepath.Join(spool, ".Temp", "WB.abcdefghijk.1x."+site)
	text := fmt.Sprintf("S %s D.alphaC0001 daemon -C %s 0666\nS %s X.alphaC0002 daemon -C %s 0666\n", filepath.Base(files[0]), filepath.Base(files[0]), filepath.Base(files[1]), filepath.Base(files[1]))
	put := map[string]string{plan: text}
	for _, f := range files {
		put[filepath.Join(spool, site, f)] = "x"
	}
	for name, text := range put {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return plan
}

func TestSweep(t *testing.T) {
	for name, c := range map[string]struct {
		layout  Layout
		files   []string
		prepare func(t *testing.T, spool, plan string) // what is different
		left    bool                                   // the data files stay
		plan    bool                                   // the plan stays
	}{
		"left over":     {files: []string{"D./D.00A1", "D.X/D.X00A2"}},
		"number X0A1":   {files: []string{"D./D.X0A1", "D.X/D.X00A2"}},
		"left over BNU": {layout: BNU, files: []string{"D.beta00A1001", "D.beta00A1002"}},
		"young": {files: []string{"D./D.00A1", "D.X/D.X00A2"}, left: true, plan: true, prepare: func(t *testing.T, spool, plan string) {
			_ = os.Chtimes(plan, time.Now(), time.Now())
		}},
		"being made": {files: []string{"D./D.00A1", "D.X/D.X00A2"}, left: true, plan: true, prepare: func(t *testing.T, spool, plan string) {
			f, err := os.Open(plan)
			if err == nil {
				err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
			}
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { f.Close() })
		}},
		"published": {files: []string{"D./D.00A1", "D.X/D.X00A2"}, left: true, prepare: func(t *testing.T, spool, plan string) {
			if err := os.MkdirAll(spool+"/beta/C.", 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Link(plan, spool+"/beta/C./C.CABC"); err != nil {
				t.Fatal(err)
			}
		}},
		"named by another's job": {files: []string{"D./D.00A1", "D.X/D.X00A2"}, left: true, plan: true, prepare: func(t *testing.T, spool, plan string) {
			if err := os.MkdirAll(spool+"/beta/C.", 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(spool+"/beta/C./C.other", []byte("E D.00A1 D.alphaC00A1 bob -C D.00A1 0666 \"\" 0 rmail x\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}},
		"outside": {files: []string{"D./D.00A1", "D.X/D.X00A2"}, left: true, prepare: func(t *testing.T, spool, plan string) {
			if err := os.WriteFile(plan, []byte("S D.00A1/../D.00A1 x\nS ../D./D.00A1 x\nS X.00A1 x\nS D.00A1"), 0o600); err != nil {
				t.Fatal(err)
			}
			_ = os.Chtimes(plan, time.Unix(1, 0), time.Unix(1, 0))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			u, spool := open(t, Config{Layout: c.layout})
			plan := remains(t, spool, "beta", c.layout, c.files...)
			// what is not ours stays in any case
			others := []string{spool + "/beta/" + filepath.Dir(c.files[0]) + "/D.0FFF", spool + "/.Temp/TM.other"}
			for _, o := range others {
				if err := os.WriteFile(o, nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			_ = os.Chtimes(plan, time.Unix(1, 0), time.Unix(1, 0))
			if c.prepare != nil {
				c.prepare(t, spool, plan)
			}
			check(t, u.Deliver(context.Background(), request("bob"))[0], transport.Relayed, "2.0.0")
			for _, f := range c.files {
				if got := exists(filepath.Join(spool, "beta", f)); got != c.left {
					t.Errorf("%s is there: %v", f, got)
				}
			}
			if got := exists(plan); got != c.plan {
				t.Errorf("the plan is there: %v", got)
			}
			for _, o := range others {
				if !exists(o) {
					t.Errorf("%s has gone", o)
				}
			}
			if n := strings.Count(tree(t, spool), "C rmail bob"); n != 1 {
				t.Errorf("%d jobs", n)
			}
		})
	}
}

func TestSweepDrop(t *testing.T) {
	u, spool := open(t, Config{Layout: Drop, Batch: true})
	dir := filepath.Join(spool, "beta")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{".abcdefghijk.bsmtp.1x", ".other", "abcdefghijk.bsmtp", ".abcdefghijk.bsmtp.2y"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if name != ".abcdefghijk.bsmtp.2y" { // young
			_ = os.Chtimes(filepath.Join(dir, name), time.Unix(1, 0), time.Unix(1, 0))
		}
	}
	u.sweep(slog.Default())
	for name, want := range map[string]bool{".abcdefghijk.bsmtp.1x": false, ".other": true, "abcdefghijk.bsmtp": true, ".abcdefghijk.bsmtp.2y": true} {
		if got := exists(filepath.Join(dir, name)); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// The other two layouts, killed at every step: one job for each message after the retry, whole, and nothing else.
func TestKilledAtEveryStepOfOtherLayouts(t *testing.T) {
	t.Parallel()
	self, err := plainSelf()
	if err != nil {
		t.Fatal(err)
	}
	writer := filepath.Join(t.TempDir(), "writer")
	writeProgram(t, writer, self, 0o755)
	for layout, steps := range map[string][]string{"bnu": steps, "drop": {"data created", "data synced", "command published"}} {
		spool := t.TempDir()
		for _, step := range steps {
			for _, at := range []string{step, "never"} {
				cmd := exec.Command(writer)
				cmd.Env = append(os.Environ(), "UUCP_TEST_LAYOUT="+layout, "UUCP_TEST_KILL="+at, "UUCP_TEST_ID=id-"+strings.ReplaceAll(step, " ", "-"), "UUCP_TEST_SPOOL="+spool)
				if err := cmd.Run(); (err == nil) != (at == "never") {
					t.Errorf("%s: %v", at, err)
				}
			}
		}
		u, err := New(Config{Spool: spool, Node: "alpha", Sites: []string{"beta"}, Layout: map[string]Layout{"bnu": BNU, "drop": Drop}[layout], Batch: layout == "drop"})
		if err != nil {
			t.Fatal(err)
		}
		u.sweepAge = 0
		u.sweep(slog.Default())
		jobs, _ := filepath.Glob(spool + "/beta/*.bsmtp")
		data := 0
		if layout == "bnu" {
			jobs, _ = filepath.Glob(spool + "/beta/C.*")
			for _, name := range jobs {
				text, err := os.ReadFile(name)
				if err != nil {
					t.Fatal(err)
				}
				for line := range strings.Lines(string(text)) {
					if info, err := os.Stat(filepath.Join(spool, "beta", strings.Fields(line)[1])); err != nil || info.Size() == 0 {
						t.Errorf("%s: %v", name, err)
					}
					data++
				}
			}
		}
		files, _ := os.ReadDir(spool + "/beta")
		if len(jobs) != len(steps) || len(files) != len(jobs)+data {
			t.Errorf("%s: %d jobs of %d, %d files:\n%s", layout, len(jobs), len(steps), len(files), tree(t, spool))
		}
	}
}
