package sim

import (
	"fmt"
	"net/netip"

	"github.com/mip6/mip6/internal/couple"
	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/xfrm"
)

const protoMH = 135

// wire is a Mobility Header as it is on the way: outer addresses, and what protects it.
type wire struct {
	src, dst netip.Addr // of the IPv6 header
	mh       host.MH
	spi      xfrm.SPI // 0: no ESP
	hao, rh2 bool
}

func mhFlow(mh host.MH) flow {
	f := flow{src: mh.Src, dst: mh.Dst, proto: protoMH}
	if len(mh.Data) > 2 {
		f.typ = uint16(mh.Data[2])
	}
	return f
}

// sendMH sends a Mobility Header as the databases have it.
func (h *Host) sendMH(mh host.MH) error {
	db := h.db()
	f := mhFlow(mh)
	m := wire{src: mh.Src, dst: mh.Dst, mh: mh}
	if p := policy(db, xfrm.Out, f); p != nil {
		if p.Block {
			return h.outRefused("policy blocks")
		}
		bundle, missing := resolve(db, p, f)
		if missing >= 0 {
			if seq := h.FW.Miss(p.ID(), missing, f.selector()); seq != 0 {
				h.w.After(larvalTime, func() { h.forgetMiss(seq) })
			}
			return h.outRefused(fmt.Sprintf("no state for %v", p.Templates[missing].Proto))
		}
		for _, s := range bundle {
			switch s.Proto {
			case xfrm.ESP:
				m.spi = s.SPI
			case xfrm.HAO:
				m.src, m.hao = s.CareOf, true
			case xfrm.Route2:
				m.dst, m.rh2 = s.CareOf, true
			}
		}
	}
	if m.spi == 0 {
		h.w.Count.PlainMH++
	}
	if h.egress(m.src, m.dst) == nil {
		h.w.Count.Undeliverable++
		h.w.logf("%s: no way from %v to %v", h.Name, m.src, m.dst)
		return fmt.Errorf("sim: no route")
	}
	h.w.transit(Packet{Kind: MobilityHeader, From: h, Src: m.src, Dst: m.dst, What: h.Name + mhName(mh)}, func() {
		if to := h.w.owner(m.dst); to != nil {
			to.receiveMH(m)
			return
		}
		h.w.Count.Undeliverable++
	})
	return nil
}

// forgetMiss ends the larval SA of an acquire that nobody answered.
func (h *Host) forgetMiss(seq uint32) {
	for _, s := range h.db().SAs {
		if s.Larval && s.Acquire == seq {
			h.FW.Age(s.ID(), true)
			return
		}
	}
}

func mhName(mh host.MH) string {
	names := map[uint16]string{0: " BRR", 5: " BU", 6: " BA", 7: " BE"}
	f := mhFlow(mh)
	if s, ok := names[f.typ]; ok && len(mh.Data) > 11 {
		return fmt.Sprintf("%s %x", s, mh.Data[6:])
	}
	return fmt.Sprint(" type ", f.typ)
}

func (h *Host) outRefused(why string) error {
	h.w.Count.OutRefused++
	h.w.Count.RefusedWhy[h.role()+" out: "+why]++
	h.w.logf("%s: MH not sent: %s", h.Name, why)
	return fmt.Errorf("sim: %s", why)
}

func (h *Host) inRefused(why string) {
	h.w.Count.InRefused++
	h.w.Count.RefusedWhy[h.role()+" in: "+why]++
	h.w.logf("%s: MH refused: %s", h.Name, why)
}

// receiveMH takes one in: header by header, then the policy.
func (h *Host) receiveMH(m wire) {
	db := h.db()
	f := mhFlow(m.mh)
	var path []xfrm.SA
	in := m.mh
	if m.rh2 {
		s := header(db, xfrm.Route2, m.src, m.mh.Dst, m.dst)
		if s == nil || !h.local(m.mh.Dst) {
			h.inRefused("routing header to " + m.mh.Dst.String() + " at another care-of address")
			return
		}
		in.RouteHeader = true
		path = append(path, *s)
	}
	if m.hao {
		s := header(db, xfrm.HAO, m.mh.Src, m.dst, m.src)
		if s == nil {
			h.w.Count.HomeAddressReport++
			h.post(kernelLag, couple.FromXfrm{Event: xfrm.Report{Proto: xfrm.HAO, CareOf: m.src,
				Sel: xfrm.Selector{Src: netip.PrefixFrom(m.mh.Src, 128), Dst: netip.PrefixFrom(m.dst, 128), Proto: protoMH}}})
			return
		}
		in.CareOf = m.src
		path = append(path, *s)
	}
	if m.spi != 0 {
		s := state(db, m.mh.Dst, m.spi)
		if s == nil {
			h.inRefused("no SA")
			return
		}
		path = append(path, *s)
	}
	if err := admit(db, xfrm.In, f, path); err != nil {
		h.inRefused(err.Error())
		return
	}
	h.post(kernelLag, couple.FromHost{Event: host.MHReceived{MH: in}})
}

// local tells whether the address is one of the host's, on whatever interface.
func (h *Host) local(a netip.Addr) bool {
	for _, i := range h.ifaces {
		for _, x := range i.addrs {
			if x.Prefix.Addr() == a && x.Usable() {
				return true
			}
		}
	}
	return false
}
