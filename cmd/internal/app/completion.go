package app

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"waybill/transport/sysexits"
)

// completions are what each shell reads to complete command lines of waybill. All of them ask "waybill completion
// words", which knows the commands from their own help texts, so that nothing here must be kept up. Where it knows
// nothing, files are meant.
var completions = map[string]string{
	"bash": `# bash completion of waybill: source this, or put it into /usr/share/bash-completion/completions/waybill
_waybill() {
    local word
    COMPREPLY=()
    while IFS= read -r word; do
        COMPREPLY+=("$word")
    done < <("${COMP_WORDS[0]}" completion words "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -o default -F _waybill waybill
`,
	"zsh": `#compdef waybill
# zsh completion of waybill: put this as _waybill into a directory of $fpath
_waybill() {
    local -a list
    list=("${(@f)$("${words[1]}" completion words "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    if [[ -n "${list[1]}" ]]; then
        compadd -- "${list[@]}"
    else
        _files
    fi
}
compdef _waybill waybill
# The first time, this file itself is the function that completes.
[[ "${funcstack[1]}" != _waybill ]] || _waybill "$@"
`,
	"fish": `# fish completion of waybill: put this into ~/.config/fish/completions/waybill.fish
function __waybill_words
    set -l words (commandline -opc)
    $words[1] completion words $words[2..-1] (commandline -ct) 2>/dev/null
end
complete -c waybill -f -n 'count (__waybill_words) >/dev/null' -a '(__waybill_words)'
`,
}

// completion prints what a shell needs to complete command lines of waybill, or, for "words", what a word can be.
func completion(std stdio, args []string) int {
	if len(args) > 0 && args[0] == "words" {
		for _, w := range candidates(args[1:]) {
			fmt.Fprintln(std.out, w)
		}
		return sysexits.OK
	}
	if len(args) == 1 && completions[args[0]] != "" {
		fmt.Fprint(std.out, completions[args[0]])
		return sysexits.OK
	}
	if len(args) == 1 && (args[0] == "--help" || args[0] == "-h") {
		std.err = std.out
	}
	fmt.Fprint(std.err, "usage: waybill completion bash|zsh|fish\n")
	if std.err == std.out {
		return sysexits.OK
	}
	return sysexits.Usage
}

// candidates are what the last word can become, when the ones before it are complete.
func candidates(words []string) []string {
	if len(words) == 0 {
		words = []string{""}
	}
	last, before := words[len(words)-1], words[:len(words)-1]
	var known []string
	switch {
	case len(before) == 0:
		for _, c := range commands() {
			known = append(known, c.name)
		}
		known = append(known, "help")
	case before[0] == "completion":
		known = []string{"bash", "fish", "zsh"}
	default:
		help := helpOf(before[0])
		if verbs := verbsOf(help); len(verbs) > 0 {
			at := slices.IndexFunc(before[1:], func(w string) bool { return slices.Contains(verbs, w) })
			if at < 0 {
				known = verbs
			} else if before[0] == "rules" {
				help = helpOf("rules", before[1+at])
			}
		}
		if strings.HasPrefix(last, "-") {
			known = flagsOf(help)
		}
	}
	var out []string
	for _, w := range known {
		if strings.HasPrefix(last, "--") && len(w) > 2 {
			w = "-" + w // both are understood
		}
		if strings.HasPrefix(w, last) {
			out = append(out, w)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// helpOf is the help text of a command.
func helpOf(name string, verb ...string) string {
	var text bytes.Buffer
	for _, c := range commands() {
		if c.name == name && name != "version" {
			c.run(stdio{strings.NewReader(""), &text, io.Discard}, append(verb, "--help"))
		}
	}
	return text.String()
}

var (
	verbLine = regexp.MustCompile(`(?m)^  ([a-z]+)( |$)`)
	flagLine = regexp.MustCompile(`(?m)^  (-[a-zA-Z-]+)`)
	inUsage  = regexp.MustCompile(`\[(-[a-zA-Z-]+)`)
)

// verbsOf are the words that begin the lines of a help text.
func verbsOf(help string) []string { return firsts(verbLine, help) }

// flagsOf are the options that a help text tells of.
func flagsOf(help string) []string { return append(firsts(flagLine, help), firsts(inUsage, help)...) }

func firsts(re *regexp.Regexp, text string) []string {
	var out []string
	for _, m := range re.FindAllStringSubmatch(text, -1) {
		out = append(out, m[1])
	}
	return out
}
