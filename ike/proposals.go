package ike

import (
	"fmt"
	"strings"

	"github.com/mip6/mip6/ike/message"
	"github.com/mip6/mip6/ike/transform"
)

// defaultCiphers are those with integrity of their own, and those without.
func defaultCiphers() (combined, plain []transform.Encr) {
	return []transform.Encr{transform.AES128GCM16, transform.AES256GCM16}, []transform.Encr{transform.AES128CBC, transform.AES256CBC}
}

// defaultIKE ends with what RFC 8247 demands of every implementation.
func defaultIKE() []transform.Offer {
	gcm, cbc := defaultCiphers()
	return []transform.Offer{{
		Encr: gcm,
		PRF:  []transform.PRF{transform.PRFHMACSHA256, transform.PRFHMACSHA384, transform.PRFHMACSHA512},
		KE:   []transform.KE{transform.X25519, transform.P256},
	}, {
		Encr: cbc, Integ: []transform.Integ{transform.IntegHMACSHA256}, PRF: []transform.PRF{transform.PRFHMACSHA256},
		KE: []transform.KE{transform.X25519, transform.P256, transform.MODP2048},
	}}
}

// defaultESP ends with what RFC 8221 demands of every implementation.
func defaultESP() []transform.Offer {
	gcm, cbc := defaultCiphers()
	return []transform.Offer{{Encr: gcm}, {Encr: cbc, Integ: []transform.Integ{transform.IntegHMACSHA256}}}
}

// checkProposals says what is wrong with the proposals of a connection.
func (c Conn) checkProposals() error {
	for _, x := range []struct {
		proto  message.Protocol
		offers []transform.Offer
	}{{message.ProtoIKE, c.IKE}, {message.ProtoESP, c.ESP}, {message.ProtoAH, c.AH}} {
		for _, o := range x.offers {
			if err := o.Check(x.proto); err != nil {
				return err
			}
			if old := o.Legacy(); len(old) > 0 && !c.Legacy {
				return fmt.Errorf("%s: for legacy peers only", strings.Join(old, ", "))
			}
		}
	}
	return nil
}

// guessKE is the method for the KE payload of a CREATE_CHILD_SA exchange: the one
// that made the IKE SA, for the peer has it, where a proposal allows it; else the
// first of any, for the peer may choose that proposal (RFC 7296 §1.3.1).
func guessKE(offers []transform.Offer, last transform.KE) transform.KE {
	first := transform.KENone
	for _, o := range offers {
		for _, k := range o.KE {
			switch {
			case k == last:
				return k
			case first == transform.KENone:
				first = k
			}
		}
	}
	return first
}

// chooseIKE picks a proposal for a peer of which nothing but its address is known:
// that of the first connection that fits. Those of the past come last, so that
// a peer of another connection is not led to what that one refuses.
func chooseIKE(conns []*Conn, ps []message.Proposal, group transform.KE) (c transform.Chosen, err error) {
	err = transform.ErrNoProposal
	for _, legacy := range []bool{false, true} {
		for _, k := range conns {
			if k.Legacy != legacy {
				continue
			}
			if c, err = transform.Choose(k.IKE, ps, message.ProtoIKE, group); err == nil {
				return c, nil
			}
		}
	}
	return c, err
}
