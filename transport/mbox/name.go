package mbox

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
)

// ValidName reports whether a login name may become a part of a path: no control character, no slash, not "." or
// "..", nothing hidden, no leading "-", at most 200 octets (a lock's name must fit as well), and not the name of a
// lock file, for the mailbox of "bob.lock" would be the lock of bob.
func ValidName(user string) bool {
	if user == "" || len(user) > 200 || hasControl(user) || strings.ContainsAny(user, "/") {
		return false
	}
	return user[0] != '-' && user[0] != '.' && !strings.HasSuffix(user, ".lock")
}

func hasControl(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] == 0x7f {
			return true
		}
	}
	return false
}

// Path is a path with $user and $home in it, compiled.
type Path struct{ parts []segment }

// ParsePath compiles a template: absolute, or beginning with $home; $user and $home are replaced as data, $$ is a
// dollar sign.
func ParsePath(template string) (*Path, error) {
	parts, err := compilePath(template)
	if err != nil {
		return nil, err
	}
	return &Path{parts}, nil
}

// Expand puts in the values. The user's name must be a ValidName.
func (p *Path) Expand(user, home string) (string, error) {
	if !ValidName(user) {
		return "", fmt.Errorf("user name %q cannot be part of a path", user)
	}
	return expandPath(p.parts, user, home)
}

// segment is literal text, or the name of a value.
type segment struct{ text, value string }

func compilePath(template string) ([]segment, error) {
	if !strings.HasPrefix(template, "/") && !strings.HasPrefix(template, "$home/") && !strings.HasPrefix(template, "${home}/") {
		return nil, errors.New("not absolute")
	}
	var path []segment
	for template != "" {
		i := strings.IndexByte(template, '$')
		if i < 0 {
			return append(path, segment{text: template}), nil
		}
		if i > 0 {
			path = append(path, segment{text: template[:i]})
		}
		template = template[i+1:]
		found := false
		for _, name := range []string{"user", "{user}", "home", "{home}", "$"} {
			rest, ok := strings.CutPrefix(template, name)
			if !ok {
				continue
			}
			if name == "$" {
				path = append(path, segment{text: "$"})
			} else {
				path = append(path, segment{value: strings.Trim(name, "{}")})
			}
			template, found = rest, true
			break
		}
		if !found {
			return nil, fmt.Errorf("only $user, $home and $$ are known, not %q", "$"+template)
		}
	}
	return path, nil
}

func expandPath(path []segment, user, home string) (string, error) {
	var b strings.Builder
	for _, s := range path {
		switch s.value {
		case "user":
			b.WriteString(user)
		case "home":
			if !filepath.IsAbs(home) || hasControl(home) {
				return "", fmt.Errorf("home directory %q is not absolute", home)
			}
			b.WriteString(home)
		default:
			b.WriteString(s.text)
		}
	}
	return filepath.Clean(b.String()), nil
}
