package table

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// LDAP is what the K line of an ldap map says (Sendmail Operations Guide 5.11, "ldap"): where the directory is, as whom
// it is asked, and what for.
type LDAP struct {
	Hosts     []string // -h, "host" or "host:port"; with -H empty
	URI       string   // -H, several with blanks between them
	Port      int      // -p; 0: the usual one
	Base      string   // -b
	Scope     string   // -s: base, one, sub
	Filter    string   // -k: %s the key as it is, %0 the key as a value of a filter, with -K %1 to %9 the arguments
	Values    []LDAPValue
	Bind      string        // -d, a distinguished name; empty: nobody
	Method    string        // -M: none, simple, krbv4
	Secret    string        // -P: the file with the password, or what krbv4 calls so
	Limit     int           // -Z, entries; 0: the server's limit
	Time      time.Duration // -l; 0: the server's limit
	Connect   time.Duration // -c; 0: a minute
	Deref     string        // -r: never, always, search, find
	Version   int           // -w; the protocol that is spoken is always 3
	One       bool          // -1: more than one entry is none
	NamesOnly bool          // -n: the names of attributes, not their values
	NoChase   bool          // -R: referrals are not followed
	Multiple  bool          // -K
	Separator string        // -V: stands between the name of an attribute and its value
	Delimiter string        // -z: stands between values; empty: there is one value
}

// LDAPValue is one attribute of -v.
type LDAPValue struct {
	Name    string
	Kind    string   // NORMAL; DN, FILTER and URL lead to further entries
	Classes []string // object classes that an entry must have one of; empty: any
}

// Server is how sendmail calls the directory in what it says.
func (l *LDAP) Server() string {
	switch {
	case l.URI != "":
		return l.URI
	case len(l.Hosts) > 0:
		return strings.Join(l.Hosts, " ")
	}
	return "localhost"
}

// quotedWords puts words together that a pair of quotation marks holds together: -b "o=Acme Inc, c=US". The marks go.
func quotedWords(args []string) []string {
	if !strings.Contains(strings.Join(args, " "), `"`) {
		return args
	}
	var out []string
	for i := 0; i < len(args); i++ {
		head, rest, ok := strings.Cut(args[i], `"`)
		if !ok || head != "" && (len(head) != 2 || head[0] != '-') {
			out = append(out, args[i])
			continue
		}
		for !strings.Contains(rest, `"`) && i+1 < len(args) {
			i++
			rest += " " + args[i]
		}
		rest, _, _ = strings.Cut(rest, `"`)
		out = append(out, head+rest)
	}
	return out
}

// ParseLDAP reads the words of a K line behind the class, those of LDAPDefaultSpec before them. It returns what sendmail
// says about them; broken tells that there is no asking such a map.
func ParseLDAP(name string, args []string) (l *LDAP, says []string, broken bool) {
	l = &LDAP{Scope: "sub", Method: "none", Version: 3}
	wrong := func(format string, args ...any) {
		says, broken = append(says, fmt.Sprintf(format, args...)), true
	}
	args = quotedWords(args)
	filter := false
	for len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' && !broken {
		letter, v := args[0][1], args[0][2:]
		args = args[1:]
		if v == "" && len(args) > 0 && takesWord("ldap", letter) {
			v, args = args[0], args[1:]
		}
		number, _ := strconv.Atoi(v)
		switch letter {
		case 'h':
			if l.URI != "" {
				wrong("Can not specify both an LDAP host and an LDAP URI in map %s", name)
			}
			l.Hosts = strings.Fields(v)
		case 'H':
			if l.Hosts != nil {
				wrong("Can not specify both an LDAP host and an LDAP URI in map %s", name)
			}
			l.URI = v
		case 'p':
			l.Port = number
		case 'b':
			l.Base = v
		case 's':
			if l.Scope = strings.ToLower(v); l.Scope != "base" && l.Scope != "one" && l.Scope != "sub" {
				wrong("Scope must be [base|one|sub] (not %s) in map %s", v, name)
			}
		case 'k':
			l.Filter, filter = v, true
		case 'v':
			l.Values = nil
			for one := range strings.SplitSeq(v, ",") {
				value, say := ldapValue(strings.TrimSpace(one))
				if say != "" {
					wrong("%s in %s", say, name)
				}
				l.Values = append(l.Values, value)
			}
		case 'd':
			l.Bind = v
		case 'M':
			if l.Method = strings.TrimPrefix(strings.ToLower(v), "ldap_auth_"); l.Method != "none" && l.Method != "simple" && l.Method != "krbv4" {
				wrong("Method for binding must be [none|simple|krbv4] (not %s) in map %s", v, name)
			}
		case 'P':
			l.Secret = v
		case 'Z':
			l.Limit = max(number, 0)
		case 'l':
			l.Time = time.Duration(max(number, 0)) * time.Second
		case 'c':
			l.Connect = time.Duration(max(number, 0)) * time.Second
		case 'r':
			if l.Deref = strings.TrimPrefix(strings.ToLower(v), "ldap_deref_"); l.Deref != "never" && l.Deref != "always" && l.Deref != "search" && l.Deref != "find" {
				wrong("Deref must be [never|always|search|find] (not %s) in map %s", v, name)
			}
		case 'w':
			if l.Version = number; number > 3 {
				wrong("LDAP version %s exceeds max of 3 in map %s", v, name)
			} else if number < 1 {
				wrong("LDAP version %s is below minimum of 1 in map %s", v, name)
			}
		case '1':
			l.One = true
		case 'n':
			l.NamesOnly = true
		case 'R':
			l.NoChase = true
		case 'K':
			l.Multiple = true
		case 'V':
			l.Separator = oneCharacter(v)
		case 'z':
			l.Delimiter = oneCharacter(v)
		default:
			if strings.IndexByte(legal["ldap"], letter) < 0 && strings.IndexByte(common, letter) < 0 {
				says = append(says, fmt.Sprintf("Illegal option %c map %s", letter, name))
			}
		}
	}
	if broken {
		return l, says, true
	}
	if l.Method == "simple" && l.Secret != "" {
		if f, err := os.Open(l.Secret); err != nil {
			wrong("LDAP map: cannot open secret %s: %s", l.Secret, reason(err))
		} else {
			f.Close()
		}
	}
	further, normal := false, len(l.Values) == 0
	for _, v := range l.Values {
		further, normal = further || v.Kind != "NORMAL", normal || v.Kind == "NORMAL"
	}
	switch {
	case broken:
	case !filter:
		wrong("No filter given in map %s", name)
	case further && !normal:
		wrong("LDAP recursion requested in %s but no returnable attribute given", name)
	case further && l.NamesOnly:
		wrong("LDAP recursion requested in %s can not be used with -n", name)
	}
	return l, says, broken
}

// ldapValue reads "attribute[:kind[:class|class...]]".
func ldapValue(text string) (v LDAPValue, say string) {
	v.Name, v.Kind, _ = strings.Cut(text, ":")
	var classes string
	v.Kind, classes, _ = strings.Cut(v.Kind, ":")
	if classes != "" && classes != "*" {
		v.Classes = strings.Split(classes, "|")
	}
	switch kind := strings.ToUpper(v.Kind); kind {
	case "":
		v.Kind = "NORMAL"
	case "NORMAL", "DN", "FILTER", "URL":
		v.Kind = kind
	default:
		say = fmt.Sprintf("Unknown attribute type (%s)", v.Kind)
	}
	return v, say
}

// oneCharacter is what -z and -V take: one octet, or \n, \t or \\.
func oneCharacter(v string) string {
	switch {
	case v == `\n`:
		return "\n"
	case v == `\t`:
		return "\t"
	case strings.HasPrefix(v, `\`):
		return v[1:min(len(v), 2)]
	}
	return v[:min(len(v), 1)]
}
