// Package etc holds the files that are compiled into the programs: the default rules, and the library that the
// statement "use NAME" of the rule language reads. Nothing flows in; what flows out is text in the rule language.
package etc

import (
	"embed"
	"io/fs"
	"strings"
)

//go:embed waybill.rules lib/*.rules lib/sendmail/*.rules
var files embed.FS

// DefaultRules returns the rules of a host that has none of its own.
func DefaultRules() []byte {
	text, err := files.ReadFile("waybill.rules")
	if err != nil {
		panic(err) // it is embedded
	}
	return text
}

// Library returns the library: NAME.rules for each "use NAME". The default rules are in it as "standard".
func Library() fs.FS {
	sub, err := fs.Sub(files, "lib")
	if err != nil {
		panic(err) // it is embedded
	}
	return library{sub}
}

type library struct{ fs.FS }

// Open opens a file of the library.
func (l library) Open(name string) (fs.File, error) {
	if name == "standard.rules" {
		return files.Open("waybill.rules")
	}
	if part, ok := strings.CutPrefix(name, "sendmail-"); ok { // parts for converted files
		return l.FS.Open("sendmail/" + part)
	}
	return l.FS.Open(name)
}
