package xfrm

import (
	"bytes"
	"net/netip"
)

// Diff gives the operations that turn have into want. Counters, replay state,
// dump-only fields and larval SAs are ignored on both sides: a larval SA of have
// is neither removed nor taken for the real one. The order is safe under
// traffic: SAs and policies are put before what is no longer wanted goes, states
// before the policies that ask for them, policies gone before their states.
// Objects of have that the caller does not own must not be in have.
func Diff(have, want Snapshot) []Op {
	var ops []Op
	haveSA := make(map[ID]SA, len(have.SAs))
	for _, s := range have.SAs {
		if !s.Larval {
			haveSA[s.ID().key()] = s
		}
	}
	wantSA := make(map[ID]bool, len(want.SAs))
	for _, s := range want.SAs {
		if s.Larval {
			continue
		}
		wantSA[s.ID().key()] = true
		if old, ok := haveSA[s.ID().key()]; !ok || !old.Same(s) {
			ops = append(ops, PutSA{SA: s})
		}
	}
	havePolicy := make(map[PolicyID]Policy, len(have.Policies))
	for _, p := range have.Policies {
		havePolicy[p.ID().key()] = p
	}
	wantPolicy := make(map[PolicyID]bool, len(want.Policies))
	for _, p := range want.Policies {
		wantPolicy[p.ID().key()] = true
		if old, ok := havePolicy[p.ID().key()]; !ok || !old.Same(p) {
			ops = append(ops, PutPolicy{Policy: p})
		}
	}
	for _, p := range have.Policies {
		if !wantPolicy[p.ID().key()] {
			ops = append(ops, DelPolicy{ID: p.ID()})
		}
	}
	for _, s := range have.SAs {
		if !s.Larval && !wantSA[s.ID().key()] {
			ops = append(ops, DelSA{ID: s.ID()})
		}
	}
	return ops
}

// Same tells whether two SAs are equal in all that a caller can set, apart from
// replay numbers: what a Put of b over a would not change.
func (s SA) Same(b SA) bool {
	return s.ID().key() == b.ID().key() && addr(s.Src) == addr(b.Src) &&
		s.SameKeys(b) && addr(s.CareOf) == addr(b.CareOf) && s.Life == b.Life
}

// SameKeys tells whether two SAs are equal in what never changes during an SA's
// life: mode, request id, keys, selector, replay window, encapsulation kind. The
// addresses, the care-of address and the limits may change and are not compared.
func (s SA) SameKeys(b SA) bool {
	return s.Mode == b.Mode && s.ReqID == b.ReqID && s.WildRecv == b.WildRecv && s.Mark == b.Mark &&
		s.Sel.Canonical() == b.Sel.Canonical() &&
		s.Replay.ESN == b.Replay.ESN && s.Replay.Packets() == b.Replay.Packets() &&
		s.AEAD.Name == b.AEAD.Name && s.AEAD.ICVBits == b.AEAD.ICVBits && bytes.Equal(s.AEAD.Key, b.AEAD.Key) &&
		s.Crypt.Name == b.Crypt.Name && bytes.Equal(s.Crypt.Key, b.Crypt.Key) &&
		s.Auth.same(b.Auth) && sameEncap(s.Encap, b.Encap)
}

// same compares; no truncation named means the algorithm's own.
func (a Auth) same(b Auth) bool {
	return a.Name == b.Name && bytes.Equal(a.Key, b.Key) &&
		(a.TruncBits == b.TruncBits || a.TruncBits == 0 || b.TruncBits == 0)
}

func sameEncap(a, b *Encap) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}

// Packets is the size of the window as it is used: extended sequence numbers
// need one (RFC 4303 §A2), 32 where none is named.
func (r Replay) Packets() uint32 {
	if r.ESN && r.Window == 0 {
		return 32
	}
	return r.Window
}

// Same tells whether two policies are equal in all that a caller can set.
func (p Policy) Same(b Policy) bool {
	if p.ID().key() != b.ID().key() || p.Priority != b.Priority || p.Block != b.Block ||
		p.Mark != b.Mark || len(p.Templates) != len(b.Templates) {
		return false
	}
	for i := range p.Templates {
		if p.Templates[i].canonical() != b.Templates[i].canonical() {
			return false
		}
	}
	return true
}

func (t Template) canonical() Template {
	t.Src, t.Dst = addr(t.Src), addr(t.Dst)
	return t
}

// Canonical gives the one form of selectors that mean the same: a prefix that is
// not set stands for all addresses. Dumps give canonical selectors.
func (s Selector) Canonical() Selector {
	all := netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	if s.AddressesV4 || s.Src.Addr().Is4() || s.Dst.Addr().Is4() {
		all = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	if !s.Src.IsValid() {
		s.Src = all
	}
	if !s.Dst.IsValid() {
		s.Dst = all
	}
	s.AddressesV4 = false
	return s
}

// key is the ID by which objects are compared: addresses that are not set count
// as "::".
func (id ID) key() ID {
	id.Dst, id.Src = addr(id.Dst), addr(id.Src)
	return id
}

func (id PolicyID) key() PolicyID {
	id.Sel = id.Sel.Canonical()
	return id
}

// Canonical gives the one form of IDs that name the same SA.
func (id ID) Canonical() ID { return id.key() }

// Canonical gives the one form of IDs that name the same policy.
func (id PolicyID) Canonical() PolicyID { return id.key() }

func addr(a netip.Addr) netip.Addr {
	if !a.IsValid() {
		return netip.IPv6Unspecified()
	}
	return a
}
