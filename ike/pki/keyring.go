package pki

import (
	"crypto"
	"crypto/x509"

	"github.com/mip6/mip6/ike/message"
)

// Secret is a pre-shared key between two identities. A zero Local or Peer fits
// any; the most specific fit wins, Peer before Local.
type Secret struct {
	Local, Peer message.Identity
	Key         []byte // at least one octet; RFC 7296 §2.15 wants 64 and more to be possible
}

// Credentials are the secrets of one connection.
type Credentials struct {
	Conn    string
	Secrets []Secret
	Chain   [][]byte            // our certificate and its intermediates, DER, ours first
	Key     crypto.Signer       // private key of Chain[0]
	CAs     []*x509.Certificate // authorities that the peer's certificate must lead to
}

// Keyring holds the credentials of all connections. It does not change after
// NewKeyring, so that several executors may use it at once.
type Keyring struct {
	conns map[string]Credentials
}
