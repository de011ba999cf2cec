package kernel

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/mip6/mip6/xfrm"
)

// Dump streams the SAs, then the policies, as the kernel lists them; policies of
// single sockets are left out. It uses a socket of its own, so each may call the
// backend. An error of each ends the dump and is returned.
func (b *Backend) Dump(ctx context.Context, f xfrm.Filter, each func(xfrm.Object) error) error {
	s, err := b.ns.open(recvBuffer)
	if err != nil {
		return explain(err, "XFRM", "open a socket for a dump")
	}
	defer s.close()
	if f.SAs {
		err := s.dump(ctx, dumpStates(f.Proto, netip.Addr{}, netip.Addr{}), func(_ uint16, body []byte) error {
			sa, err := decodeSA(body)
			if err != nil {
				return err
			}
			if f.Proto != 0 && sa.Proto != f.Proto {
				return nil
			}
			if !sa.Larval {
				b.index.put(sa, false) // what an earlier process put is known from now on
			}
			return each(sa)
		})
		if err != nil {
			return explain(err, "", "dump the SAs")
		}
	}
	if !f.Policies {
		return nil
	}
	err = s.dump(ctx, newMessage(msgGetPolicy, 0, sizePolicyID), func(_ uint16, body []byte) error {
		p, err := decodePolicy(body)
		if err != nil {
			return err
		}
		if ofSocket(p) || f.Type != nil && p.Type != *f.Type {
			return nil
		}
		if p.Mark != 0 {
			b.index.policyMark(p.ID(), p.Mark)
		}
		return each(p)
	})
	return explain(err, "", "dump the policies")
}

// Get gives one SA, with its keys and what it counted. Of an inbound state of mode RouteOpt the kernel counts
// the packets but not when the last one came: that is known of the policy of its two
// addresses, which every packet meets.
func (b *Backend) Get(ctx context.Context, id xfrm.ID) (xfrm.SA, error) {
	k, _ := b.index.get(id)
	var sa xfrm.SA
	var err error
	werr := b.with(ctx, func(s *socket) {
		if sa, err = b.getSA(s, id, k.mark); err == nil && sa.Mode == xfrm.RouteOpt && sa.Stats.Packets > 0 && sa.Stats.LastUsed.IsZero() {
			sa.Stats.LastUsed = b.lastUse(s, sa)
		}
	})
	if werr != nil {
		return xfrm.SA{}, werr
	}
	return sa, err
}

func (b *Backend) getSA(s *socket, id xfrm.ID, mark uint32) (xfrm.SA, error) {
	a := s.exchange([]message{saIDMessage(msgGetSA, id, mark)})[0]
	if a.err != nil {
		return xfrm.SA{}, explain(a.err, featureOf(xfrm.SA{Dst: id.Dst, Proto: id.Proto}, a.err), "get SA "+describeSA(id))
	}
	sa, err := decodeSA(a.msg)
	if err == nil && sa.Larval {
		err = fmt.Errorf("get SA %s: it is larval: %w", describeSA(id), xfrm.ErrNotFound)
	}
	return sa, err
}

// lastUse is when a packet last met the inbound policy from an inbound state's source to its
// destination; zero where there is no such policy.
func (b *Backend) lastUse(s *socket, sa xfrm.SA) time.Time {
	only := func(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }
	id := xfrm.PolicyID{Sel: xfrm.Selector{Src: only(sa.Src), Dst: only(sa.Dst)}, Dir: xfrm.In}
	a := s.exchange([]message{policyIDMessage(msgGetPolicy, id, b.index.markOf(id))})[0]
	p, err := decodePolicy(a.msg)
	if a.err != nil || err != nil {
		return time.Time{}
	}
	return p.Stats.LastUsed
}

// dumpStates makes the request for a dump of SAs, narrowed by the kernel where a
// protocol or addresses are set.
func dumpStates(proto xfrm.Proto, src, dst netip.Addr) message {
	m := newMessage(msgGetSA, 0, 0)
	if src.IsValid() && dst.IsValid() {
		v := m.attr(attrFilter, 36)
		putAddr(v[0:16], src)
		putAddr(v[16:32], dst)
		host.PutUint16(v[32:], familyOf(dst))
		v[34], v[35] = uint8(src.BitLen()), uint8(dst.BitLen())
	}
	if proto != 0 {
		m.attr(attrProto, 1)[0] = uint8(proto)
	}
	return m
}

// AllocSPI reserves an SPI for an inbound SA: any free one, or want.SPI if that is
// set. The reservation lasts net.core.xfrm_acq_expires seconds (30 unless set
// otherwise); a PutSA that comes later still succeeds.
func (b *Backend) AllocSPI(ctx context.Context, want xfrm.SA) (xfrm.SPI, error) {
	var a answer
	if err := b.with(ctx, func(s *socket) { a = s.exchange([]message{allocMessage(want)})[0] }); err != nil {
		return 0, err
	}
	if a.err != nil {
		return 0, explain(a.err, featureOf(want, a.err), "reserve an SPI at "+want.Dst.String())
	}
	got, err := decodeSA(a.msg)
	if err != nil {
		return 0, err
	}
	want.SPI = got.SPI
	b.index.put(want, true)
	return got.SPI, nil
}

// allocMessage makes an ALLOCSPI: a struct xfrm_userspi_info. SPIs below 256 are
// reserved (RFC 4303 §2.1).
func allocMessage(want xfrm.SA) message {
	m := newMessage(msgAllocSPI, 0, sizeSPIInfo)
	v := m.fixed()
	spi := want.SPI
	want.SPI = 0
	want.Sel = xfrm.Selector{}
	putSAInfo(v[:sizeSAInfo], want)
	low, high := uint32(0x100), ^uint32(0)
	if spi != 0 {
		low, high = uint32(spi), uint32(spi)
	}
	host.PutUint32(v[sizeSAInfo:], low)
	host.PutUint32(v[sizeSAInfo+4:], high)
	m.markAttr(want.Mark)
	return m
}
