package app

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"waybill/compat/cf"
	"waybill/compat/flags"
	"waybill/transport"
)

// With HostStatusDirectory, what is known of other hosts outlives the process: one file for each host, with the time in
// seconds since 1970, a blank, and what sendmail's hoststat prints.

// hostsDirectory is where; empty: nowhere.
func hostsDirectory(conf *cf.Config) string {
	v, _ := conf.Option("HostStatusDirectory", "")
	if v = strings.TrimSpace(v); v != "" && !filepath.IsAbs(v) {
		dir, _ := conf.Option("QueueDirectory", "")
		v = filepath.Join(dir, v)
	}
	return v
}

// noteHosts remembers how a delivery went.
func (c *cfSite) noteHosts(statuses []transport.Status) {
	dir := hostsDirectory(c.conf)
	if dir == "" {
		return
	}
	best := map[string]string{}
	for _, s := range statuses {
		host, _, reached := strings.Cut(s.Remote, " [")
		if !validHostFile(host) || !reached {
			continue
		}
		result := "OK"
		switch {
		case s.Outcome() == transport.Relayed:
			result = s.Reply
		case s.Outcome() == transport.Deferred && s.Reply == "":
			result, _, _ = strings.Cut("Deferred: "+s.Text(), " by ")
		}
		if best[host] == "" || s.Outcome() == transport.Relayed {
			best[host] = result
		}
	}
	for host, result := range best {
		text := fmt.Sprintf("%d %s\n", time.Now().Unix(), strings.Map(oneLine, result))
		if f, err := os.OpenFile(filepath.Join(dir, host), os.O_WRONLY|os.O_CREATE|os.O_TRUNC|syscall.O_NOFOLLOW, 0o644); err == nil {
			_, _ = f.WriteString(text)
			_ = f.Close()
		} // whoever cannot write there has nothing to remember
	}
}

func validHostFile(name string) bool {
	return name != "" && name[0] != '.' && len(name) < 200 && strings.Trim(strings.ToLower(name), "abcdefghijklmnopqrstuvwxyz0123456789.-_[]:") == ""
}

// hostFiles is hoststat, and with purge purgestat, over these files: purgestat removes those that are older than
// Timeout.hoststatus.
func hostFiles(out io.Writer, conf *cf.Config, purge, verbose bool) error {
	dir := hostsDirectory(conf)
	if dir == "" {
		return nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	old := 30 * time.Minute
	if v, ok := conf.Option("Timeout", "hoststatus"); ok {
		if d, ok := flags.Duration(v, time.Minute); ok {
			old = d
		}
	}
	labels := func(name string) string { // "com.example.sink": hosts of a domain stand together
		l := strings.Split(strings.ToLower(name), ".")
		slices.Reverse(l)
		return strings.Join(l, ".")
	}
	slices.SortFunc(entries, func(a, b os.DirEntry) int { return strings.Compare(labels(a.Name()), labels(b.Name())) })
	first := true
	for _, e := range entries {
		if !validHostFile(e.Name()) {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		at, result, ok := strings.Cut(strings.TrimSpace(string(data)), " ")
		sec, nerr := strconv.ParseInt(at, 10, 64)
		if err != nil || nerr != nil || !ok {
			continue
		}
		age := time.Since(time.Unix(sec, 0))
		if purge {
			if age > old {
				os.Remove(filepath.Join(dir, e.Name()))
			}
			continue
		}
		if first {
			first = false
			fmt.Fprintln(out, hostLine)
		}
		width := 27
		if verbose {
			width = 200
		}
		if strings.HasPrefix(result, "Deferred") && !verbose {
			width = 25
		}
		fmt.Fprintf(out, " %-39s %12s %s\n", clipTo(e.Name(), 39), ago(age), clipTo(result, width))
	}
	return nil
}
