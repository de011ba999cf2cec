package pki

import (
	"crypto/subtle"
	"fmt"

	"github.com/mip6/mip6/ike/transform"
)

// Authentication methods of the AUTH payload (RFC 7296 §3.8, RFC 7427).
const (
	authRSA       = 1
	authPSK       = 2
	authECDSA256  = 9
	authECDSA384  = 10
	authECDSA521  = 11
	authSignature = 14
)

// keyPad is the constant of RFC 7296 §2.15, without a terminating NUL.
var keyPad = []byte("Key Pad for IKEv2")

// pskAuth is prf(prf(secret, "Key Pad for IKEv2"), octets).
func pskAuth(prf transform.PRF, secret, octets []byte) []byte {
	return prf.Sum(prf.Sum(secret, keyPad), octets)
}

// Prove makes our AUTH payload.
func (k *Keyring) Prove(r ProveRequest) (Proof, error) {
	e := k.conns[r.Conn]
	if e == nil {
		return Proof{}, fmt.Errorf("%w: connection %q has none", ErrNoKey, r.Conn)
	}
	switch r.Method {
	case PSK:
		key := e.secret(r.Local, r.Peer)
		if key == nil {
			return Proof{}, fmt.Errorf("%w: %s with %s", ErrNoKey, r.Local, r.Peer)
		}
		return Proof{AuthMethod: authPSK, Data: pskAuth(r.PRF, key, r.Octets)}, nil
	case Signature:
		return e.sign(r)
	}
	return Proof{}, fmt.Errorf("%w: method %d", ErrAlgorithm, r.Method)
}

// Verify checks the peer's AUTH payload and identity. An unknown connection or
// identity takes the same way as a wrong key, so that it takes the same time.
func (k *Keyring) Verify(r VerifyRequest) (Peer, error) {
	e := k.conns[r.Conn]
	if e == nil {
		e = &entry{}
	}
	if r.AuthMethod == authPSK {
		return e.verifyPSK(r)
	}
	if r.Method != Signature {
		return Peer{}, fmt.Errorf("%w: auth method %d where a pre-shared key is demanded", ErrAlgorithm, r.AuthMethod)
	}
	return e.verifySignature(r)
}

func (e *entry) verifyPSK(r VerifyRequest) (Peer, error) {
	key := e.secret(r.Local, r.Peer)
	known := key != nil
	if !known {
		key = []byte("no such identity, the same work")
	}
	want := pskAuth(r.PRF, key, r.Octets)
	same := subtle.ConstantTimeCompare(want, r.Data) == 1
	switch {
	case r.Method != PSK:
		return Peer{}, fmt.Errorf("%w: pre-shared key where a certificate is demanded", ErrAlgorithm)
	case !known:
		return Peer{}, fmt.Errorf("%w: %s", ErrNoKey, r.Peer)
	case !same || len(want) == 0:
		return Peer{}, ErrMismatch
	}
	return Peer{ID: r.Peer, Method: PSK}, nil
}
