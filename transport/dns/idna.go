package dns

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// ToASCII writes the labels of a name that are not ASCII as A-labels (RFC 5890 2.3.2.1): "bücher.example" becomes
// "xn--bcher-kva.example". A label is brought to lower case and otherwise taken as it is: as RFC 5891 4.1 has it, it
// must come in normal form C. ok is false for what is not UTF-8 or cannot be in a name.
func ToASCII(name string) (ascii string, ok bool) {
	if isASCII(name) {
		return name, true
	}
	if !utf8.ValidString(name) {
		return "", false
	}
	name = strings.NewReplacer("\u3002", ".", "\uff0e", ".", "\uff61", ".").Replace(strings.ToLower(name)) // RFC 3490 3.1: other dots
	labels := strings.Split(name, ".")
	for i, label := range labels {
		if isASCII(label) {
			continue
		}
		runes := []rune(label)
		if len(runes) > 63 {
			return "", false
		}
		for n, r := range runes {
			if !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '-' && !(unicode.IsMark(r) && n > 0) && r != '\u00b7' && r != '\u30fb' {
				return "", false // RFC 5892: letters, digits, marks, and little else
			}
		}
		labels[i] = "xn--" + punycode(runes)
	}
	return strings.Join(labels, "."), true
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// Parameters of RFC 3492 5.
const (
	base        = 36
	tMin, tMax  = 1, 26
	skew, damp  = 38, 700
	initialBias = 72
	initialN    = 128
)

// punycode encodes a label (RFC 3492 6.3).
func punycode(input []rune) string {
	var out []byte
	for _, r := range input {
		if r < initialN {
			out = append(out, byte(r))
		}
	}
	basic := len(out)
	done := basic
	if basic > 0 {
		out = append(out, '-')
	}
	n, delta, bias := rune(initialN), 0, initialBias
	for done < len(input) {
		next := rune(utf8.MaxRune)
		for _, r := range input {
			if r >= n && r < next {
				next = r
			}
		}
		delta += int(next-n) * (done + 1) // a label of 63 runes cannot overflow an int
		n = next
		for _, r := range input {
			if r < n {
				delta++
			}
			if r != n {
				continue
			}
			q := delta
			for k := base; ; k += base {
				t := min(max(k-bias, tMin), tMax)
				if q < t {
					break
				}
				out = append(out, digit(t+(q-t)%(base-t)))
				q = (q - t) / (base - t)
			}
			out = append(out, digit(q))
			bias = adapt(delta, done+1, done == basic)
			delta = 0
			done++
		}
		delta++
		n++
	}
	return string(out)
}

func digit(d int) byte {
	if d < 26 {
		return byte('a' + d)
	}
	return byte('0' + d - 26)
}

func adapt(delta, points int, first bool) int {
	if first {
		delta /= damp
	} else {
		delta /= 2
	}
	delta += delta / points
	k := 0
	for delta > (base-tMin)*tMax/2 {
		delta /= base - tMin
		k += base
	}
	return k + (base-tMin+1)*delta/(delta+skew)
}
