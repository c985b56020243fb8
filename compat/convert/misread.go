package convert

import (
	"strconv"
	"strings"

	"waybill/rules/lang"
)

// misread looks for rules that the language would not read as they are meant: a name in them may be anything. It adds
// their lines to strange, and tells whether there are new ones.
func misread(parser *lang.Parser, text, file string, strange map[int]bool) (found bool) {
	_, wrong := parser.Parse(lang.NewSource("", text))
	for _, d := range wrong {
		at := strings.LastIndex(d.Source, "# "+file+":")
		if at < 0 {
			continue
		}
		if n, err := strconv.Atoi(d.Source[at+len("# "+file+":"):]); err == nil && !strange[n] {
			strange[n], found = true, true
		}
	}
	return found
}

// understood takes out what is left that cannot be read, and says so.
func understood(parser *lang.Parser, text string, w *writer) string {
	for range 10 {
		_, wrong := parser.Parse(lang.NewSource("", text))
		if !wrong.Errors() {
			break
		}
		lines := strings.Split(text, "\n")
		for _, d := range wrong {
			if at := d.Pos.Line - 1; at >= 0 && at < len(lines) && !strings.HasPrefix(lines[at], "#") {
				w.lost = append(w.lost, Loss{0, "this would not be understood: " + lines[at]})
				lines[at] = "# not carried over: " + lines[at]
			}
		}
		text = strings.Join(lines, "\n")
	}
	return text
}
