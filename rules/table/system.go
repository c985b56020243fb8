package table

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"waybill/rules/prog"

	"waybill/rules/addr"
)

// user is the class user: the key is a login name, -v says which column of the passwd file is the value.
type users struct {
	*flags
	column int
	file   string
	told   atomic.Bool
}

var columns = map[string]int{"name": 1, "passwd": 2, "uid": 3, "gid": 4, "gecos": 5, "dir": 6, "shell": 7}

func newUsers(f *flags, env Env) (Table, error) {
	u := &users{flags: f, column: 1, file: "/etc/passwd"}
	switch n, err := strconv.Atoi(f.value); {
	case f.value == "" && (env.Native || !f.set['v']):
	case err == nil && env.Native:
		u.column = n
	default:
		if u.column = columns[f.value]; u.column == 0 && env.Native {
			return nil, fmt.Errorf("%s: table %s: unknown column %s", f.def.Pos, f.def.Name, f.value)
		}
	}
	return u, nil
}

func (u *users) Lookup(_ context.Context, key string, args []string) (Result, bool, error) {
	key = addr.Fold(key) // whatever -f says
	if u.column < 1 || u.column > 7 {
		err := fmt.Errorf("table %s: unknown column %s", u.def.Name, u.value)
		if u.told.Swap(true) {
			return Result{}, false, err
		}
		return Result{}, false, &Complaint{Say: "User map " + u.def.Name + ": unknown column name " + u.value, Err: err}
	}
	in, err := os.Open(u.file)
	if err != nil {
		return u.failed(key, err)
	}
	defer in.Close()
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		f := strings.Split(lines.Text(), ":")
		if f[0] != key || len(f) < 7 {
			continue
		}
		if u.match {
			return Result{Value: key + u.suffix}, true, nil
		}
		return u.found(key, f[u.column-1], args, u.def.Pos), true, nil
	}
	if err := lines.Err(); err != nil {
		return u.failed(key, err)
	}
	return Result{}, false, nil
}

// Miss is the status of a lookup that found nothing.
func (u *users) Miss(string) int { return 67 }

// program is the class program: it runs a program with the key as its last arguments, without a shell; what it writes
// in its first line is the value.
type program struct {
	*flags
	env Env
}

// programTime is how long a program of a table may take.
const programOutput = 4096

// programLingers is how long something that a program has left behind may keep its output open.
const programLingers = 5 * time.Second

func (p *program) Lookup(ctx context.Context, raw string, args []string) (Result, bool, error) {
	if strings.HasPrefix(raw, "-") && p.env.Program == nil && !slices.Contains(p.rest, "--") { // sendmail passes it on
		return p.failed(raw, fmt.Errorf("table %s: %q would be taken for an option; \"--\" behind the program says that it is none", p.def.Name, raw))
	}
	argv := append(append([]string(nil), p.rest...), raw)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = []string{"PATH=/usr/bin:/bin"}
	cmd.Stderr, cmd.WaitDelay = p.env.Stderr, programLingers
	if p.env.Program != nil {
		if err := p.env.Program(cmd); err != nil {
			return p.failed(raw, fmt.Errorf("table %s: %w", p.def.Name, err))
		}
	}
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) && ctx.Err() == nil {
			return Result{}, false, &Trouble{Status: 78, Err: fmt.Errorf("table %s: %w", p.def.Name, err)}
		}
		if errors.As(err, &exit) && exit.ExitCode() != 75 { // the status is no more than shown
			why := fmt.Errorf("table %s: %s: %w", p.def.Name, argv[0], err)
			if exit.ExitCode() >= 0 || ctx.Err() != nil {
				return Result{}, false, &Trouble{Status: max(exit.ExitCode(), 1), Err: why}
			}
			signal := 0
			if status, ok := exit.Sys().(syscall.WaitStatus); ok {
				signal = int(status.Signal())
			}
			return Result{}, false, &Complaint{Say: fmt.Sprintf("prog_map_lookup(%s): child died on signal %d", p.def.Name, signal), Err: &Trouble{Status: 69, Err: why}, Again: true}
		}
		if errors.As(err, &exit) || ctx.Err() != nil {
			return p.failed(raw, fmt.Errorf("table %s: %s: %w", p.def.Name, argv[0], err))
		}
		return Result{}, false, nil
	}
	if len(out) == 0 {
		return Result{}, false, nil
	}
	line, _, _ := strings.Cut(string(out[:min(len(out), programOutput)]), "\n")
	return p.found(raw, line, args, prog.Pos{}), true, nil
}

// Miss is the status of a lookup that found nothing: a program that is silent says so with its own status.
func (p *program) Miss(string) int { return 0 }

// syslogTable is the class syslog: it always finds, with an empty value. What it would log goes to the tracer and the
// log of the program that asks.
type syslogTable struct{}

func (syslogTable) Lookup(context.Context, string, []string) (Result, bool, error) {
	return Result{}, true, nil
}

// newSwitch is the class switch: the service switch file says which members ("name.service") are asked, in order.
func newSwitch(f *flags, env Env) (Table, error) {
	if len(f.rest) == 0 {
		return nil, fmt.Errorf("%s: table %s: no service", f.def.Pos, f.def.Name)
	}
	s := &sequence{flags: f}
	list := services(env.Services, f.rest[0], map[string][]string{"aliases": {"files"}, "hosts": {"dns", "files"}}[f.rest[0]])
	if list == nil {
		s.missing = fmt.Errorf("table %s: no service %s in %s", f.def.Name, f.rest[0], env.Services)
	}
	for _, service := range list {
		if env.Table == nil {
			break
		}
		if t := env.Table(f.def.Name + "." + service); t != nil {
			s.members = append(s.members, t)
		} else if !env.Native {
			s.says = append(s.says, "Switch map "+f.def.Name+": unknown member map "+f.def.Name+"."+service)
		}
	}
	return s, nil
}
