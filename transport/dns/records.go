package dns

import (
	"context"
	"fmt"
	"strings"

	"github.com/miekg/dns"
)

// Record is one record as text: Value is an address, a name without final dot, "10 mx.example.org" for MX.
type Record struct {
	Name, Type, Value string
	First             string // of TXT: its first string
}

// Records asks the DNS, and no hosts file, one question for a type by its name, as the tables of the rules do: they
// follow CNAMEs themselves, because sendmail says which one it stopped at. exists is false when there is no such name;
// err means "not now".
func (r *Resolver) Records(ctx context.Context, name, typ string) (records []Record, exists bool, err error) {
	qtype, ok := dns.StringToType[strings.ToUpper(typ)]
	if !ok {
		return nil, false, fmt.Errorf("dns: type %q is not known", typ)
	}
	ascii, ok := printable(name)
	if !ok {
		return nil, false, nil
	}
	a, err := r.question(ctx, key{ascii, qtype})
	if err != nil {
		return nil, false, err
	}
	for i, value := range texts(a.records) {
		rr := a.records[i]
		if mx, ok := rr.(*dns.MX); ok {
			value = fmt.Sprintf("%d %s", mx.Preference, value)
		}
		record := Record{Name: bare(unescaped(rr.Header().Name)), Type: dns.TypeToString[rr.Header().Rrtype], Value: value}
		if txt, ok := rr.(*dns.TXT); ok && len(txt.Txt) > 0 {
			record.First = unescape(txt.Txt[0])
		}
		records = append(records, record)
	}
	return records, a.existence != NoDomain, nil
}
