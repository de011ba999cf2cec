// Package pki proves our identity and verifies the peer's (RFC 7296 §2.15,
// RFC 7427): pre-shared keys and X.509 certificates. It is the only room of IKE
// that sees long-term secrets; the machine asks it by the Prove and VerifyPeer
// actions and learns nothing but the result.
package pki

import (
	"errors"
	"net/netip"
	"time"

	"github.com/mip6/mip6/ike/message"
	"github.com/mip6/mip6/ike/transform"
)

// Errors of this package. All of them reach the peer as one and the same
// AUTHENTICATION_FAILED; they differ for the log only.
var (
	ErrNoKey     = errors.New("ike/pki: no key for this identity")
	ErrMismatch  = errors.New("ike/pki: authentication data does not verify")
	ErrCert      = errors.New("ike/pki: certificate not acceptable")
	ErrIdentity  = errors.New("ike/pki: identity is not the certificate's")
	ErrAlgorithm = errors.New("ike/pki: signature algorithm not acceptable")
)

// Method is how a side authenticates.
type Method uint8

// Methods a connection may demand of either side.
const (
	PSK       Method = 1 // pre-shared key (auth method 2)
	Signature Method = 2 // X.509 and a signature (auth method 14, or 1, 9, 10, 11)
)

func (m Method) String() string {
	switch m {
	case PSK:
		return "psk"
	case Signature:
		return "cert"
	}
	return "unknown"
}

// Hash is a hash identifier of SIGNATURE_HASH_ALGORITHMS (RFC 7427 §4).
type Hash uint16

// Hash identifiers.
const (
	HashSHA1     Hash = 1 // only for a peer that is named legacy
	HashSHA256   Hash = 2
	HashSHA384   Hash = 3
	HashSHA512   Hash = 4
	HashIdentity Hash = 5 // RFC 8420 §2: the octets themselves, for Ed25519
)

// Cert is the body of a CERT payload: the encoding (4: X.509 signature) and DER.
type Cert struct {
	Encoding uint8
	Data     []byte
}

// ProveRequest asks for our AUTH payload.
type ProveRequest struct {
	Conn       string
	Method     Method
	Local      message.Identity
	Peer       message.Identity // zero if unknown yet
	PRF        transform.PRF
	Octets     []byte   // what is signed: message, nonce, prf(SK_p, ID body)
	PeerHashes []Hash   // of the peer's SIGNATURE_HASH_ALGORITHMS; empty: RFC 7427 not supported
	CertReqs   [][]byte // SHA-1 hashes of the authorities the peer named, 20 octets each
}

// Proof is our AUTH payload and the CERT payloads before it, ours first.
type Proof struct {
	AuthMethod uint8
	Data       []byte
	Certs      []Cert
}

// VerifyRequest asks whether the peer is who it says.
type VerifyRequest struct {
	Conn       string
	Method     Method // what the connection demands of the peer
	Local      message.Identity
	Peer       message.Identity
	PRF        transform.PRF
	Octets     []byte
	AuthMethod uint8
	Data       []byte // AUTH data
	Certs      []Cert // as received; the first is the one for AUTH
	Now        time.Time
}

// Peer is what is known of a verified peer.
type Peer struct {
	ID     message.Identity
	Method Method
	// Of the certificate, if there is one.
	DNSNames  []string
	Emails    []string
	Addresses []netip.Addr
	Subject   string
	NotAfter  time.Time
}
