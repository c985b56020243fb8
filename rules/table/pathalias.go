package table

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"waybill/rules/prog"
)

// routes is a table of routes as pathalias(8) writes them: on each line a host or, with a dot before it, a domain; then
// the route, in which %s stands for the address at the end:
//
//	gamma          beta!gamma!%s
//	.rutgers.edu   seismo!%s
//
// The key is a host, the first argument the address there. The host itself is looked for, then the domains above it,
// the longest first; by a domain the host becomes a part of the address: caip.rutgers.edu with pleasant gives
// seismo!caip.rutgers.edu!pleasant. What is put in for %s is data and not looked at again.
type routes struct{ *file }

// Lacks says nothing: the domains of a host may be there.
func (t routes) Lacks(context.Context, []byte, bool) bool { return false }

// Lookup asks for the host, then for its domains.
func (t routes) Lookup(ctx context.Context, host string, args []string) (Result, bool, error) {
	host = strings.TrimSuffix(host, ".")
	address := "%s"
	if len(args) > 0 {
		address = args[0]
	}
	for key := host; key != ""; {
		r, found, err := t.file.Lookup(ctx, key, nil)
		if err != nil {
			return r, found, err
		}
		if found {
			r.Value = printf(r.Value, address)
			return r, true, nil
		}
		if key == host {
			address = host + "!" + address
		}
		dot := strings.IndexByte(key[1:], '.')
		if dot < 0 {
			break
		}
		key = key[1+dot:]
	}
	return Result{}, false, nil
}

// printf puts the address in for %s; %% is a percent sign.
func printf(route, address string) string {
	var b strings.Builder
	for i := 0; i < len(route); i++ {
		switch {
		case strings.HasPrefix(route[i:], "%s"):
			b.WriteString(address)
			i++
		case strings.HasPrefix(route[i:], "%%"):
			b.WriteByte('%')
			i++
		default:
			b.WriteByte(route[i])
		}
	}
	return b.String()
}

// loadRoutes reads pathalias output; the costs that its option -c puts before each line are left out.
func loadRoutes(r io.Reader, name string) (content, []Warning, error) {
	var b builder
	var warnings []Warning
	err := eachLine(r, func(n int, line []byte) error {
		f := bytes.Fields(line)
		if len(f) == 0 || f[0][0] == '#' {
			return nil
		}
		if len(f) == 3 {
			if _, err := strconv.Atoi(string(f[0])); err == nil {
				f = f[1:]
			}
		}
		if len(f) != 2 || !bytes.Contains(f[1], []byte("%s")) {
			warnings = append(warnings, Warning{prog.Pos{File: name, Line: n}, fmt.Sprintf("%s: not a host and a route with %%s", f[0])})
			return nil
		}
		return b.add(foldBytes(f[0]), bytes.ReplaceAll(f[1], []byte("%"), []byte("%%")), n) // found takes one of them away
	})
	if err != nil {
		return nil, nil, err
	}
	return &entries{name, b.done(nil)}, warnings, nil
}
