package dns

import (
	"strings"
	"testing"
)

func TestToASCII(t *testing.T) {
	for in, want := range map[string]string{
		"example.org":            "example.org",
		"bücher.example":         "xn--bcher-kva.example",
		"BÜCHER.Example":         "xn--bcher-kva.example",
		"münchen.de":             "xn--mnchen-3ya.de",
		"straße.example":         "xn--strae-oqa.example",
		"例え.テスト":                 "xn--r8jz45g.xn--zckzah",
		"пример.испытание":       "xn--e1afmkfd.xn--80akhbyknj4f",
		"παράδειγμα.δοκιμή":      "xn--hxajbheg2az3al.xn--jxalpdlp",
		"उदाहरण.परीक्षा":         "xn--p1b6ci4b4b3a.xn--11b5bs3a9aj6g",
		"他们为什么不说中文":              "xn--ihqwcrb4cv8a8dqg056pqjye", // RFC 3492 7.1 (B)
		"3年b組金八先生":               "xn--3b-ww4c5e180e575a65lsy2b", // (L), in lower case
		"例え\u3002テスト":            "xn--r8jz45g.xn--zckzah",
		"\xff.example":           "",
		"a\u200bb.example":       "",
		"☃.example":              "",
		strings.Repeat("ü", 64):  "",
		"\u0301leading.example":  "",
		"xn--bcher-kva.example.": "xn--bcher-kva.example.",
	} {
		got, ok := ToASCII(in)
		if got != want || ok != (want != "") {
			t.Errorf("%q: %q %v, want %q", in, got, ok, want)
		}
	}
}

func FuzzToASCII(f *testing.F) {
	f.Add("bücher.example")
	f.Add("\U0010ffff.a")
	f.Fuzz(func(t *testing.T, name string) {
		if got, ok := ToASCII(name); ok && !isASCII(got) {
			t.Errorf("%q became %q", name, got)
		}
	})
}
