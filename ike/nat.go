package ike

import (
	"crypto/sha1"
	"crypto/subtle"
	"encoding/binary"
	"net/netip"

	"github.com/mip6/mip6/ike/message"
)

// NAT says what a connection does about network address translation on the way.
type NAT uint8

// What it may do. As responder the peer's identity is not known yet when it has to be
// said: the connections that fit the addresses are for it if one of them is, and off if
// all are.
const (
	NATAuto  NAT = iota // UDP encapsulation where a NAT is found (RFC 7296 §2.23)
	NATForce            // always: the peer is made to believe in a NAT before us, for firewalls that pass no ESP
	NATOff              // nothing is said of NATs, and what the peer says is not heard
)

// natState is what IKE_SA_INIT found out of NATs between the two ends.
type natState struct {
	told   bool // we have sent NAT_DETECTION_*
	heard  bool // the peer has
	forced bool // our source hash was made not to fit
	local  bool // we are behind a NAT
	remote bool // the peer is, or says so
}

// found says whether a NAT is on the way.
func (n natState) found() bool { return n.local || n.remote }

// traverse says whether IKE goes to port 4500, and ESP into UDP.
func (n natState) traverse() bool { return n.told && n.heard && (n.found() || n.forced) }

// natHash is the data of NAT_DETECTION_*_IP: SHA-1 of SPIs, address, port (§2.23).
func natHash(spiI, spiR uint64, a netip.AddrPort) []byte {
	var b []byte
	b = binary.BigEndian.AppendUint64(b, spiI)
	b = binary.BigEndian.AppendUint64(b, spiR)
	b = append(b, a.Addr().Unmap().AsSlice()...)
	b = binary.BigEndian.AppendUint16(b, a.Port())
	h := sha1.Sum(b)
	return h[:]
}

// nowhere is what a forced source hash is of: no message can come from there.
var nowhere = netip.AddrPortFrom(netip.IPv4Unspecified(), 0)

// natPayloads are our NAT_DETECTION_* for a message of IKE_SA_INIT.
func (n natState) natPayloads(spiI, spiR uint64, local, remote netip.AddrPort) []message.Body {
	if !n.told {
		return nil
	}
	if n.forced {
		local = nowhere
	}
	return []message.Body{
		message.Notify{Type: message.NATDetectionSource, Data: natHash(spiI, spiR, local)}.Body(),
		message.Notify{Type: message.NATDetectionDestination, Data: natHash(spiI, spiR, remote)}.Body(),
	}
}

// tell sets what we say of NATs.
func (n *natState) tell(p NAT) { n.told, n.forced = p != NATOff, p == NATForce }

// policyOf is what the connections that a first message may be for want together.
func policyOf(conns []*Conn) NAT {
	out := NATOff
	for _, c := range conns {
		switch c.NAT {
		case NATForce:
			return NATForce
		case NATAuto:
			out = NATAuto
		}
	}
	return out
}

// hear compares the peer's hashes with what we see: one of its source addresses
// must be the one that the message came from, the destination must be ours. A
// connection that says nothing of NATs takes no notice.
func (n *natState) hear(p *message.Payloads, h message.Header, local, remote netip.AddrPort) {
	n.heard, n.local, n.remote = false, false, false
	if !n.told {
		return
	}
	sources, destinations, match := 0, 0, false
	want, own := natHash(h.SPIi, h.SPIr, remote), natHash(h.SPIi, h.SPIr, local)
	for _, x := range p.Notifies {
		switch x.Type {
		case message.NATDetectionSource:
			sources++
			match = match || subtle.ConstantTimeCompare(x.Data, want) == 1
		case message.NATDetectionDestination:
			destinations++
			n.local = n.local || subtle.ConstantTimeCompare(x.Data, own) != 1
		}
	}
	n.heard = sources > 0 && destinations > 0
	n.remote = sources > 0 && !match
}

// float changes an IKE SA to port 4500 at both ends, from IKE_AUTH on (§2.23).
func (m *Machine) float(s *sa) {
	if s.nat.traverse() {
		s.local = netip.AddrPortFrom(s.local.Addr(), m.cfg.NATPort)
		s.remote = netip.AddrPortFrom(s.remote.Addr(), m.cfg.NATPort)
	}
}

// floated says whether an IKE SA speaks from the port that may have UDP-encapsulated
// ESP: it must not be on the other one (§2.23).
func (m *Machine) floated(s *sa) bool { return s.local.Port() == m.cfg.NATPort }

// encapsulates says whether a child's ESP goes into UDP. Mobile IPv6's does not: its
// home addresses are not IKE's, its tunnels follow the care-of address (RFC 4877 §4.4),
// and its packets with a type 2 routing header or a home address option have no place in UDP.
func (m *Machine) encapsulates(s *sa, proto uint8, proxy bool) bool {
	return s.nat.traverse() && m.floated(s) && proto == ESP && !proxy && !s.mobile()
}

// mobile says whether the ends of an IKE SA are Mobile IPv6's to move.
func (s *sa) mobile() bool { return s.conn == nil || s.conn.Mobile }

// noAH is why AH is refused: a NAT changes what it protects (RFC 3948 §1).
const noAH = "AH does not pass a NAT"

// passes says whether a child of this protocol can work with the NATs that were found.
func (s *sa) passes(proto uint8) bool { return proto != AH || s.mobile() || !s.nat.found() }
