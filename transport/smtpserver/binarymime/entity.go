package binarymime

import (
	"bytes"
	"mime"
	"strings"
)

// entity is what the header section of a part says about its body.
type entity struct {
	multipart bool
	message   bool // message/rfc822 or message/global: a header section follows
	boundary  string
	binary    bool // Content-Transfer-Encoding: binary
}

// composite: RFC 2045 6.4: only 7bit, 8bit and binary are legal for these.
func (e entity) composite() bool { return e.multipart || e.message }

// fields yields the fields of a header section with LF line ends: where each begins and ends, with its folds.
func fields(head []byte) func(yield func(begin, end int) bool) {
	return func(yield func(begin, end int) bool) {
		for begin := 0; begin < len(head); {
			end := begin
			for {
				i := bytes.IndexByte(head[end:], '\n')
				if i < 0 {
					end = len(head)
					break
				}
				end += i + 1
				if end == len(head) || head[end] != ' ' && head[end] != '\t' {
					break
				}
			}
			if !yield(begin, end) {
				return
			}
			begin = end
		}
	}
}

// field splits a field into its name in lower case and its value on one line.
func field(b []byte) (name, value string) {
	n, v, ok := bytes.Cut(b, []byte(":"))
	if !ok {
		return "", ""
	}
	v = bytes.ReplaceAll(v, []byte("\n"), nil)
	return strings.ToLower(string(bytes.TrimRight(n, " \t"))), string(bytes.TrimSpace(v))
}

func readEntity(head []byte) entity {
	var e entity
	for begin, end := range fields(head) {
		name, value := field(head[begin:end])
		switch name {
		case "content-type":
			kind, params, err := mime.ParseMediaType(value)
			if kind == "" || err != nil && params == nil {
				continue
			}
			e.multipart = strings.HasPrefix(kind, "multipart/")
			e.message = kind == "message/rfc822" || kind == "message/global"
			e.boundary = strings.TrimRight(params["boundary"], " ")
			if len(e.boundary) > 200 {
				e.boundary = ""
			}
		case "content-transfer-encoding":
			word, _, _ := strings.Cut(value, "(") // a comment may follow
			word, _, _ = strings.Cut(word, ";")
			e.binary = strings.EqualFold(strings.TrimSpace(word), "binary")
		}
	}
	return e
}

// rewrite appends the header section to out; with an encoding, in place of the one that it names.
func (e entity) rewrite(out, head []byte, encoding string) []byte {
	if encoding == "" {
		return append(out, head...)
	}
	for begin, end := range fields(head) {
		if name, _ := field(head[begin:end]); name == "content-transfer-encoding" {
			out = append(append(append(out, "Content-Transfer-Encoding: "...), encoding...), '\n')
			continue
		}
		out = append(out, head[begin:end]...)
	}
	return out
}
