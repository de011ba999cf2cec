package transform

import (
	"bytes"
	"crypto/mlkem"
	"crypto/mlkem/mlkemtest"
	"errors"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/mip6/mip6/ike/message"
)

func kemRand(seed byte) *rand.ChaCha8 { return rand.NewChaCha8([32]byte{seed}) }

// TestMLKEM: both sides get the same 32 octets, and values of other lengths are refused.
func TestMLKEM(t *testing.T) {
	for _, c := range []struct {
		k          KE
		name       string
		public, ct int
	}{{MLKEM768, "mlkem768", 1184, 1088}, {MLKEM1024, "mlkem1024", 1568, 1568}} {
		p, err := c.k.Generate(kemRand(1))
		if err != nil || p.Group() != c.k || len(p.Public()) != c.public || !c.k.KEM() || c.k.String() != c.name {
			t.Fatalf("%s: %v", c.k, err)
		}
		again, _ := c.k.Generate(kemRand(1))
		other, _ := c.k.Generate(kemRand(2))
		if !bytes.Equal(again.Public(), p.Public()) || bytes.Equal(other.Public(), p.Public()) {
			t.Error("the key is not of the seed")
		}
		ct, shared, err := c.k.Encapsulate(p.Public())
		if err != nil || len(ct) != c.ct || len(shared) != 32 {
			t.Fatalf("%s: %d %d %v", c.k, len(ct), len(shared), err)
		}
		got, err := p.Shared(ct)
		if err != nil || !bytes.Equal(got, shared) {
			t.Fatalf("%s: %v", c.k, err)
		}
		ct[7] ^= 1 // implicit rejection: another secret, no error
		if got, err := p.Shared(ct); err != nil || bytes.Equal(got, shared) {
			t.Errorf("%s: a forged ciphertext: %v", c.k, err)
		}
		for _, n := range []int{0, 1, 32, c.ct - 1, c.ct + 1, 70000} {
			if _, err := p.Shared(make([]byte, n)); !errors.Is(err, ErrInvalid) {
				t.Errorf("%s: ciphertext of %d octets: %v", c.k, n, err)
			}
		}
		for _, n := range []int{0, 1, 32, c.public - 1, c.public + 1} {
			if _, _, err := c.k.Encapsulate(make([]byte, n)); !errors.Is(err, ErrInvalid) || c.k.CheckPublic(make([]byte, n)) {
				t.Errorf("%s: key of %d octets: %v", c.k, n, err)
			}
		}
		// FIPS 203 §7.2: a coefficient that is not reduced.
		bad := bytes.Clone(p.Public())
		bad[0], bad[1] = 0xff, 0xff
		if _, _, err := c.k.Encapsulate(bad); !errors.Is(err, ErrInvalid) || !c.k.CheckPublic(bad) {
			t.Errorf("%s: a key out of range: %v", c.k, err)
		}
	}
	if _, _, err := X25519.Encapsulate(make([]byte, 32)); !errors.Is(err, ErrUnsupported) {
		t.Error(err)
	}
	if _, err := MLKEM768.Generate(bytes.NewReader(make([]byte, 63))); err == nil {
		t.Error("a key of too little randomness")
	}
}

// TestMLKEMSeed: the private key is the one of the 64 octets d | z that were read, as another
// user of the same seed has it.
func TestMLKEMSeed(t *testing.T) {
	seed := make([]byte, 64)
	for i := range seed {
		seed[i] = byte(i)
	}
	p, err := MLKEM768.Generate(bytes.NewReader(seed))
	if err != nil {
		t.Fatal(err)
	}
	key, err := mlkem.NewDecapsulationKey768(seed)
	if err != nil || !bytes.Equal(key.EncapsulationKey().Bytes(), p.Public()) {
		t.Fatal("another key", err)
	}
	shared, ct, err := mlkemtest.Encapsulate768(key.EncapsulationKey(), make([]byte, 32))
	if got, e := p.Shared(ct); err != nil || e != nil || !bytes.Equal(got, shared) {
		t.Error(err, e)
	}
}

func addOffer(t *testing.T, s string) Offer {
	t.Helper()
	o, err := ParseIKEOffer(s)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// TestAddKENames: as strongSwan writes them, back and forth.
func TestAddKENames(t *testing.T) {
	for _, s := range []string{
		"aes256gcm16-prfsha384-x25519-ke1_mlkem768",
		"aes256gcm16-prfsha384-ecp384-ke1_mlkem1024-ke1_none-ke2_mlkem768-ke7_x25519",
	} {
		if o := addOffer(t, s); o.String() != s {
			t.Errorf("%s became %s", s, o)
		}
	}
	for _, s := range []string{
		"aes256gcm16-prfsha384-ke1_mlkem768", "aes256gcm16-prfsha384-mlkem768", "aes256gcm16-prfsha384-x25519-ke0_mlkem768",
		"aes256gcm16-prfsha384-x25519-ke8_mlkem768", "aes256gcm16-prfsha384-x25519-ke1_", "aes256gcm16-prfsha384-x25519-ke1_rot13",
		"aes256gcm16-prfsha384-x25519-ke1_mlkem768-ke1_mlkem768", "aes256gcm16-prfsha384-x25519-ke1mlkem768",
	} {
		if _, err := ParseIKEOffer(s); err == nil {
			t.Errorf("%s is taken", s)
		}
	}
	if o, err := ParseOffer("aes128gcm16-mlkem768"); err != nil || o.KE[0] != MLKEM768 {
		t.Error("a child by ML-KEM alone", err)
	}
	if _, err := ParseOffer("aes128gcm16-ke1_mlkem768"); err == nil {
		t.Error("nothing to add to")
	}
	s := Suite{Encr: AES128GCM16, PRF: PRFHMACSHA256, KE: X25519, AddKE: AddKE{MLKEM768}}
	if s.String() != "aes128gcm16-prfsha256-x25519-ke1_mlkem768" {
		t.Error(s)
	}
}

// TestAddKENegotiation: the rules of RFC 9370 §2.2.1.
func TestAddKENegotiation(t *testing.T) {
	const base = "aes128gcm16-prfsha256-x25519"
	for _, c := range []struct {
		ours, theirs string
		want         string // of the suite; empty: none
	}{
		{base + "-ke1_mlkem768", base + "-ke1_mlkem768", base + "-ke1_mlkem768"},
		{base + "-ke1_mlkem768", base, ""}, // ours is a must
		{base, base + "-ke1_mlkem768", ""}, // the peer's is a must
		{base, base + "-ke1_mlkem768-ke1_none", base},
		{base + "-ke1_mlkem768-ke1_none", base, base},
		{base + "-ke1_none-ke1_mlkem768", base + "-ke1_mlkem768", base + "-ke1_mlkem768"},
		{base + "-ke1_mlkem768-ke1_none", base + "-ke1_none-ke1_mlkem768", base + "-ke1_mlkem768"},
		{base + "-ke1_mlkem1024-ke1_mlkem768", base + "-ke1_mlkem768", base + "-ke1_mlkem768"},
		{base + "-ke2_mlkem768", base + "-ke1_mlkem768", ""},
		{base + "-ke2_mlkem768-ke5_x25519", base + "-ke2_mlkem768-ke5_x25519", base + "-ke2_mlkem768-ke5_x25519"},
		// No method twice: the second has to do with another, or with none.
		{base + "-ke1_mlkem768-ke2_mlkem768-ke2_mlkem1024", base + "-ke1_mlkem768-ke2_mlkem768-ke2_mlkem1024", base + "-ke1_mlkem768-ke2_mlkem1024"},
		{base + "-ke1_mlkem768-ke1_mlkem1024-ke2_mlkem768", base + "-ke1_mlkem768-ke1_mlkem1024-ke2_mlkem768", base + "-ke1_mlkem1024-ke2_mlkem768"},
		{base + "-ke1_mlkem768-ke2_mlkem768-ke2_none", base + "-ke1_mlkem768-ke2_mlkem768-ke2_none", base + "-ke1_mlkem768"},
		{base + "-ke1_mlkem768-ke2_mlkem768", base + "-ke1_mlkem768-ke2_mlkem768", ""},
	} {
		ours, theirs := []Offer{addOffer(t, c.ours)}, []Offer{addOffer(t, c.theirs)}
		ps := Proposals(theirs, message.ProtoIKE, nil)
		got, err := Choose(ours, ps, message.ProtoIKE, X25519)
		if (err == nil) != (c.want != "") || err == nil && got.Suite.String() != c.want {
			t.Errorf("%s of %s: %s %v", c.ours, c.theirs, got.Suite, err)
			continue
		}
		if err != nil {
			continue
		}
		s, _, err := Accept(theirs, []message.Proposal{got.Proposal}, message.ProtoIKE)
		if err != nil || !reflect.DeepEqual(s, got.Suite) {
			t.Errorf("%s of %s: accepted is %s, %v", c.ours, c.theirs, s, err)
		}
		// Each type that was proposed is answered, NONE too.
		types := map[message.TransformType]int{}
		for _, x := range got.Proposal.Transforms {
			types[x.Type]++
		}
		for _, x := range ps[0].Transforms {
			if types[x.Type] != 1 {
				t.Errorf("%s of %s: type %d is answered %d times", c.ours, c.theirs, x.Type, types[x.Type])
			}
		}
	}
}

// TestAddKEAnswers: an answer with a method twice, one that was not offered, or without one that
// is a must, is none.
func TestAddKEAnswers(t *testing.T) {
	offers := []Offer{addOffer(t, "aes128gcm16-prfsha256-x25519-ke1_mlkem768-ke1_mlkem1024-ke2_mlkem768-ke2_none")}
	answer := func(more ...message.Transform) []message.Proposal {
		return []message.Proposal{{Number: 1, Protocol: message.ProtoIKE, Transforms: append([]message.Transform{
			{Type: 1, ID: 20, KeyBits: 128}, {Type: 2, ID: 5}, {Type: 4, ID: 31}}, more...)}}
	}
	for _, c := range []struct {
		more []message.Transform
		ok   bool
	}{
		{[]message.Transform{{Type: 6, ID: 37}, {Type: 7, ID: 36}}, true},
		{[]message.Transform{{Type: 6, ID: 37}, {Type: 7}}, true},
		{[]message.Transform{{Type: 6, ID: 37}}, true}, // an optional one left out
		{[]message.Transform{{Type: 6, ID: 36}, {Type: 7, ID: 36}}, false},
		{[]message.Transform{{Type: 6, ID: 36}, {Type: 6, ID: 37}}, false},
		{[]message.Transform{{Type: 6}}, false},
		{nil, false},
		{[]message.Transform{{Type: 6, ID: 35}}, false},
		{[]message.Transform{{Type: 6, ID: 36, KeyBits: 128}}, false},
		{[]message.Transform{{Type: 6, ID: 36, Odd: true}}, false},
		{[]message.Transform{{Type: 6, ID: 36}, {Type: 8, ID: 37}}, false},
		{[]message.Transform{{Type: 6, ID: 36}, {Type: 8}}, true},
		{[]message.Transform{{Type: 6, ID: 36}, {Type: 13, ID: 37}}, false},
	} {
		if s, _, err := Accept(offers, answer(c.more...), message.ProtoIKE); (err == nil) != c.ok {
			t.Errorf("%+v: %s %v", c.more, s, err)
		}
	}
}

// TestWithoutAddKE: the proposals that a peer without IKE_INTERMEDIATE cannot mean.
func TestWithoutAddKE(t *testing.T) {
	ps := Proposals([]Offer{addOffer(t, "aes128gcm16-prfsha256-x25519-ke7_mlkem768"), addOffer(t, "aes128gcm16-prfsha256-x25519")}, message.ProtoIKE, nil)
	if got := WithoutAddKE(ps); len(got) != 1 || got[0].Number != 2 {
		t.Errorf("%+v", got)
	}
	if got := WithoutAddKE(ps[:1]); got == nil || len(got) != 0 {
		t.Errorf("%+v", got)
	}
}

func TestAllowAddKE(t *testing.T) {
	o := addOffer(t, "aes128gcm16-prfsha256-x25519-ke1_mlkem768-ke2_mlkem1024-ke2_none").AddKE
	for _, c := range []struct {
		a  AddKE
		ok bool
	}{{AddKE{}, false}, {AddKE{MLKEM768}, true}, {AddKE{MLKEM768, MLKEM1024}, true}, {AddKE{MLKEM1024}, false}, {AddKE{MLKEM768, KENone, MLKEM1024}, false}} {
		if o.Allow(c.a) != c.ok {
			t.Errorf("%s: %v", c.a, !c.ok)
		}
	}
}

// FuzzAddKE chooses from any transforms: what is chosen was proposed, allowed, and no method twice.
func FuzzAddKE(f *testing.F) {
	f.Add([]byte{6, 36, 7, 37, 7, 0, 8, 36})
	offers := []Offer{{Encr: []Encr{AES128GCM16}, PRF: []PRF{PRFHMACSHA256}, KE: []KE{X25519}, AddKE: AddKEs{
		{MLKEM768, MLKEM1024}, {MLKEM1024, MLKEM768, KENone}, nil, {X25519, KENone}, {P256, X25519}, {KENone}, {MLKEM768, P384, KENone}}}}
	f.Fuzz(func(t *testing.T, b []byte) {
		ts := []message.Transform{{Type: 1, ID: 20, KeyBits: 128}, {Type: 2, ID: 5}, {Type: 4, ID: 31}}
		for ; len(b) >= 2; b = b[2:] {
			ts = append(ts, message.Transform{Type: 6 + message.TransformType(b[0]%7), ID: uint16(b[1])})
		}
		c, err := Choose(offers, []message.Proposal{{Number: 1, Protocol: message.ProtoIKE, Transforms: ts}}, message.ProtoIKE, X25519)
		if err != nil {
			return
		}
		seen := map[KE]bool{}
		for _, k := range c.Suite.AddKE.Methods() {
			if seen[k] {
				t.Fatal("twice: ", c.Suite)
			}
			seen[k] = true
		}
		if !offers[0].AddKE.Allow(c.Suite.AddKE) {
			t.Fatal("not allowed: ", c.Suite)
		}
		for _, x := range c.Proposal.Transforms {
			found := false
			for _, y := range ts {
				found = found || x == y
			}
			if !found {
				t.Fatalf("%+v was not proposed", x)
			}
		}
	})
}
