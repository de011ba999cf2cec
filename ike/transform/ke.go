package transform

import (
	"crypto/ecdh"
	"fmt"
	"io"
)

// Private is the private half of a key exchange in progress.
type Private struct {
	group KE
	key   *ecdh.PrivateKey
}

func (k KE) curve() (ecdh.Curve, error) {
	switch k {
	case X25519:
		return ecdh.X25519(), nil
	case P256:
		return ecdh.P256(), nil
	}
	return nil, fmt.Errorf("%w: %s", ErrUnsupported, k)
}

// Generate makes a private key of 32 octets from rand. (ecdh's own generator
// would ignore a reader that is passed to it.)
func (k KE) Generate(rand io.Reader) (*Private, error) {
	curve, err := k.curve()
	if err != nil {
		return nil, err
	}
	// A P-256 scalar is out of range with a chance of 2^-32: then the next one.
	for range 8 {
		var b [32]byte
		if _, err := io.ReadFull(rand, b[:]); err != nil {
			return nil, err
		}
		if key, err := curve.NewPrivateKey(b[:]); err == nil {
			return &Private{k, key}, nil
		}
	}
	return nil, fmt.Errorf("%w: no private key from this random source", ErrInvalid)
}

// Group is the method of the exchange.
func (p *Private) Group() KE { return p.group }

// Public is the body of our KE payload: 32 octets for x25519 (RFC 8031), x and
// y of 32 octets each for P-256 (RFC 5903 §7: without the point's form octet).
func (p *Private) Public() []byte {
	b := p.key.PublicKey().Bytes()
	if p.group == P256 {
		return b[1:]
	}
	return b
}

// Shared computes the shared secret with the peer's KE data. Points off the
// curve and secrets of all zeros are refused (RFC 8031 §3.2).
func (p *Private) Shared(peer []byte) ([]byte, error) {
	if p.group == P256 {
		if len(peer) != 64 {
			return nil, fmt.Errorf("%w: KE data of %d octets", ErrInvalid, len(peer))
		}
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

// CheckPublic says whether KE data has the length that its method demands.
func (k KE) CheckPublic(data []byte) bool {
	switch k {
	case X25519:
		return len(data) == 32
	case P256:
		return len(data) == 64
	}
	return false
}
