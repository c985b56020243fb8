// Package getopt reads the command lines of the companion programs as getopt(3) of the C library reads them for
// sendmail's: letters that stand together behind one "-", a value in the same word or in the next, "--" as the end.
package getopt

import (
	"fmt"
	"strings"
)

// Error is a word that is no option: a letter that is not known, or one whose value is missing.
type Error struct {
	Letter  byte
	NoValue bool // the letter takes a value, and the line ended
}

func (e *Error) Error() string {
	if e.NoValue {
		return fmt.Sprintf("option requires an argument -- '%c'", e.Letter)
	}
	return fmt.Sprintf("invalid option -- '%c'", e.Letter)
}

// Parse calls set for every option in args, whose letters are listed as getopt lists them: "C:d" is -C with a value
// and -d without. It stops at the first word that is no option and returns what is left. The error is an *Error, or
// the first that set returned.
func Parse(args []string, letters string, set func(letter byte, value string) error) (rest []string, err error) {
	for len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' {
		word := args[0][1:]
		args = args[1:]
		if word == "-" {
			break
		}
		for word != "" {
			letter := word[0]
			word = word[1:]
			at := strings.IndexByte(letters, letter)
			if at < 0 || letter == ':' {
				return nil, &Error{Letter: letter}
			}
			value := ""
			if strings.HasPrefix(letters[at+1:], ":") {
				if value, word = word, ""; value == "" {
					if len(args) == 0 {
						return nil, &Error{Letter: letter, NoValue: true}
					}
					value, args = args[0], args[1:]
				}
			}
			if err := set(letter, value); err != nil {
				return nil, err
			}
		}
	}
	return args, nil
}
