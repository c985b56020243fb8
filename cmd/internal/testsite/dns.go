package testsite

import "waybill/transport/dns/dnstest"

// ServeDNS answers from the zone text (the format is that of package dns) on a loopback port, and returns the address
// to ask.
func ServeDNS(zone string) (addr string, stop func(), err error) {
	return dnstest.Serve(zone, "127.0.0.1:0")
}
