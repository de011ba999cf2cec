package transform

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"
)

// gcmSalt is the length of the salt after the key (RFC 5282 §7.1, RFC 4106 §8.1).
const gcmSalt = 4

// keyLen is the length of the keying material with its salt, in octets.
func (e Encr) keyLen() (int, error) {
	switch e {
	case AES128GCM16, AES256GCM16:
		return int(e.KeyBits)/8 + gcmSalt, nil
	}
	return 0, fmt.Errorf("%w: %s", ErrUnsupported, e)
}

// combined says whether the cipher protects integrity too.
func (e Encr) combined() bool { return e.ID == AES128GCM16.ID }

// Protector seals and opens SK payloads in one direction.
type Protector struct {
	aead cipher.AEAD
	salt [gcmSalt]byte
}

const (
	ivLen  = 8  // explicit IV of AES-GCM (RFC 5282 §3)
	icvLen = 16 // AES-GCM-16
)

// Protector returns the protection for one direction with SK_e (and SK_a,
// empty for combined-mode ciphers).
func (s Suite) Protector(enc, auth []byte) (*Protector, error) {
	n, err := s.Encr.keyLen()
	if err != nil {
		return nil, err
	}
	if len(enc) != n || len(auth) != 0 {
		return nil, fmt.Errorf("%w: keys of %d and %d octets", ErrInvalid, len(enc), len(auth))
	}
	block, err := aes.NewCipher(enc[:n-gcmSalt])
	if err != nil {
		return nil, err
	}
	p := new(Protector)
	copy(p.salt[:], enc[n-gcmSalt:])
	p.aead, err = cipher.NewGCM(block)
	return p, err
}

// SealedLen is the length of the SK payload's body for n octets of payloads.
func (p *Protector) SealedLen(n int) int { return ivLen + n + 1 + icvLen }

// Seal appends the body of an SK payload to msg, which ends with the generic
// header of that payload and whose length fields count the body already. iv
// must never be used twice: it counts the messages of this direction.
func (p *Protector) Seal(msg, plain []byte, iv uint64) []byte {
	aad := msg[:len(msg):len(msg)]
	var nonce [gcmSalt + ivLen]byte
	copy(nonce[:], p.salt[:])
	binary.BigEndian.PutUint64(nonce[gcmSalt:], iv)
	padded := append(append(make([]byte, 0, len(plain)+1), plain...), 0) // pad length 0
	out := append(make([]byte, 0, len(msg)+p.SealedLen(len(plain))), msg...)
	out = append(out, nonce[gcmSalt:]...)
	return p.aead.Seal(out, nonce[:], padded, aad)
}

// Open checks and decrypts the body of the SK payload that begins at offset in
// msg and ends with it. It returns the payloads inside. msg is not changed.
func (p *Protector) Open(msg []byte, offset int) ([]byte, error) {
	if offset < 0 || offset > len(msg) || len(msg)-offset < ivLen+1+icvLen {
		return nil, fmt.Errorf("%w: short SK payload", ErrIntegrity)
	}
	body := msg[offset:]
	var nonce [gcmSalt + ivLen]byte
	copy(nonce[:], p.salt[:])
	copy(nonce[gcmSalt:], body[:ivLen])
	plain, err := p.aead.Open(nil, nonce[:], body[ivLen:], msg[:offset])
	if err != nil {
		return nil, ErrIntegrity
	}
	pad := int(plain[len(plain)-1])
	if pad+1 > len(plain) {
		return nil, fmt.Errorf("%w: padding", ErrIntegrity)
	}
	return plain[:len(plain)-1-pad], nil
}
