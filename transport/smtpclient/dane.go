package smtpclient

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"errors"
	"time"

	"waybill/transport/dns"
)

// Fields of a TLSA record (RFC 6698 2.1, RFC 7218).
const (
	usageTA = 2 // DANE-TA: an authority that the domain names
	usageEE = 3 // DANE-EE: the host's own certificate or key
)

// usable reports whether we can match r. The usages 0 and 1 need trust in public authorities, which SMTP has no
// agreement about (RFC 7672 3.1.3).
func usable(r dns.TLSA) bool {
	return (r.Usage == usageTA || r.Usage == usageEE) && r.Selector <= 1 && r.Matching <= 2 && len(r.Data) > 0 &&
		(r.Matching != 1 || len(r.Data) == sha256.Size) && (r.Matching != 2 || len(r.Data) == sha512.Size)
}

// matchTLSA checks a chain, the host's certificate first, against TLSA records: one that matches is enough.
//
// DANE-EE looks at the key alone: neither names nor dates matter (RFC 7672 3.1.1). DANE-TA wants a chain up to the named
// authority, valid today, for one of names (RFC 7672 3.1.2).
func matchTLSA(records []dns.TLSA, chain []*x509.Certificate, names []string, now time.Time) error {
	if len(chain) == 0 {
		return errors.New("no certificate")
	}
	why := errors.New("no TLSA record matches")
	for _, r := range records {
		if r.Usage == usageEE {
			if matches(r, chain[0]) {
				return nil
			}
			continue
		}
		if err := matchAuthority(r, chain, names, now); err != nil {
			why = err
		} else {
			return nil
		}
	}
	return why
}

func matchAuthority(r dns.TLSA, chain []*x509.Certificate, names []string, now time.Time) error {
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	found := false
	for _, cert := range chain[1:] {
		if matches(r, cert) {
			roots.AddCert(cert)
			found = true
		} else {
			between.AddCert(cert)
		}
	}
	if r.Selector == 0 && r.Matching == 0 { // the record holds the authority itself (RFC 7672 3.1.2)
		if cert, err := x509.ParseCertificate(r.Data); err == nil {
			roots.AddCert(cert)
			found = true
		}
	}
	if !found {
		return errors.New("no TLSA record matches")
	}
	var err error
	for _, name := range names {
		if _, err = chain[0].Verify(x509.VerifyOptions{DNSName: name, Roots: roots, Intermediates: between, CurrentTime: now}); err == nil {
			return nil
		}
	}
	return err
}

func matches(r dns.TLSA, cert *x509.Certificate) bool {
	data := cert.Raw
	if r.Selector == 1 {
		data = cert.RawSubjectPublicKeyInfo
	}
	switch r.Matching {
	case 1:
		sum := sha256.Sum256(data)
		data = sum[:]
	case 2:
		sum := sha512.Sum512(data)
		data = sum[:]
	}
	return bytes.Equal(data, r.Data)
}
