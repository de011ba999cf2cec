package transform

import (
	"bytes"
	"math/big"

	"filippo.io/bigmod"
)

// modp is a group of RFC 2409 §6.2 or RFC 3526 with generator 2. Exponents are
// secret, so bigmod computes in constant time, the arithmetic of the standard
// library's own RSA; math/big would not.
type modp struct {
	size     int // octets of the prime, of public values and of the secret
	exponent int // octets of our private exponent
	prime    []byte
	minusOne []byte
	modulus  *bigmod.Modulus
	two      *bigmod.Nat
}

// pi3966 is 2^3966·π without its fraction. All the primes are made of its
// beginning: 2^n − 2^(n−64) − 1 + 2^64·(⌊2^(n−130)·π⌋ + k).
const pi3966 = "c90fdaa22168c234c4c6628b80dc1cd129024e088a67cc74020bbea63b139b22" +
	"514a08798e3404ddef9519b3cd3a431b302b0a6df25f14374fe1356d6d51c245" +
	"e485b576625e7ec6f44c42e9a637ed6b0bff5cb6f406b7edee386bfb5a899fa5" +
	"ae9f24117c4b1fe649286651ece45b3dc2007cb8a163bf0598da48361c55d39a" +
	"69163fa8fd24cf5f83655d23dca3ad961c62f356208552bb9ed529077096966d" +
	"670c354e4abc9804f1746c08ca18217c32905e462e36ce3be39e772c180e8603" +
	"9b2783a2ec07a28fb5c55df06f4c52c9de2bcbf6955817183995497cea956ae5" +
	"15d2261898fa051015728e5a8aaac42dad33170d04507a33a85521abdf1cba64" +
	"ecfb850458dbef0a8aea71575d060c7db3970f85a6e1e4c7abf5ae8cdb0933d7" +
	"1e8c94e04a25619dcee3d2261ad2ee6bf12ffa06d98a0864d87602733ec86a64" +
	"521f2b18177b200cbbe117577a615d6c770988c0bad946e208e24fa074e5ab31" +
	"43db5bfce0fd108e4b82d120a92108011a723c12a787e6d788719a10bdba5b26" +
	"99c327186af4e23c1a946834b6150bda2583e9ca2ad44ce8dbbbc2db04de8ef9" +
	"2e8efc141fbecaa6287c59474e6bc05d99b2964fa090c3a2233ba186515be7ed" +
	"1f612970cee2d7afb81bdd762170481cd0069127d5b05aa993b4ea988d8fddc1" +
	"86ffb7dc90a6c08f4df435c934028492"

// The exponents have twice the bits of the group's strength and more, by the
// higher of the estimates of RFC 3526 §8.
var (
	modp1024 = newMODP(1024, 129093, 32)
	modp2048 = newMODP(2048, 124476, 40)
	modp3072 = newMODP(3072, 1690314, 53)
	modp4096 = newMODP(4096, 240904, 60)
)

func newMODP(bits uint, k int64, exponent int) *modp {
	one := big.NewInt(1)
	p, ok := new(big.Int).SetString(pi3966, 16)
	p.Rsh(p, 4096-bits).Add(p, big.NewInt(k)).Lsh(p, 64)
	p.Add(p, new(big.Int).Lsh(one, bits)).Sub(p, new(big.Int).Lsh(one, bits-64)).Sub(p, one)
	g := &modp{size: int(bits / 8), exponent: exponent, prime: p.Bytes(), minusOne: p.Sub(p, one).Bytes()}
	var err error
	if g.modulus, err = bigmod.NewModulus(g.prime); err == nil {
		g.two, err = g.nat(2)
	}
	if !ok || err != nil {
		panic("ike/transform: a constant is wrong") // which the tests would see
	}
	return g
}

func (g *modp) nat(v byte) (*bigmod.Nat, error) {
	b := make([]byte, g.size)
	b[g.size-1] = v
	return bigmod.NewNat().SetBytes(b, g.modulus)
}

// check says whether a public value has the length of the prime (RFC 7296 §3.4)
// and is neither 0, 1 nor p−1 nor beyond (RFC 6989 §2.1): of the values left
// each generates a group of the large order, p being a safe prime.
func (g *modp) check(y []byte) bool {
	if len(y) != g.size || bytes.Compare(y, g.minusOne) >= 0 {
		return false
	}
	for _, b := range y[:g.size-1] {
		if b != 0 {
			return true
		}
	}
	return y[g.size-1] > 1
}

// public is 2^x mod p, as long as p.
func (g *modp) public(x []byte) []byte {
	return bigmod.NewNat().Exp(g.two, x, g.modulus).Bytes(g.modulus)
}

// shared is y^x mod p, as long as p (RFC 7296 §2.14). y has been checked.
func (g *modp) shared(y, x []byte) ([]byte, error) {
	n, err := bigmod.NewNat().SetBytes(y, g.modulus)
	if err != nil {
		return nil, err
	}
	return bigmod.NewNat().Exp(n, x, g.modulus).Bytes(g.modulus), nil
}
