package message

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
)

// IDType is the kind of an identity (RFC 7296 §3.5).
type IDType uint8

// Identity types.
const (
	IDIPv4   IDType = 1
	IDFQDN   IDType = 2
	IDRFC822 IDType = 3
	IDIPv6   IDType = 5
	IDDERDN  IDType = 9
	IDKeyID  IDType = 11
)

// Identity is the body of an IDi or IDr payload. It is comparable, so that it
// serves as a map key. Data holds the raw octets: text for FQDN and RFC822, 4
// or 16 octets for addresses, DER for a distinguished name.
type Identity struct {
	Type IDType
	Data string
}

// FQDN returns an identity of type ID_FQDN.
func FQDN(name string) Identity { return Identity{IDFQDN, name} }

// AddrIdentity returns an ID_IPV6_ADDR or ID_IPV4_ADDR identity.
func AddrIdentity(a netip.Addr) Identity {
	a = a.Unmap()
	if a.Is4() {
		b := a.As4()
		return Identity{IDIPv4, string(b[:])}
	}
	b := a.As16()
	return Identity{IDIPv6, string(b[:])}
}

// ParseIdentity reads an identity as it is written in configuration: an IP
// address, user@host (RFC822), "keyid:HEX", a distinguished name as "C=DE, CN=mn"
// (in the order of the certificate) or "dn:HEX" (DER), or a host name.
func ParseIdentity(s string) (Identity, error) {
	switch {
	case s == "":
		return Identity{}, fmt.Errorf("%w: empty identity", ErrSyntax)
	case strings.HasPrefix(s, "keyid:"), strings.HasPrefix(s, "dn:"):
		kind, body, _ := strings.Cut(s, ":")
		raw, err := hex.DecodeString(body)
		if err != nil || len(raw) == 0 {
			return Identity{}, fmt.Errorf("%w: %s wants hexadecimal octets", ErrSyntax, kind)
		}
		if kind == "dn" {
			return Identity{IDDERDN, string(raw)}, nil
		}
		return Identity{IDKeyID, string(raw)}, nil
	}
	if a, err := netip.ParseAddr(s); err == nil {
		return AddrIdentity(a), nil
	}
	if strings.Contains(s, "=") {
		der, err := encodeDN(s)
		if err != nil {
			return Identity{}, err
		}
		return Identity{IDDERDN, der}, nil
	}
	if strings.Contains(s, "@") {
		return Identity{IDRFC822, s}, nil
	}
	return Identity{IDFQDN, s}, nil
}

// Addr returns the address of an address identity.
func (id Identity) Addr() (netip.Addr, bool) {
	if id.Type != IDIPv4 && id.Type != IDIPv6 {
		return netip.Addr{}, false
	}
	return netip.AddrFromSlice([]byte(id.Data))
}

// Fold makes identities that mean the same equal: host names and the domain of a
// mail address know no case; of distinguished names see foldDN.
func (id Identity) Fold() Identity {
	switch id.Type {
	case IDFQDN:
		id.Data = strings.ToLower(id.Data)
	case IDRFC822:
		if i := strings.LastIndexByte(id.Data, '@'); i >= 0 {
			id.Data = id.Data[:i] + strings.ToLower(id.Data[i:])
		}
	case IDDERDN:
		id.Data = foldDN(id.Data)
	}
	return id
}

// IsZero says whether no identity is set.
func (id Identity) IsZero() bool { return id == Identity{} }

// String gives the form that ParseIdentity reads.
func (id Identity) String() string {
	switch id.Type {
	case IDFQDN, IDRFC822:
		return printable(id.Data)
	case IDIPv4, IDIPv6:
		if a, ok := id.Addr(); ok {
			return a.String()
		}
	case IDDERDN:
		if s, ok := dnText(id.Data); ok {
			return s
		}
		return "dn:" + hex.EncodeToString([]byte(id.Data))
	case IDKeyID:
		return "keyid:" + hex.EncodeToString([]byte(id.Data))
	case 0:
		return ""
	}
	return fmt.Sprintf("id%d:%s", id.Type, hex.EncodeToString([]byte(id.Data)))
}

// printable keeps text of a peer from smuggling control characters into a log.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f || r == 0xfffd {
			return '?'
		}
		return r
	}, s)
}
