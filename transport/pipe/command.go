package pipe

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// A Line is the command of an alias or a .forward file, taken apart by us: no shell ever sees it. It is the language of
// smrsh(8) plus what real .forward files contain:
//
//	words, with '...', "..." and backslash quoting; nothing is expanded, so "$", "`" and "*" have no meaning
//	a && b, a || b                       as in sh, from left to right
//	NAME=value before a program, or alone for all that follow
//	exec PROGRAM ...                     PROGRAM is the last thing that runs
//	exit [N], echo WORDS, :, true, false   built in
//	# at the beginning of a word         a comment to the end
//
// Everything else that a shell would act on (` $ ( ) < > ; | & and line ends outside quotes, ` and $ also inside double
// quotes) makes the whole command an error: it was written for a shell and would do something else here.
type Line struct{ steps []step }

type step struct {
	op   operator
	env  []string // NAME=value
	argv []string // empty: the assignments hold for all that follows
}

type operator uint8

const (
	always operator = iota
	ifGood          // &&
	ifBad           // ||
)

const (
	maxCommand = 4096 // octets
	maxWords   = 256
)

// SplitCommand parses the text of a command, without its "|".
func SplitCommand(text string) (Line, error) {
	if len(text) > maxCommand {
		return Line{}, fmt.Errorf("a command of %d octets is too long", len(text))
	}
	if i := strings.IndexFunc(text, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }); i >= 0 {
		return Line{}, fmt.Errorf("control character at octet %d", i+1)
	}
	var line Line
	now := step{}
	words := 0
	for i := 0; i < len(text); {
		switch c := text[i]; {
		case c == ' ' || c == '\t':
			i++
		case c == '#':
			i = len(text)
		case strings.HasPrefix(text[i:], "&&") || strings.HasPrefix(text[i:], "||"):
			if len(now.argv)+len(now.env) == 0 {
				return Line{}, fmt.Errorf("nothing stands before %q", text[i:i+2])
			}
			line.steps = append(line.steps, now)
			now = step{op: ifGood}
			if c == '|' {
				now.op = ifBad
			}
			i += 2
		default:
			word, bare, n, err := nextWord(text[i:])
			if err != nil {
				return Line{}, err
			}
			i += n
			if words++; words > maxWords {
				return Line{}, fmt.Errorf("more than %d words", maxWords)
			}
			if len(now.argv) == 0 && isAssignment(word, bare) {
				now.env = append(now.env, word)
			} else {
				now.argv = append(now.argv, word)
			}
		}
	}
	if len(now.argv)+len(now.env) == 0 {
		return Line{}, errors.New("no program is named")
	}
	line.steps = append(line.steps, now)
	for _, s := range line.steps {
		if err := checkBuiltin(s.argv); err != nil {
			return Line{}, err
		}
	}
	return line, nil
}

// bare takes away the quotes round a whole command: aliases(5) has |"program with, comma" beside "|program". Inside,
// backslashes protect quotes and themselves.
func bare(command string) string {
	if len(command) < 2 || command[0] != '"' {
		return command
	}
	var b strings.Builder
	for i := 1; i < len(command); i++ {
		switch {
		case command[i] == '"':
			if i == len(command)-1 { // "|command" keeps its mark inside of the quotes
				return strings.TrimPrefix(b.String(), "|")
			}
			return command // the first word is quoted, not the command
		case command[i] == '\\' && i+1 < len(command) && (command[i+1] == '"' || command[i+1] == '\\'):
			i++
			b.WriteByte(command[i])
		default:
			b.WriteByte(command[i])
		}
	}
	return command
}

// nextWord reads one word. bare is how many octets at its beginning were written without quotes.
func nextWord(text string) (word string, bare, n int, err error) {
	var b strings.Builder
	quotedAt := -1
	note := func() {
		if quotedAt < 0 {
			quotedAt = b.Len()
		}
	}
	i := 0
loop:
	for i < len(text) {
		switch c := text[i]; c {
		case ' ', '\t':
			break loop
		case '\'':
			note()
			end := strings.IndexByte(text[i+1:], '\'')
			if end < 0 {
				return "", 0, 0, errors.New("a ' is not closed")
			}
			b.WriteString(text[i+1 : i+1+end])
			i += end + 2
		case '"':
			note()
			for i++; ; i++ {
				if i >= len(text) {
					return "", 0, 0, errors.New("a \" is not closed")
				}
				if text[i] == '"' {
					i++
					break
				}
				if text[i] == '`' || text[i] == '$' {
					return "", 0, 0, cannotUse(text[i])
				}
				if text[i] == '\\' && i+1 < len(text) && strings.IndexByte("\"\\$`", text[i+1]) >= 0 {
					i++
				}
				b.WriteByte(text[i])
			}
		case '\\':
			note()
			if i+1 >= len(text) {
				return "", 0, 0, errors.New("a backslash at the end")
			}
			b.WriteByte(text[i+1])
			i += 2
		case '&', '|':
			if i+1 < len(text) && text[i+1] == c && i > 0 {
				break loop
			}
			return "", 0, 0, cannotUse(c)
		case '`', '$', '(', ')', '<', '>', ';':
			return "", 0, 0, cannotUse(c)
		default:
			b.WriteByte(c)
			i++
		}
	}
	if quotedAt < 0 {
		quotedAt = b.Len()
	}
	return b.String(), quotedAt, i, nil
}

// cannotUse is smrsh's word for a character that only a shell could give its meaning.
func cannotUse(c byte) error { return fmt.Errorf("cannot use %c in command", c) }

// isAssignment reports whether a word is NAME=value with an unquoted NAME.
func isAssignment(word string, bare int) bool {
	i := strings.IndexByte(word, '=')
	if i < 1 || i >= bare {
		return false
	}
	for j := range i {
		c := word[j]
		if c != '_' && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && (j == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return true
}

func checkBuiltin(argv []string) error {
	if len(argv) == 0 {
		return nil
	}
	switch argv[0] {
	case "exit":
		if len(argv) == 1 {
			return nil
		}
		if len(argv) == 2 {
			if n, err := strconv.Atoi(argv[1]); err == nil && n >= 0 && n <= 255 {
				return nil
			}
		}
		return errors.New("exit takes one number from 0 to 255")
	case "exec":
		if len(argv) < 2 {
			return errors.New("exec needs a program")
		}
	case "":
		return errors.New("the name of a program is empty")
	}
	return nil
}
