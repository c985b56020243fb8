package app

import (
	"bufio"
	"fmt"
	"os"
	"strings"

	"waybill/compat/cf"
)

// aliasPaths are the text files that a configuration has for aliases.
func aliasPaths(config string) ([]string, error) {
	if !isCF(config) {
		router, err := openRules(config)
		if err != nil {
			return nil, err
		}
		return router.TableFiles(router.Settings().Aliases), nil
	}
	conf, err := readCF(config, cf.Options{Host: cf.LocalHost("/etc/hosts")})
	if err != nil {
		return nil, err
	}
	var files []string
	for _, source := range conf.AliasSources() {
		if n := len(source.Args); n > 0 && source.Class != "ldap" && strings.HasPrefix(source.Args[n-1], "/") { // flags may stand before the file
			files = append(files, source.Args[n-1])
		}
	}
	return files, nil
}

// aliasStats is what newaliases tells about a file.
type aliasStats struct {
	entries, longest, total int
	wrong                   []string // what is wrong, line by line
	failed                  bool     // some of it is more than a warning
}

// countAliases counts the aliases of a file: their number, the longest right side, and all octets of names and right
// sides, as sendmail does.
func countAliases(file string) (aliasStats, error) {
	f, err := os.Open(file)
	if err != nil {
		return aliasStats{}, err
	}
	defer f.Close()
	var s aliasStats
	value := 0
	end := func() { s.longest, value = max(s.longest, value), 0 }
	in := bufio.NewScanner(f)
	in.Buffer(make([]byte, 64<<10), 1<<20)
	seen := map[string]bool{}
	for n := 1; in.Scan(); n++ {
		line := in.Text()
		complain := func(text string) { s.wrong = append(s.wrong, fmt.Sprintf("%s: line %d: %s", file, n, text)) }
		switch {
		case line == "" || line[0] == '#':
			continue
		case line[0] == ' ' || line[0] == '\t':
			n := len(strings.TrimSpace(line))
			value, s.total = value+n, s.total+n
			continue
		}
		name, right, ok := strings.Cut(line, ":")
		if !ok {
			complain("missing colon")
			s.failed = true
			continue
		}
		if key := strings.ToLower(strings.TrimSpace(name)); seen[key] {
			complain(key + "... Warning: duplicate alias name " + key)
		} else {
			seen[key] = true
		}
		end()
		s.entries++
		value = len(strings.TrimSpace(right))
		s.total += len(strings.TrimSpace(name)) + value
	}
	end()
	return s, in.Err()
}
