package main

import (
	"net/url"
	"strings"

	"waybill/rules/table"
)

// parseURL reads "ldap:///base?attributes?scope?filter" (RFC 4516). The directory is asked that the map names, whatever
// host stands in it: a directory must not send us elsewhere.
func parseURL(text string, spec *table.LDAP) (search, bool) {
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok || !strings.EqualFold(scheme, "ldap") && !strings.EqualFold(scheme, "ldaps") {
		return search{}, false
	}
	_, rest, _ = strings.Cut(rest, "/")
	parts := append(strings.Split(rest, "?"), "", "", "")
	for i := range parts {
		plain, err := url.PathUnescape(parts[i])
		if err != nil {
			return search{}, false
		}
		parts[i] = plain
	}
	s := search{kind: "URL", base: parts[0], scope: "base", filter: "(objectClass=*)", values: spec.Values}
	if parts[1] != "" {
		s.values = nil
		for name := range strings.SplitSeq(parts[1], ",") {
			s.values = append(s.values, table.LDAPValue{Name: name, Kind: "NORMAL"})
		}
	}
	if _, known := scopes[strings.ToLower(parts[2])]; known {
		s.scope = strings.ToLower(parts[2])
	}
	if parts[3] != "" {
		s.filter = parts[3]
	}
	return s, true
}
