package dns

import (
	"context"
	"fmt"
	"strings"

	"github.com/miekg/dns"
)

// Record is one record as text: Value is an address, a name without final dot, "10 mx.example.org" for MX.
type Record struct{ Name, Type, Value string }

// Records asks the DNS, and no hosts file, for a type by its name, as the tables of the rules do. Where name is an alias, a CNAME record from name
// to the end of its chain comes first. exists is false when there is no such name; err means "not now".
func (r *Resolver) Records(ctx context.Context, name, typ string) (records []Record, exists bool, err error) {
	qtype, ok := dns.StringToType[strings.ToUpper(typ)]
	if !ok {
		return nil, false, fmt.Errorf("dns: type %q is not known", typ)
	}
	a, err := r.lookup(ctx, name, qtype)
	if err != nil {
		return nil, false, err
	}
	if a.aliased {
		records = append(records, Record{name, "CNAME", a.name})
	}
	for i, value := range texts(a.records) {
		if mx, ok := a.records[i].(*dns.MX); ok {
			value = fmt.Sprintf("%d %s", mx.Preference, value)
		}
		records = append(records, Record{a.name, strings.ToUpper(typ), value})
	}
	return records, a.existence != NoDomain, nil
}
