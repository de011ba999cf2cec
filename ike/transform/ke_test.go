package transform

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/mip6/mip6/internal/vectors"
)

var methods = []KE{X25519, P256, P384, P521, MODP1024, MODP2048, MODP3072, MODP4096}

// rfc returns the text of an RFC that lies beside the vectors.
func rfc(t *testing.T, n int) string {
	t.Helper()
	name := filepath.Join(filepath.Dir(vectors.Path(t, "README.md")), "..", "rfc", fmt.Sprintf("rfc%d.txt", n))
	b, err := os.ReadFile(name)
	if err != nil {
		t.Skip(err)
	}
	return string(b)
}

// hexAfter is the block of hexadecimal words that follows a line.
func hexAfter(t *testing.T, text, line string) []byte {
	t.Helper()
	_, rest, ok := strings.Cut(text, "\n"+line+"\n")
	if !ok {
		t.Fatalf("no line %q", line)
	}
	words := regexp.MustCompile(`^\s*(([0-9A-Fa-f]{4,8}\s+)+)`).FindStringSubmatch(rest)
	if words == nil {
		t.Fatalf("no value of %q", line)
	}
	return unhex(t, strings.Join(strings.Fields(words[1]), ""))
}

// TestPrimes compares with the text of RFC 3526, and holds all to what such primes must be.
func TestPrimes(t *testing.T) {
	text := ""
	t.Run("text", func(t *testing.T) { text = rfc(t, 3526) })
	for k, title := range map[KE]string{MODP2048: "2048-bit MODP Group", MODP3072: "3072-bit MODP Group", MODP4096: "4096-bit MODP Group", MODP1024: ""} {
		g := k.modp()
		if title != "" && text != "" {
			part := text[strings.LastIndex(text, title):]
			words := regexp.MustCompile(`([0-9A-F]{8}[ \n]+)+`)
			var all string
			// A page may end within a value.
			for _, w := range words.FindAllString(part[:strings.Index(part, "The generator is")], -1) {
				all += strings.Join(strings.Fields(w), "")
			}
			if want, err := hex.DecodeString(all); err != nil || !bytes.Equal(g.prime, want) {
				t.Errorf("%s: not the prime of RFC 3526 (%v)", k, err)
			}
		}
		p := new(big.Int).SetBytes(g.prime)
		q := new(big.Int).Rsh(p, 1)
		if p.BitLen() != 8*g.size || !p.ProbablyPrime(0) || !q.ProbablyPrime(0) {
			t.Errorf("%s: no safe prime of that size", k)
		}
		// 2 generates the subgroup of order q: its powers give no bit of an exponent away.
		if new(big.Int).Exp(big.NewInt(2), q, p).Cmp(big.NewInt(1)) != 0 {
			t.Errorf("%s: 2 has another order", k)
		}
	}
}

// TestMODPAgainstBig computes a second time, with the other arithmetic.
func TestMODPAgainstBig(t *testing.T) {
	for _, k := range []KE{MODP1024, MODP2048, MODP3072, MODP4096} {
		g := k.modp()
		a, err := k.Generate(bytes.NewReader(bytes.Repeat([]byte{0x5a}, g.exponent)))
		if err != nil {
			t.Fatal(err)
		}
		b, err := k.Generate(bytes.NewReader(make([]byte, g.exponent)))
		if err != nil {
			t.Fatal(err)
		}
		p, y, x := new(big.Int).SetBytes(g.prime), new(big.Int).SetBytes(b.Public()), new(big.Int).SetBytes(a.exponent)
		want := y.Exp(y, x, p).FillBytes(make([]byte, g.size))
		if got, err := a.Shared(b.Public()); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %x %v", k, got, err)
		}
	}
	// A secret that begins with zeros keeps its length (RFC 7296 §2.14).
	small := make([]byte, modp1024.size)
	small[modp1024.size-1] = 2
	one := &Private{group: MODP1024, exponent: []byte{5}}
	if s, err := one.Shared(small); err != nil || len(s) != 128 || s[127] != 32 {
		t.Errorf("%x %v", s, err)
	}
}

// TestRFC5903 has the examples of §8 for all three curves.
func TestRFC5903(t *testing.T) {
	text := rfc(t, 5903)
	for k, section := range map[KE][2]string{P256: {"8.1.  256", "8.2.  384"}, P384: {"8.2.  384", "8.3.  521"}, P521: {"8.3.  521", "9.  Changes"}} {
		part := text[strings.LastIndex(text, section[0]):strings.LastIndex(text, section[1])]
		i, err := k.Generate(bytes.NewReader(hexAfter(t, part, "i:")))
		if err != nil {
			t.Fatal(err)
		}
		r, err := k.Generate(bytes.NewReader(hexAfter(t, part, "r:")))
		if err != nil {
			t.Fatal(err)
		}
		pubI := append(hexAfter(t, part, "gix:"), hexAfter(t, part, "giy:")...)
		pubR := append(hexAfter(t, part, "grx:"), hexAfter(t, part, "gry:")...)
		if !bytes.Equal(i.Public(), pubI) || !bytes.Equal(r.Public(), pubR) {
			t.Errorf("%s: public values\n%x\n%x", k, i.Public(), r.Public())
		}
		want := hexAfter(t, part, "girx:")
		if s, err := i.Shared(pubR); err != nil || !bytes.Equal(s, want) {
			t.Errorf("%s: %x %v", k, s, err)
		}
		if s, err := r.Shared(pubI); err != nil || !bytes.Equal(s, want) {
			t.Errorf("%s: %x %v", k, s, err)
		}
	}
}

func TestAgreement(t *testing.T) {
	for _, k := range methods {
		n := max(k.scalar(), 60)
		a, err := k.Generate(bytes.NewReader(bytes.Repeat([]byte{3}, n)))
		if err != nil {
			t.Fatal(err)
		}
		b, err := k.Generate(bytes.NewReader(bytes.Repeat([]byte{4}, n)))
		if err != nil {
			t.Fatal(err)
		}
		x, err1 := a.Shared(b.Public())
		y, err2 := b.Shared(a.Public())
		if err1 != nil || err2 != nil || !bytes.Equal(x, y) || bytes.Equal(a.Public(), b.Public()) {
			t.Errorf("%s: %v %v", k, err1, err2)
		}
		if a.Group() != k || len(a.Public()) != k.size() || !k.CheckPublic(a.Public()) || k.CheckPublic(a.Public()[1:]) || k.CheckPublic(append(a.Public(), 0)) {
			t.Errorf("%s: %d octets", k, len(a.Public()))
		}
		if _, err := k.Generate(bytes.NewReader(make([]byte, 5))); err == nil {
			t.Errorf("%s: a key of 5 octets of randomness", k)
		}
	}
}

// TestBadPublic: values of small order, out of range, off the curve (RFC 6989 §2): the
// attacks of small subgroups and invalid curves.
func TestBadPublic(t *testing.T) {
	for _, k := range methods {
		key, err := k.Generate(bytes.NewReader(bytes.Repeat([]byte{9}, 66)))
		if err != nil {
			t.Fatal(err)
		}
		n := k.size()
		filled := func(v byte) []byte { return bytes.Repeat([]byte{v}, n) }
		last := func(v byte) []byte { b := make([]byte, n); b[n-1] = v; return b }
		bad := [][]byte{nil, {}, make([]byte, n), make([]byte, n-1), make([]byte, n+1), key.Public()[:n-1], append(key.Public(), 0)}
		switch g := k.modp(); {
		case g != nil:
			p := new(big.Int).SetBytes(g.prime)
			above := new(big.Int).Add(p, big.NewInt(1)).Bytes()
			bad = append(bad, last(1), filled(0xff), bytes.Clone(g.prime), bytes.Clone(g.minusOne), above)
			for _, good := range [][]byte{last(2), new(big.Int).Sub(p, big.NewInt(2)).Bytes()} {
				if _, err := key.Shared(good); err != nil {
					t.Errorf("%s: %x… refused", k, good[:4])
				}
			}
		case k == X25519:
			bad = append(bad, append([]byte{1}, make([]byte, 31)...))
		default:
			off := bytes.Clone(key.Public())
			off[n-1] ^= 1
			bad = append(bad, off, filled(0xff), last(1))
		}
		for _, b := range bad {
			if _, err := key.Shared(b); !errors.Is(err, ErrInvalid) {
				t.Errorf("%s: %d octets %.8x accepted: %v", k, len(b), b, err)
			}
		}
	}
	for _, k := range []KE{KENone, 1, 5, 22, 25, 32, 65535} {
		if k.CheckPublic(nil) || k.CheckPublic(make([]byte, 32)) {
			t.Errorf("%s is implemented?", k)
		}
	}
}

func BenchmarkKE(b *testing.B) {
	for _, k := range methods {
		b.Run(k.String(), func(b *testing.B) {
			peer, err := k.Generate(bytes.NewReader(bytes.Repeat([]byte{7}, 66)))
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				key, err := k.Generate(bytes.NewReader(bytes.Repeat([]byte{9}, 66)))
				if err != nil {
					b.Fatal(err)
				}
				if _, err := key.Shared(peer.Public()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
