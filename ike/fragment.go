package ike

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/mip6/mip6/ike/message"
)

// Bounds of what a peer may make us keep of a message in parts (RFC 7383 §5).
const (
	maxFragments       = 128
	maxAssembled       = 1 << 16 // octets of a message's payloads
	maxAssembledEarly  = 1 << 14 // before the peer is authenticated
	fragmentTimeout    = 30 * time.Second
	minFragmentSize    = 256  // octets of an IP datagram
	fragmentSizeIPv6   = 1280 // §2.5.1
	fragmentSizeIPv4   = 576
	udpHeaderAndMarker = 8 + 4 // the non-ESP marker of port 4500 counted always
)

// room is how long an IKE message may be so that its IP datagram keeps to the limit.
func (s *sa) room() int {
	size, header := int(s.fragmentSize), 40
	if s.remote.Addr().Unmap().Is4() {
		size, header = or(size, fragmentSizeIPv4), 20
	}
	return or(size, fragmentSizeIPv6) - header - udpHeaderAndMarker
}

// fragmentNotify says that we take fragments and may send some (§2.3).
func (m *Machine) fragmentNotify() []message.Body {
	if m.cfg.FragmentSize < 0 {
		return nil
	}
	return []message.Body{message.Notify{Type: message.FragmentationSupported}.Body()}
}

// agreeFragments notes whether the peer takes fragments, and we do.
func (m *Machine) agreeFragments(s *sa, p *message.Payloads) {
	s.fragments = m.cfg.FragmentSize >= 0 && p.Notify(message.FragmentationSupported) != nil
	s.fragmentSize = uint16(max(m.cfg.FragmentSize, 0))
}

// split seals the payloads of a message as fragments, one after the other in one
// slice, where each has its length in its header. It returns nil if the message
// is short enough as it is, or too long for any number of fragments.
func (s *sa) split(h message.Header, first message.PayloadType, inner []byte) []byte {
	room := s.room()
	if !s.fragments || message.HeaderLen+4+s.outP.SealedLen(len(inner)) <= room {
		return nil
	}
	room -= message.HeaderLen + message.FragmentHeaderLen
	part := room
	for part > 0 && s.outP.SealedLen(part) > room {
		part--
	}
	if part <= 0 || (len(inner)+part-1)/part > maxFragments {
		return nil
	}
	total := uint16((len(inner) + part - 1) / part)
	h.Next = message.TypeSKF
	var out []byte
	for number := uint16(1); number <= total; number++ {
		piece := inner[:min(part, len(inner))]
		inner = inner[len(piece):]
		n := s.outP.SealedLen(len(piece))
		msg := h.Append(make([]byte, 0, message.HeaderLen+message.FragmentHeaderLen+n), message.HeaderLen+message.FragmentHeaderLen+n)
		msg = message.AppendSKFHeader(msg, first, number, total, n)
		first = message.NoNext
		s.ivOut++
		out = append(out, s.outP.Seal(msg, piece, s.ivOut)...)
	}
	return out
}

// next cuts the first message off a slice of one or more (see split).
func next(data []byte) (msg, rest []byte) {
	n := int(binary.BigEndian.Uint32(data[24:]))
	return data[:n:n], data[n:]
}

// assembly is what is there of a message that comes in fragments. There is one
// at most of each direction, of the message that is expected.
type assembly struct {
	id       uint32
	exchange message.ExchangeType
	total    uint16
	size     int
	parts    []part   // by number
	head     []byte   // of the SK message that it stands for, up to the body
	hash     [32]byte // of fragment 1, by which a repetition is known
	until    time.Time
}

type part struct {
	number uint16
	plain  []byte
}

// assemblyOf is where the fragments of a message are kept; nil: it is not a
// message that is expected now.
func (m *Machine) assemblyOf(s *sa, h message.Header) **assembly {
	if h.Response() {
		if r := s.req; r != nil && r.data != nil && !r.answered && h.ID == r.id && h.Exchange == r.exchange {
			return &r.parts
		}
		return nil
	}
	if h.ID == s.recvID && s.inb == nil && s.state != stateAuth {
		return &s.parts
	}
	return nil
}

// fragment takes one fragment in (§2.6). Nothing is kept of it before its own
// check value is verified, and nothing is looked at inside before all are there.
func (m *Machine) fragment(s *sa, e Datagram, h message.Header, f *message.Fragment, hash [32]byte) {
	if !s.fragments {
		m.stats.DropUnexpected++
		return
	}
	m.stats.Fragments++
	if !h.Response() && m.repeated(s, e, h, f) {
		return
	}
	at := m.assemblyOf(s, h)
	if at == nil || f.Total > maxFragments {
		m.stats.DropFragments++
		return
	}
	a := *at
	if a != nil && (a.id != h.ID || !m.now.Before(a.until)) {
		*at, a = nil, nil
	}
	if a != nil && (a.exchange != h.Exchange || f.Total < a.total || f.Total == a.total && a.has(f.Number)) {
		m.stats.DropFragments++
		return
	}
	plain, err := s.in.Open(e.Data, f.Offset)
	if err != nil {
		m.stats.DropIntegrity++
		return
	}
	if a == nil || f.Total > a.total { // the sender has cut it smaller: begin anew
		a = &assembly{id: h.ID, exchange: h.Exchange, total: f.Total}
		*at = a
	}
	a.until = m.now.Add(fragmentTimeout)
	a.add(h, f, plain, hash)
	defer m.schedule(s)
	if limit := s.maxAssembled(); a.size > limit {
		*at = nil
		m.stats.DropFragments++
		m.overfull(s)
		return
	}
	if len(a.parts) < int(a.total) {
		return
	}
	*at = nil
	m.stats.Reassembled++
	m.opened(s, e, h, a.hash, a.head, a.whole())
}

// repeated handles a fragment of a request that is answered, or being worked on:
// only the first asks for the answer again (§2.6.1). It may be cut in another
// way than before, so that its check value stands for its octets.
func (m *Machine) repeated(s *sa, e Datagram, h message.Header, f *message.Fragment) bool {
	if s.inb != nil && h.ID == s.inb.id {
		m.stats.Duplicates++
		return true
	}
	if h.ID != s.recvID-1 {
		return false
	}
	m.stats.Duplicates++
	if f.Number != 1 || s.lastResp == nil || s.inb != nil {
		return true
	}
	if _, err := s.in.Open(e.Data, f.Offset); err == nil {
		m.transmit(s, e.Local, e.Remote, s.lastResp)
	}
	return true
}

// maxAssembled bounds the payloads of a message that comes in fragments.
func (s *sa) maxAssembled() int {
	if s.first != nil {
		return maxAssembledEarly
	}
	return maxAssembled
}

// overfull ends an IKE SA whose peer sends more than any message holds (§5).
func (m *Machine) overfull(s *sa) {
	const why = "a message in fragments is too long"
	m.stats.BadRequests++
	if s.first != nil {
		m.refuse(s, false, 0, why)
	} else if s.state == stateUp {
		m.finishWith(s, ReasonSyntax)
	}
}

func (a *assembly) has(number uint16) bool {
	return slices.ContainsFunc(a.parts, func(p part) bool { return p.number == number })
}

// add puts a fragment in its place.
func (a *assembly) add(h message.Header, f *message.Fragment, plain []byte, hash [32]byte) {
	if f.Number == 1 {
		h.Next = message.TypeSK
		a.head = append(h.Append(nil, 0), byte(f.Inner), f.Reserved, 0, 0)
		a.hash = hash
	}
	a.size += len(plain)
	i := len(a.parts)
	for i > 0 && a.parts[i-1].number > f.Number {
		i--
	}
	a.parts = slices.Insert(a.parts, i, part{f.Number, plain})
}

// whole puts the payloads together.
func (a *assembly) whole() []byte {
	out := make([]byte, 0, a.size)
	for _, p := range a.parts {
		out = append(out, p.plain...)
	}
	return out
}

// stale is when the fragments of an unfinished message are thrown away.
func (s *sa) stale() time.Time {
	var at time.Time
	if s.parts != nil {
		at = s.parts.until
	}
	if s.req != nil && s.req.parts != nil {
		at = earliest(at, s.req.parts.until)
	}
	return at
}

// dropStale throws them away.
func (m *Machine) dropStale(s *sa) {
	if s.parts != nil && m.due(s.parts.until) {
		s.parts = nil
	}
	if s.req != nil && s.req.parts != nil && m.due(s.req.parts.until) {
		s.req.parts = nil
	}
}
