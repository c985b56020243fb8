package cf

import (
	"slices"
	"strings"
)

// AliasSource is one member of the option AliasFile: "class:arguments", or a file.
type AliasSource struct {
	Class string
	Args  []string // as on a K line: flags, and the file
	Plain bool     // only the file was named
}

// ldapAliases is what "ldap:" alone asks a directory for (sendmail's cf/README, "Using LDAP for aliases, maps, and classes").
const ldapAliases = "-k (&(objectClass=sendmailMTAAliasObject)(sendmailMTAAliasGrouping=aliases)(|(sendmailMTACluster=${sendmailMTACluster})(sendmailMTAHost=$j))(sendmailMTAKey=%0))" +
	" -v sendmailMTAAliasValue,sendmailMTAAliasSearch:FILTER:sendmailMTAAliasObject,sendmailMTAAliasURL:URL:sendmailMTAAliasObject"

// aliasSources reads an AliasFile. Commas divide it, but not those between quotation marks.
func aliasSources(value string, directory []string, macro func(string) (string, bool)) (list []AliasSource) {
	quoted := false
	specs := strings.FieldsFunc(value, func(c rune) bool {
		if c == '"' {
			quoted = !quoted
		}
		return c == ',' && !quoted
	})
	for _, spec := range specs {
		if spec = strings.TrimSpace(spec); spec == "" {
			continue
		}
		class, rest, ok := strings.Cut(spec, ":")
		if !ok || strings.HasPrefix(spec, "/") {
			class, rest = "implicit", spec
		}
		s := AliasSource{Class: strings.TrimSpace(class), Args: strings.Fields(rest), Plain: !ok || strings.HasPrefix(spec, "/")}
		if s.Class == "ldap" {
			if len(s.Args) == 0 {
				s.Args = strings.Fields(Expand(ldapAliases, macro))
			}
			s.Args = append(append(slices.Clone(directory), "-z,"), s.Args...)
		}
		list = append(list, s)
	}
	return list
}

// AliasSources are where aliases are looked up, in order.
func (c *Config) AliasSources() (list []AliasSource) {
	spec, _ := c.Option("LDAPDefaultSpec", "")
	for _, o := range c.Options {
		if o.Name == "AliasFile" {
			list = append(list, aliasSources(o.Value, strings.Fields(spec), func(name string) (string, bool) { v, ok := c.Prog.Macros[name]; return v, ok })...)
		}
	}
	return list
}
