package sim

import (
	"fmt"
	"net/netip"

	"github.com/mip6/mip6/internal/couple"
	"github.com/mip6/mip6/internal/host"
)

const (
	protoMH = 135
	typeBU  = 5
	typeBA  = 6
)

func mhFlow(mh host.MH) flow {
	f := flow{src: mh.Src, dst: mh.Dst, proto: protoMH}
	if len(mh.Data) > 2 {
		f.typ = uint16(mh.Data[2])
	}
	return f
}

// sendMH sends a Mobility Header: with the headers that it names itself, or as the databases have it.
func (h *Host) sendMH(mh host.MH) error {
	f := mhFlow(mh)
	p := plain(f)
	seen := f
	switch {
	case mh.CareOf.IsValid() && mh.RouteHeader:
		p.wireDst, p.rh2, seen.dst = mh.CareOf, true, mh.CareOf
	case mh.CareOf.IsValid():
		p.wireSrc, p.hao, seen.src = mh.CareOf, true, mh.CareOf
	}
	if !h.local(seen.src) {
		h.w.Count.Undeliverable++
		return fmt.Errorf("sim: no address %v", seen.src)
	}
	p, v := h.emit(p, seen)
	if v != nil {
		if v.miss != nil {
			v.miss()
		}
		return h.outRefused(v.why)
	}
	if p.inTheClear() && f.typ != 0 && (f.typ == typeBU || f.typ == typeBA) && (mh.Src == Agent || mh.Dst == Agent) {
		h.w.Count.PlainMH++
	}
	h.travel(MobilityHeader, p, h.Name+mhName(mh), func(at *Host, p packet, v *verdict) {
		switch {
		case at == nil:
		case v == nil:
			at.post(kernelLag, couple.FromHost{Event: host.MHReceived{MH: p.received(mh)}})
		case v.report != nil:
			h.w.Count.HomeAddressReport++
			at.post(kernelLag, couple.FromXfrm{Event: *v.report})
		default:
			at.inRefused(v.why)
		}
	})
	return nil
}

// received is a Mobility Header as its receiver has it.
func (p packet) received(mh host.MH) host.MH {
	in := host.MH{Src: mh.Src, Dst: mh.Dst, RouteHeader: p.rh2, Data: mh.Data}
	if p.hao {
		in.CareOf = p.wireSrc
	}
	return in
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
	names := map[uint16]string{0: " BRR", 1: " HoTI", 2: " CoTI", 3: " HoT", 4: " CoT", 5: " BU", 6: " BA", 7: " BE"}
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
