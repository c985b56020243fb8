// Package newaliases reads an alias file as sendmail -bi does when it builds its database, and tells what sendmail would
// say of it. In flows a file in the format of aliases(5); out flow the numbers of the summary line and the complaints,
// in sendmail's words. Nothing is built: Waybill reads the file itself.
package newaliases

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"strings"

	"waybill/compat/submit"
	"waybill/transport/sysexits"
)

// Complaint is a line that newaliases prints.
type Complaint struct {
	Text  string
	Fault bool // sendmail's log has it as an error of the system
}

// Result is what is told of one file.
type Result struct {
	Aliases, Longest, Total int // names; the longest right side in octets; octets of names and right sides
	Complaints              []Complaint
	Exit                    int // sysexits: that of the first error
	Entries                 []Entry
}

// Entry is one alias as a database has it: the name in lower case, and its right side.
type Entry struct{ Name, Value string }

// Summary is the line that ends the report on a file.
func (r Result) Summary(file string) string {
	return fmt.Sprintf("%s: %d aliases, longest %d bytes, %d bytes total", file, r.Aliases, r.Longest, r.Total)
}

// Reader knows how to read names.
type Reader struct {
	// Local finds the name under which an address is a user of this host: "bob" for "bob@this.host". Not ok means that it
	// is somebody elsewhere, a program or a file. nil: names with "@", "|" or "/" are not local.
	Local func(name string) (user string, ok bool)
	// Members checks the right sides, too (CheckAliases).
	Members bool
}

// maxShown is how much of a line a complaint shows.
const maxShown = 40

// Read reads a file. name is its name, for the complaints. The error is that of in.
func (a Reader) Read(in io.Reader, name string) (Result, error) {
	var r Result
	complain := func(line, exit int, format string, args ...any) {
		if r.Exit == sysexits.OK {
			r.Exit = exit
		}
		r.Complaints = append(r.Complaints, Complaint{fmt.Sprintf("%s: line %d: ", name, line) + fmt.Sprintf(format, args...), exit == sysexits.Software})
	}
	lines := bufio.NewReader(in)
	next := func() (string, error) {
		line, err := lines.ReadString('\n')
		if err == io.EOF && line != "" {
			err = nil
		}
		return strings.TrimSuffix(line, "\n"), err
	}
	seen := map[string]bool{}
	line, err := next()
	for n := 1; err == nil; {
		text := line
		n++
		line, err = next()
		for err == nil && continues(line) && text != "" && text[0] != '#' && !continues(text) {
			text += strings.TrimRight(line, " \t")
			n++
			line, err = next()
		}
		at := n - 1 // the last line of an entry is the one that complaints name
		switch {
		case text == "" || text[0] == '#':
			continue
		case continues(text):
			if strings.TrimSpace(text) != "" {
				complain(at, sysexits.Software, "Non-continuation line starts with space")
			}
			continue
		}
		i := colon(text)
		if i < 0 {
			complain(at, sysexits.Software, "missing colon")
			continue
		}
		key, value := strings.TrimSpace(text[:i]), strings.TrimRight(strings.TrimLeft(text[i+1:], " \t"), " \t")
		if key == "" {
			complain(at, sysexits.Software, "%s... illegal alias name", text[:min(len(text), maxShown)])
			continue
		}
		user, ok := a.local(key)
		if !ok {
			for _, m := range submit.ParseList(key) {
				if m.Problem != "" && !strings.ContainsAny(key[:1], "|/") {
					complain(at, sysexits.Usage, "%s... %s", key, m.Problem)
				}
			}
			complain(at, sysexits.Software, "%s... cannot alias non-local names", key)
			continue
		}
		if value == "" {
			complain(at, sysexits.Software, "%s... missing value for alias", text[:min(len(text), maxShown)])
			continue
		}
		if a.Members {
			for _, problem := range problems(value) {
				complain(at, sysexits.Usage, "%s", problem)
			}
		}
		if lower := strings.ToLower(user); seen[lower] {
			complain(at, sysexits.OK, "%s... Warning: duplicate alias name %s", user, lower)
		} else {
			seen[lower] = true
		}
		r.Entries = append(r.Entries, Entry{strings.ToLower(user), value})
		r.Aliases++
		r.Longest = max(r.Longest, len(value))
		r.Total += len(user) + len(value)
	}
	if err == io.EOF {
		err = nil
	}
	return r, err
}

func continues(line string) bool { return line != "" && (line[0] == ' ' || line[0] == '\t') }

func (a Reader) local(key string) (string, bool) {
	if !strings.ContainsAny(key, "@|/!%<:,;(") {
		return key, true
	}
	if key[0] == '"' && strings.HasSuffix(key, `"`) {
		return key, true
	}
	if a.Local == nil {
		return "", false
	}
	return a.Local(key)
}

// colon finds the colon behind a name; one inside of quotes belongs to the name.
func colon(line string) int {
	quoted := false
	for i := range len(line) {
		switch {
		case line[i] == '"':
			quoted = !quoted
		case line[i] == ':' && !quoted:
			return i
		}
	}
	return -1
}

// problems tells what is wrong with the members of a list. sendmail shows a list from the place on where it is stuck.
func problems(list string) (all []string) {
	for rest := list; rest != ""; {
		rest = strings.TrimLeft(rest, " \t,")
		end := comma(rest)
		member := strings.TrimSpace(rest[:end])
		if member != "" && !strings.ContainsAny(member[:1], `|/"\:`) {
			for _, m := range submit.ParseList(member) {
				if what := cmp.Or(m.Warning, m.Problem); what != "" {
					all = append(all, rest+"... "+what)
				}
			}
		}
		rest = rest[end:]
	}
	return all
}

// comma is where the first member of a list ends.
func comma(list string) int {
	quoted := false
	for i := range len(list) {
		switch {
		case list[i] == '"':
			quoted = !quoted
		case list[i] == ',' && !quoted:
			return i
		}
	}
	return len(list)
}
