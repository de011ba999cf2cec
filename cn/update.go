package cn

import (
	"errors"
	"net/netip"
	"time"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/mobility"
	"github.com/mip6/mip6/mobility/rr"
	"github.com/mip6/mip6/xfrm"
)

// received takes a Mobility Header (RFC 6275 §9.2). The kernel has verified its
// checksum, and has answered a short one or a bad payload proto itself.
func (m *Machine) received(mh host.MH) {
	if m.life != serving {
		return
	}
	var msg mobility.Message
	err := msg.Decode(mh.Data)
	switch {
	case errors.Is(err, mobility.ErrUnknownType):
		m.unknownType(mh)
		return
	case err != nil: // authorization data that is not last too (§6.2.7)
		m.count.Malformed++
		return
	}
	switch body := msg.Body.(type) {
	case mobility.HomeTestInit:
		m.homeTest(mh, body)
	case mobility.CareOfTestInit:
		m.careOfTest(mh, body)
	case mobility.BindingUpdate:
		m.bindingUpdate(mh, body, msg.Options)
	}
}

// bindingUpdate does the tests of RFC 6275 §9.5.1. What fails one of them without
// an answer is counted.
func (m *Machine) bindingUpdate(mh host.MH, bu mobility.BindingUpdate, opts mobility.Options) {
	u, ok := m.read(mh, bu, opts)
	if !ok {
		m.count.Malformed++
		return
	}
	if u.flags.Has(mobility.FlagHome) {
		m.homeRegistration(u, opts)
		return
	}
	if peer := m.peers[u.home]; peer != nil {
		u.auth = peer.Auth
	}
	switch u.auth {
	case StaticKey:
		ok = m.byKey(&u, mh.Data)
	case IPsec:
		ok = m.bySA(&u, opts)
	default:
		ok = m.byTokens(&u, mh.Data, opts)
	}
	if ok {
		m.sequenced(u)
	}
}

// read finds the addresses of an update, and what it asks for. A home address option that repeats the
// source says nothing: it came from home.
func (m *Machine) read(mh host.MH, bu mobility.BindingUpdate, opts mobility.Options) (update, bool) {
	u := update{local: mh.Dst, home: mh.Src, from: mh.CareOf, careOf: mh.Src,
		seq: bu.Seq, flags: bu.Flags, asked: bu.Lifetime}
	if u.from == u.home {
		u.from = netip.Addr{}
	}
	if u.from.IsValid() {
		u.careOf = u.from
	}
	if alt, ok := opts.AlternateCareOf(); ok {
		u.careOf = alt
	}
	// A node that follows RFC 3775 §9.5.1 may delete by registering its home address.
	u.delete = u.asked == 0 || u.careOf == u.home
	ok := m.cfg.local(u.local) && mobility.UnicastRoutable(u.home) && u.home != u.local &&
		(!u.from.IsValid() || mobility.UnicastRoutable(u.from)) &&
		// RFC 6275 §6.1.7: silently, in a deletion too.
		mobility.UnicastRoutable(u.careOf) && u.careOf != u.local
	return u, ok
}

// homeRegistration refuses what only a home agent takes. The type of a registration cannot change
// (RFC 6275 §9.5.1), and without one there is no agent here (§10.3.1). Nothing shows who sent it.
func (m *Machine) homeRegistration(u update, opts mobility.Options) {
	m.count.HomeRegistrations++
	if _, ok := opts.NonceIndices(); ok { // MUST NOT be there: silently
		return
	}
	status := mobility.StatusHomeRegUnsupported
	if e := m.table.find(u.local, u.home); e != nil && e.bound {
		status = mobility.StatusTypeChange
	}
	m.refuse(u, status, u.seq)
}

// byTokens verifies an update by the tokens of return routability. Without authorization data
// there is no answer, whatever the indices are.
func (m *Machine) byTokens(u *update, mh []byte, opts mobility.Options) bool {
	indices, ok := opts.NonceIndices()
	if !ok {
		m.count.Malformed++
		return false
	}
	if _, ok := opts.Authenticator(); !ok {
		m.count.BadAuthenticator++
		return false
	}
	home, homeOK := m.nonces.Find(m.now, indices.Home)
	careOf, careOfOK := rr.Nonce{}, true
	u.nonces, u.fresh = indices, m.given(indices.Home)
	if u.delete { // the care-of nonce index is ignored
		u.nonces.CareOf = 0
	} else {
		careOf, careOfOK = m.nonces.Find(m.now, indices.CareOf)
		if t := m.given(indices.CareOf); t.After(u.fresh) {
			u.fresh = t
		}
	}
	status := mobility.StatusAccepted
	switch {
	case !homeOK && !careOfOK:
		status = mobility.StatusExpiredNonces
	case !homeOK:
		status = mobility.StatusExpiredHomeNonce
	case !careOfOK:
		status = mobility.StatusExpiredCareOfNonce
	}
	if status != mobility.StatusAccepted {
		m.count.Nonces++
		m.refuse(*u, status, u.seq)
		return false
	}
	return m.byNonces(u, home, careOf, mh)
}

// byNonces makes the key again, of both tokens or of the home token alone (RFC 6275 §5.2.5).
func (m *Machine) byNonces(u *update, home, careOf rr.Nonce, mh []byte) bool {
	token := m.kcn.HomeToken(u.home, home)
	if u.key = rr.DeleteKey(token); !u.delete {
		u.key = rr.Key(token, m.kcn.CareOfToken(u.careOf, careOf))
	}
	return m.verify(u, mh)
}

// given is when the nonce of an index, which is good, was first given out.
func (m *Machine) given(index uint16) time.Time {
	return m.nonces.Ring[int(index)%len(m.nonces.Ring)].Since
}

// byKey verifies an update by a key that was set by hand. Nonce indices are ignored (RFC 4449
// §3), and no other way is open to such a node (§4).
func (m *Machine) byKey(u *update, mh []byte) bool {
	u.key = m.peers[u.home].Key
	return m.verify(u, mh)
}

// verify tests the authenticator; a wrong one is not answered (RFC 6275 §9.5.1).
func (m *Machine) verify(u *update, mh []byte) bool {
	if u.signed = u.key.Verify(u.registered(), u.local, mh); !u.signed {
		m.count.BadAuthenticator++
	}
	return u.signed
}

// bySA takes an update that can only have come under the pair's SAs: the policies have asked for
// them since the node was authorised. ESP protects no header before it, so the
// care-of address has to stand in the message too (as in RFC 6275 §11.7.1).
func (m *Machine) bySA(u *update, opts mobility.Options) bool {
	e := m.table.find(u.local, u.home)
	if e == nil || !e.keyed {
		m.count.Unprotected++
		return false
	}
	if _, ok := opts.AlternateCareOf(); !ok && !u.delete && e.proto == xfrm.ESP {
		m.count.Unprotected++
		return false
	}
	return true
}
