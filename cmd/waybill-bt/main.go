// Command waybill-bt is sendmail's address test mode (sendmail -bt) over a sendmail.cf, as a program of its own: commands
// flow in on standard input, what the rules do with addresses flows out. The front end calls it with its own arguments.
// waybill does the same; this program starts in half the time, because it holds nothing else.
package main

import (
	"context"
	"fmt"
	"os"

	"waybill/compat/testmode"
	"waybill/rules/eval"
	"waybill/transport/dns"
	"waybill/transport/sysexits"
)

func main() {
	resolver, err := dns.New(dns.Config{})
	if err != nil {
		fmt.Fprintln(os.Stderr, "waybill:", err)
		os.Exit(sysexits.OSErr)
	}
	os.Exit(testmode.Main(os.Args[1:], os.Stdin, os.Stdout, testmode.Config{Resolver: tables{resolver}, Stderr: os.Stderr}))
}

// tables asks DNS for tables.
type tables struct{ *dns.Resolver }

// Query implements eval.Resolver.
func (t tables) Query(ctx context.Context, name, typ string) ([]eval.Record, bool, error) {
	records, exists, err := t.Records(ctx, name, typ)
	out := make([]eval.Record, len(records))
	for i, r := range records {
		out[i] = eval.Record(r)
	}
	return out, exists, err
}
