package transform

import (
	"crypto/mlkem"
	"fmt"
	"io"
)

// ML-KEM as a key exchange method (draft-ietf-ipsecme-ikev2-mlkem): the
// initiator's KE data is an encapsulation key, the responder's a ciphertext.
const (
	MLKEM768  KE = 36
	MLKEM1024 KE = 37
)

// KEM says whether a method is one of encapsulation: its responder needs the
// initiator's value first, and has no private key (see Encapsulate).
func (k KE) KEM() bool { return k == MLKEM768 || k == MLKEM1024 }

// decapsulator is the private half of an encapsulation, of either size.
type decapsulator interface {
	Decapsulate(ciphertext []byte) ([]byte, error)
}

// kemKey is the initiator's half of an encapsulation.
type kemKey struct {
	key    decapsulator
	public []byte
}

// generateKEM makes the initiator's key from a seed of 64 octets (FIPS 203
// §7.1: d and z), which must serve nothing else.
func (k KE) generateKEM(rand io.Reader) (*Private, error) {
	var seed [mlkem.SeedSize]byte
	if _, err := io.ReadFull(rand, seed[:]); err != nil {
		return nil, err
	}
	defer clear(seed[:])
	if k == MLKEM768 {
		key, err := mlkem.NewDecapsulationKey768(seed[:])
		if err != nil {
			return nil, err
		}
		return &Private{group: k, kem: &kemKey{key, key.EncapsulationKey().Bytes()}}, nil
	}
	key, err := mlkem.NewDecapsulationKey1024(seed[:])
	if err != nil {
		return nil, err
	}
	return &Private{group: k, kem: &kemKey{key, key.EncapsulationKey().Bytes()}}, nil
}

// shared decapsulates. Only the length of a ciphertext can be wrong (FIPS 203
// §7.3): a forged one gives another secret, and no error.
func (p *kemKey) shared(ciphertext []byte) ([]byte, error) {
	s, err := p.key.Decapsulate(ciphertext)
	if err != nil {
		return nil, fmt.Errorf("%w: KE data of %d octets", ErrInvalid, len(ciphertext))
	}
	return s, nil
}

// publicLen is the length of an encapsulation key in octets; 0: not a KEM.
func (k KE) publicLen() int {
	switch k {
	case MLKEM768:
		return mlkem.EncapsulationKeySize768
	case MLKEM1024:
		return mlkem.EncapsulationKeySize1024
	}
	return 0
}

// Encapsulate is the responder's half of ML-KEM: the ciphertext, which is its KE
// data, and the shared secret of 32 octets. The encapsulation key is checked
// first (FIPS 203 §7.2). It draws its own randomness, for crypto/mlkem takes no
// reader: so it is not for the machine, but for whoever answers ike.Encapsulate.
func (k KE) Encapsulate(public []byte) (ciphertext, shared []byte, err error) {
	switch k {
	case MLKEM768:
		key, err := mlkem.NewEncapsulationKey768(public)
		if err != nil {
			return nil, nil, fmt.Errorf("%w: encapsulation key: %v", ErrInvalid, err)
		}
		shared, ciphertext = key.Encapsulate()
	case MLKEM1024:
		key, err := mlkem.NewEncapsulationKey1024(public)
		if err != nil {
			return nil, nil, fmt.Errorf("%w: encapsulation key: %v", ErrInvalid, err)
		}
		shared, ciphertext = key.Encapsulate()
	default:
		return nil, nil, fmt.Errorf("%w: %s does not encapsulate", ErrUnsupported, k)
	}
	return ciphertext, shared, nil
}
