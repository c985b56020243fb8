package spool

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const (
	// DefaultConfig is the rules file that is read when the caller names none.
	DefaultConfig = "/etc/waybill/waybill.rules"
	// DefaultSpool is the spool directory of a site that names none.
	DefaultSpool = "/var/spool/waybill"
	// sendmailSpool is that of a sendmail.cf.
	sendmailSpool = "/var/spool/mqueue"
)

// Site is all that a front end must know.
type Site struct {
	Host    string   // this host's full name
	Spool   string   // spool directory, absolute
	Socket  string   // the daemon's socket
	Trusted []string // users who may name another sender without a warning, beside root
	Local   []string // further names of this host, as far as a sendmail.cf tells them (class w)
	// Sendmail tells that the configuration is a sendmail.cf, or rules made of one (set level).
	Sendmail bool
	// Queue and LocalMailer tell that a sendmail.cf has a QueueDirectory and a mailer of the name local.
	Queue, LocalMailer bool
	Privacy            string // PrivacyOptions of a sendmail.cf, in lower case
	// Options are those of a sendmail.cf that say how the header of a message is completed, by name.
	Options map[string]string
	// Submits tells that a sendmail.cf is for submission only (UseMSP). Delivery is its DeliveryMode: its first letter, in
	// lower case; 0: it has none.
	Submits  bool
	Delivery byte
	// Nameless tells that the From field of a sendmail.cf has no full name: that of a null client, where no user is local.
	Nameless bool
}

// Anything reports whether this host has a configuration, or was set up without one: there is a default rules file, a
// sendmail.cf, or our spool.
func Anything() bool {
	for _, file := range []string{DefaultConfig, sendmailCF, submitCF, DefaultSpool} {
		if _, err := os.Stat(file); err == nil {
			return true
		}
	}
	return false
}

// Locate scans a rules file for its top-level lines "host NAME", "spool DIR" and "set trust USER..." and nothing else,
// so that the front end need not understand the language. configFile "" means DefaultConfig, which may be missing; a
// file that was named may not. Includes are not followed. Host defaults to this machine's name, made fully qualified
// with /etc/hosts or /etc/mailname and never with the DNS.
func Locate(configFile string) (Site, error) {
	var site Site
	named := configFile != ""
	if !named {
		configFile = DefaultConfig
	}
	f, err := os.Open(configFile)
	switch {
	case err == nil:
		defer f.Close()
		if isCF(configFile) {
			site.Sendmail = true
			err = site.scanCF(f)
		} else {
			err = site.scan(f, configFile)
		}
		if err != nil {
			return Site{}, err
		}
	case named || !errors.Is(err, fs.ErrNotExist):
		return Site{}, err
	}
	if site.Sendmail && strings.HasSuffix(site.Spool, "*") {
		// A pattern for several directories ("/var/spool/mqueue/q*") names ours by what stands before it.
		site.Spool = filepath.Dir(site.Spool)
	}
	if site.Spool == "" && site.Sendmail {
		site.Spool = sendmailSpool
	} else if site.Spool == "" {
		site.Spool = DefaultSpool
	}
	if !filepath.IsAbs(site.Spool) {
		return Site{}, fmt.Errorf("%s: spool %q is not an absolute path", configFile, site.Spool)
	}
	site.Socket = filepath.Join(site.Spool, socketName)
	if site.Host == "" {
		site.Host = hostName("/etc/hosts", "/etc/mailname")
	}
	return site, nil
}

func (s *Site) scan(f *os.File, name string) error {
	in := bufio.NewScanner(f)
	in.Buffer(make([]byte, 0, 4096), 1<<20)
	depth := 0
	class := "" // whose members are read: w or t
	for n := 1; in.Scan(); n++ {
		words, braces := tokens(in.Text())
		switch {
		case s.Sendmail && depth == 0 && len(words) > 2 && words[0] == "class" && (words[1] == "w" || words[1] == "t"):
			class = words[1]
			s.member(class, words[3:])
		case class != "":
			s.member(class, words)
		}
		if depth+braces == 0 {
			class = ""
		}
		if depth == 0 && len(words) == 3 && words[0] == "set" && words[1] == "level" {
			s.Sendmail = true
		}
		if depth == 0 && len(words) == 2 {
			switch words[0] {
			case "host":
				s.Host = words[1]
			case "spool":
				s.Spool = words[1]
			}
		}
		if depth == 0 && len(words) > 2 && words[0] == "set" && words[1] == "trust" {
			s.Trusted = append(s.Trusted, words[2:]...)
		}
		depth = max(0, depth+braces)
	}
	if err := in.Err(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// member takes members of the classes w and t, which in rules made of a sendmail.cf are our names and the trusted users.
func (s *Site) member(class string, list []string) {
	for _, w := range list {
		names := []string{w}
		if file, ok := strings.CutPrefix(w, "@"); ok {
			names = words(strings.TrimPrefix(file, "?"))
		}
		switch {
		case w == "{" || w == "}":
		case class == "w":
			s.Local = append(s.Local, names...)
		default:
			s.Trusted = append(s.Trusted, names...)
		}
	}
}

// tokens splits a line of the rule language into words, as far as Locate must know it: quotes, comments, and how many
// more braces it opens than it closes.
func tokens(line string) (words []string, braces int) {
	for i := 0; i < len(line); {
		switch c := line[i]; c {
		case ' ', '\t', '\r', ';':
			i++
		case '#':
			return words, braces
		case '{':
			braces++
			words = append(words, "{")
			i++
		case '}':
			braces--
			words = append(words, "}")
			i++
		case '"':
			var b strings.Builder
			for i++; i < len(line) && line[i] != '"'; i++ {
				if line[i] == '\\' && i+1 < len(line) {
					i++
				}
				b.WriteByte(line[i])
			}
			i++
			words = append(words, b.String())
		default:
			end := strings.IndexAny(line[i:], " \t\r;#{}\"")
			if end < 0 {
				end = len(line) - i
			}
			words = append(words, line[i:i+end])
			i += end
		}
	}
	return words, braces
}

// hostName is the full name of this host as its own files tell it.
func hostName(hosts, mailname string) string {
	name, err := os.Hostname()
	if err != nil || name == "" {
		name = "localhost"
	}
	if strings.Contains(name, ".") {
		return name
	}
	if text, err := os.ReadFile(hosts); err == nil {
		for line := range strings.Lines(string(text)) {
			line, _, _ = strings.Cut(line, "#")
			words := strings.Fields(line)
			for i, w := range words {
				if i == 0 || !strings.EqualFold(w, name) {
					continue
				}
				for _, full := range words[1:] {
					if strings.HasPrefix(strings.ToLower(full), strings.ToLower(name)+".") {
						return full
					}
				}
			}
		}
	}
	if text, err := os.ReadFile(mailname); err == nil {
		if words := strings.Fields(string(text)); len(words) > 0 {
			return words[0]
		}
	}
	return name
}
