package transform

import (
	"crypto/ecdh"
	"fmt"
	"io"
)

// Private is the private half of a key exchange in progress: an exponent, or a
// key of a curve.
type Private struct {
	group    KE
	key      *ecdh.PrivateKey
	exponent []byte
	public   []byte // of an exponent
	kem      *kemKey
}

func (k KE) modp() *modp {
	switch k {
	case MODP1024:
		return modp1024
	case MODP2048:
		return modp2048
	case MODP3072:
		return modp3072
	case MODP4096:
		return modp4096
	}
	return nil
}

func (k KE) curve() (ecdh.Curve, error) {
	switch k {
	case X25519:
		return ecdh.X25519(), nil
	case P256:
		return ecdh.P256(), nil
	case P384:
		return ecdh.P384(), nil
	case P521:
		return ecdh.P521(), nil
	}
	return nil, fmt.Errorf("%w: %s", ErrUnsupported, k)
}

// scalar is the length of a private key of a curve in octets; 0 for other methods.
func (k KE) scalar() int {
	switch k {
	case X25519, P256:
		return 32
	case P384:
		return 48
	case P521:
		return 66
	}
	return 0
}

// size is the length of KE data; 0 for a method that is not implemented.
func (k KE) size() int {
	if g := k.modp(); g != nil {
		return g.size
	}
	if k.KEM() {
		return k.publicLen()
	}
	if k == X25519 {
		return 32
	}
	return 2 * k.scalar()
}

// Generate makes a private key from rand. (ecdh's own generator would ignore a
// reader that is passed to it.)
func (k KE) Generate(rand io.Reader) (*Private, error) {
	if k.KEM() {
		return k.generateKEM(rand)
	}
	if g := k.modp(); g != nil {
		x := make([]byte, g.exponent)
		if _, err := io.ReadFull(rand, x); err != nil {
			return nil, err
		}
		x[0] |= 0x80 // never zero, and all are of one length
		return &Private{group: k, exponent: x, public: g.public(x)}, nil
	}
	curve, err := k.curve()
	if err != nil {
		return nil, err
	}
	// A scalar may be out of range (P-256: with a chance of 2^-32): then the next one.
	for range 8 {
		b := make([]byte, k.scalar())
		if _, err := io.ReadFull(rand, b); err != nil {
			return nil, err
		}
		if k == P521 {
			b[0] &= 1 // 521 bits
		}
		if key, err := curve.NewPrivateKey(b); err == nil {
			return &Private{group: k, key: key}, nil
		}
	}
	return nil, fmt.Errorf("%w: no private key from this random source", ErrInvalid)
}

// Group is the method of the exchange.
func (p *Private) Group() KE { return p.group }

// Public is the body of our KE payload: 32 octets for x25519 (RFC 8031), x and
// y for the curves of NIST (RFC 5903 §7: without the point's form octet), as
// many octets as the prime has for MODP (RFC 7296 §3.4).
func (p *Private) Public() []byte {
	switch {
	case p.kem != nil:
		return p.kem.public
	case p.key == nil:
		return p.public
	}
	b := p.key.PublicKey().Bytes()
	if p.group == X25519 {
		return b
	}
	return b[1:]
}

// Shared computes the shared secret with the peer's KE data. Points off the
// curve, secrets of all zeros and values of small order are refused (RFC 6989
// §2, RFC 8031 §3.2).
func (p *Private) Shared(peer []byte) ([]byte, error) {
	if p.kem != nil {
		return p.kem.shared(peer)
	}
	if !p.group.CheckPublic(peer) {
		return nil, fmt.Errorf("%w: KE data of %d octets for %s", ErrInvalid, len(peer), p.group)
	}
	if g := p.group.modp(); g != nil {
		s, err := g.shared(peer, p.exponent)
		if err != nil {
			return nil, fmt.Errorf("%w: KE data: %v", ErrInvalid, err)
		}
		return s, nil
	}
	if p.group != X25519 {
		peer = append([]byte{4}, peer...)
	}
	curve, err := p.group.curve()
	if err != nil {
		return nil, err
	}
	pub, err := curve.NewPublicKey(peer)
	if err != nil {
		return nil, fmt.Errorf("%w: KE data: %v", ErrInvalid, err)
	}
	s, err := p.key.ECDH(pub)
	if err != nil {
		return nil, fmt.Errorf("%w: KE: %v", ErrInvalid, err)
	}
	return s, nil
}

// CheckPublic says whether KE data has the length that its method demands, and
// for MODP, whether it is in range. A point is checked to be on its curve by
// Shared, which costs more.
func (k KE) CheckPublic(data []byte) bool {
	if g := k.modp(); g != nil {
		return g.check(data)
	}
	return len(data) > 0 && len(data) == k.size()
}
