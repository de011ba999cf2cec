package pki

import (
	"crypto/sha1"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/mip6/mip6/ike/message"
)

// certIs says whether a certificate vouches for an identity (RFC 7296 §4,
// RFC 4945 §3.1): by subjectAltName, for a distinguished name by the subject, for
// a KEY_ID by the key itself. The common name never counts.
func certIs(c *x509.Certificate, id message.Identity) bool {
	switch id.Type {
	case message.IDFQDN:
		return slices.ContainsFunc(c.DNSNames, func(n string) bool {
			return n != "" && strings.EqualFold(n, id.Data)
		})
	case message.IDRFC822:
		return slices.ContainsFunc(c.EmailAddresses, func(n string) bool {
			return n != "" && message.Identity{Type: message.IDRFC822, Data: n}.Fold() == id.Fold()
		})
	case message.IDIPv4, message.IDIPv6:
		for _, ip := range c.IPAddresses {
			if a, ok := netip.AddrFromSlice(ip); ok && message.AddrIdentity(a) == id {
				return true
			}
		}
	case message.IDDERDN:
		subject := message.Identity{Type: message.IDDERDN, Data: string(c.RawSubject)}
		return len(c.RawSubject) > 2 && subject.Fold() == id.Fold()
	case message.IDKeyID:
		return slices.Contains(keyIDs(c), id.Data)
	}
	return false
}

// keyIDs are the KEY_IDs that a certificate vouches for: SHA-1 of its public key
// and of the SubjectPublicKeyInfo. They are computed; what the extension
// subjectKeyIdentifier says might be anybody's.
func keyIDs(c *x509.Certificate) []string {
	info := sha1.Sum(c.RawSubjectPublicKeyInfo)
	out := []string{string(info[:])}
	var spki struct {
		Algorithm identifier
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(c.RawSubjectPublicKeyInfo, &spki); err == nil {
		key := sha1.Sum(spki.Key.RightAlign())
		out = append(out, string(key[:]))
	}
	return out
}

// Vouches says whether a certificate vouches for an identity: the check that
// Verify makes of the peer's, for whoever reads a configuration.
func Vouches(c *x509.Certificate, id message.Identity) bool { return certIs(c, id) }

func peerOf(c *x509.Certificate, id message.Identity) Peer {
	p := Peer{
		ID: id, Method: Signature, DNSNames: c.DNSNames, Emails: c.EmailAddresses,
		Subject: c.Subject.String(), NotAfter: c.NotAfter,
	}
	for _, ip := range c.IPAddresses {
		if a, ok := netip.AddrFromSlice(ip); ok {
			p.Addresses = append(p.Addresses, a.Unmap())
		}
	}
	return p
}

// describe names the holder of a certificate in a log line.
func describe(c *x509.Certificate) string {
	names := append(append([]string(nil), c.DNSNames...), c.EmailAddresses...)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	return fmt.Sprintf("%q %q", c.Subject.String(), names)
}
