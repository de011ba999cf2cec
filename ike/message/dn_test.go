package message

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"testing"
)

// der encodes a name as a library does that we did not write.
func der(t testing.TB, n pkix.Name) string {
	t.Helper()
	b, err := asn1.Marshal(n.ToRDNSequence())
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestDistinguishedNames(t *testing.T) {
	name := pkix.Name{Country: []string{"DE"}, Organization: []string{"Example, Inc"}, CommonName: "mn.example.org"}
	want := Identity{IDDERDN, der(t, name)}
	for _, s := range []string{
		`C=DE, O=Example\, Inc, CN=mn.example.org`, `c=de,o=example\,  inc,cn=MN.example.org`, ` C = DE , O = Example\, Inc , CN = mn.example.org `,
	} {
		id, err := ParseIdentity(s)
		if err != nil || id.Type != IDDERDN || id.Fold() != want.Fold() {
			t.Errorf("%q: %v %x", s, err, id.Data)
		}
	}
	for _, s := range []string{`O=Example\, Inc, C=DE, CN=mn.example.org`, `C=DE, O=Example\, Inc`, `C=DE, O=Example\, Inc, CN=mn2.example.org`} {
		if id, err := ParseIdentity(s); err != nil || id.Fold() == want.Fold() {
			t.Errorf("%q is the same name (%v)", s, err)
		}
	}
	if got := want.String(); got != `C=DE, O=Example\, Inc, CN=mn.example.org` {
		t.Error(got)
	}
	for _, s := range []string{"CN=", "=mn", "CN=a,", "XX=a", "CN=a,b"} {
		if id, err := ParseIdentity(s); !errors.Is(err, ErrSyntax) {
			t.Errorf("%q: %v %v", s, id, err)
		}
	}
	// What text cannot hold stays in hexadecimal: two values in one part, an unknown attribute, a control character.
	for _, n := range []pkix.Name{
		{Organization: []string{"a", "b"}}, {CommonName: "a\nb"}, {CommonName: " a"},
		{ExtraNames: []pkix.AttributeTypeAndValue{{Type: asn1.ObjectIdentifier{1, 2, 3}, Value: "x"}}},
	} {
		id := Identity{IDDERDN, der(t, n)}
		back, err := ParseIdentity(id.String())
		if err != nil || back != id || id.String()[:3] != "dn:" {
			t.Errorf("%s: %v", id, err)
		}
	}
}

// FuzzDistinguishedName: whatever the octets are, a name folds to one that stays, and text that is
// written is read as the same name.
func FuzzDistinguishedName(f *testing.F) {
	f.Add([]byte(der(f, pkix.Name{Country: []string{"DE"}, CommonName: "mn"})))
	f.Add([]byte{0x30, 0})
	f.Add([]byte{0x30, 0x84, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		id := Identity{IDDERDN, string(b)}
		once := id.Fold()
		if once.Fold() != once {
			t.Fatalf("%x folds to %x and then to %x", b, once.Data, once.Fold().Data)
		}
		if s, ok := dnText(id.Data); ok {
			back, err := ParseIdentity(s)
			if err != nil || back.Fold() != once {
				t.Fatalf("%x is %q, which is %x (%v)", b, s, back.Data, err)
			}
		}
	})
}
