package message

import (
	"encoding/asn1"
	"fmt"
	"strings"
	"unicode/utf8"
)

// attribute is one AttributeTypeAndValue of a distinguished name (RFC 5280 §4.1.2.4).
type attribute struct {
	Type  asn1.ObjectIdentifier
	Value asn1.RawValue
}

// rdnSET is a relative distinguished name; encoding/asn1 goes by the ending of the type's name.
type rdnSET []attribute

// dnNames are the attributes that have a name in text (RFC 4514 §3, and what
// openssl prints), with the string type that RFC 5280 asks for.
var dnNames = []struct {
	name string
	oid  asn1.ObjectIdentifier
	tag  int
}{
	{"CN", asn1.ObjectIdentifier{2, 5, 4, 3}, asn1.TagUTF8String},
	{"C", asn1.ObjectIdentifier{2, 5, 4, 6}, asn1.TagPrintableString},
	{"O", asn1.ObjectIdentifier{2, 5, 4, 10}, asn1.TagUTF8String},
	{"OU", asn1.ObjectIdentifier{2, 5, 4, 11}, asn1.TagUTF8String},
	{"L", asn1.ObjectIdentifier{2, 5, 4, 7}, asn1.TagUTF8String},
	{"ST", asn1.ObjectIdentifier{2, 5, 4, 8}, asn1.TagUTF8String},
	{"STREET", asn1.ObjectIdentifier{2, 5, 4, 9}, asn1.TagUTF8String},
	{"SN", asn1.ObjectIdentifier{2, 5, 4, 4}, asn1.TagUTF8String},
	{"GN", asn1.ObjectIdentifier{2, 5, 4, 42}, asn1.TagUTF8String},
	{"serialNumber", asn1.ObjectIdentifier{2, 5, 4, 5}, asn1.TagPrintableString},
	{"DC", asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 25}, asn1.TagIA5String},
	{"UID", asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 1}, asn1.TagUTF8String},
	{"emailAddress", asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 1}, asn1.TagIA5String},
}

// maxRDNs bounds the distinguished names that are looked into.
const maxRDNs = 64

// parseDN reads the DER of a distinguished name; ok is false where it is none.
func parseDN(der string) (rdns []rdnSET, ok bool) {
	rest, err := asn1.Unmarshal([]byte(der), &rdns)
	if err != nil || len(rest) > 0 || len(rdns) == 0 || len(rdns) > maxRDNs {
		return nil, false
	}
	for _, r := range rdns {
		if len(r) == 0 {
			return nil, false
		}
	}
	return rdns, true
}

// text is the value of a string type; ok is false for others.
func (a attribute) text() (s string, ok bool) {
	if a.Value.Class != asn1.ClassUniversal || a.Value.IsCompound || !utf8.Valid(a.Value.Bytes) {
		return "", false
	}
	switch a.Value.Tag {
	case asn1.TagUTF8String, asn1.TagPrintableString, asn1.TagIA5String:
		return string(a.Value.Bytes), true
	}
	return "", false
}

// foldDN gives distinguished names that RFC 5280 §7.1 takes for equal the same
// octets: string types, case and runs of spaces do not count. What is no such
// name comes back as it is.
func foldDN(der string) string {
	rdns, ok := parseDN(der)
	if !ok {
		return der
	}
	for _, r := range rdns {
		for i := range r {
			if s, ok := r[i].text(); ok {
				s = strings.Join(strings.Fields(strings.ToLower(s)), " ")
				r[i].Value = asn1.RawValue{Tag: asn1.TagUTF8String, Bytes: []byte(s)}
			}
		}
	}
	out, err := asn1.Marshal(rdns)
	if err != nil {
		return der
	}
	return string(out)
}

// dnText writes a distinguished name in the order of its encoding, as openssl
// prints a subject; ok is false where it would not be read back as the same name.
func dnText(der string) (text string, ok bool) {
	rdns, ok := parseDN(der)
	if !ok {
		return "", false
	}
	var b strings.Builder
	for i, r := range rdns {
		name := ""
		for _, n := range dnNames {
			if r[0].Type.Equal(n.oid) {
				name = n.name
			}
		}
		value, plain := r[0].text()
		if len(r) != 1 || name == "" || !plain || value == "" || printable(value) != value ||
			strings.TrimSpace(value) != value {
			return "", false
		}
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(name + "=" + strings.NewReplacer(`\`, `\\`, `,`, `\,`).Replace(value))
	}
	return b.String(), true
}

// encodeDN reads what dnText writes: "C=DE, O=Example, CN=mn", in the order of
// the certificate, with \, for a comma that is part of a value.
func encodeDN(s string) (string, error) {
	var rdns []rdnSET
	for _, part := range splitDN(s) {
		name, value, found := strings.Cut(part, "=")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		if !found || value == "" || !utf8.ValidString(value) || len(rdns) == maxRDNs {
			return "", fmt.Errorf("%w: distinguished name %q", ErrSyntax, s)
		}
		known := false
		for _, n := range dnNames {
			if strings.EqualFold(name, n.name) {
				known = true
				rdns = append(rdns, rdnSET{{n.oid, asn1.RawValue{Tag: n.tag, Bytes: []byte(value)}}})
			}
		}
		if !known {
			return "", fmt.Errorf("%w: distinguished name with an attribute %q", ErrSyntax, name)
		}
	}
	der, err := asn1.Marshal(rdns)
	return string(der), err
}

// splitDN splits at commas that no backslash stands before, and takes those off.
func splitDN(s string) []string {
	parts := []string{""}
	escaped := false
	for _, r := range s {
		last := &parts[len(parts)-1]
		switch {
		case escaped:
			*last += string(r)
			escaped = false
		case r == '\\':
			escaped = true
		case r == ',':
			parts = append(parts, "")
		default:
			*last += string(r)
		}
	}
	return parts
}
