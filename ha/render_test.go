package ha

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/mobility"
	"github.com/mip6/mip6/xfrm"
)

// The cast of the scenarios.
var cast = map[string]netip.Addr{
	"ha":   netip.MustParseAddr("2001:db8:1::1"),
	"ha2":  netip.MustParseAddr("2001:db8:1::2"),
	"hoa":  netip.MustParseAddr("2001:db8:1::a1"),
	"hoa2": netip.MustParseAddr("2001:db8:1::a2"),
	"hoax": netip.MustParseAddr("2001:db8:9::a1"), // of a prefix that is not served
	"coa1": netip.MustParseAddr("2001:db8:f1::c"),
	"coa2": netip.MustParseAddr("2001:db8:f2::c"),
	"coa3": netip.MustParseAddr("2001:db8:f3::c"),
	"cn":   netip.MustParseAddr("2001:db8:c::1"),
	"ll":   netip.MustParseAddr("fe80::a1"),
	"any":  netip.IPv6Unspecified(),
	"last": lastAddr,
	"mc":   netip.MustParseAddr("ff02::1"),
	"lo":   netip.MustParseAddr("::1"),
}

var names = func() map[netip.Addr]string {
	out := map[netip.Addr]string{}
	for name, a := range cast {
		out[a] = name
	}
	return out
}()

func called(a netip.Addr) string {
	if n, ok := names[a]; ok {
		return n
	}
	if !a.IsValid() {
		return "-"
	}
	return a.String()
}

func calledPrefix(p netip.Prefix) string {
	switch {
	case p.Bits() == 128:
		return called(p.Addr())
	case p.Bits() == 0:
		return "any"
	}
	return p.String()
}

func id(i xfrm.ReqID) string { return fmt.Sprintf("%d", uint32(i)&0xff) }

func selText(s xfrm.Selector) string {
	out := calledPrefix(s.Src) + ">" + calledPrefix(s.Dst)
	switch s.Proto {
	case 0:
	case 135:
		out += " mh"
	case 58:
		out += fmt.Sprintf(" icmp %d", s.SrcPort)
	}
	return out
}

func xfrmText(op xfrm.Op) string {
	switch op := op.(type) {
	case xfrm.PutSA:
		return fmt.Sprintf("put state %s %s>%s careof %s", op.SA.Proto, called(op.SA.Src), called(op.SA.Dst), called(op.SA.CareOf))
	case xfrm.DelSA:
		return fmt.Sprintf("del state %s %s>%s", op.ID.Proto, called(op.ID.Src), called(op.ID.Dst))
	case xfrm.PutPolicy:
		p := op.Policy
		out := fmt.Sprintf("put policy %s %s", p.Dir, selText(p.Sel))
		if p.Block {
			out += " block"
		}
		for _, t := range p.Templates {
			out += fmt.Sprintf(" [%s", t.Proto)
			if t.Mode == xfrm.Tunnel {
				out += fmt.Sprintf(" tunnel %s>%s", called(t.Src), called(t.Dst))
			}
			if t.ReqID != 0 {
				out += " " + id(t.ReqID)
			}
			if t.Optional {
				out += " use"
			}
			out += "]"
		}
		return out
	case xfrm.DelPolicy:
		return fmt.Sprintf("del policy %s %s", op.ID.Dir, selText(op.ID.Sel))
	case xfrm.Migrate:
		mv := op.Migration.Moves[0]
		return fmt.Sprintf("migrate %s %s %s %s>%s to %s>%s keys %s", op.Migration.Policy.Dir, selText(op.Migration.Policy.Sel),
			mv.Mode, called(mv.OldSrc), called(mv.OldDst), called(mv.NewSrc), called(mv.NewDst),
			called(op.Migration.Endpoints.Remote))
	}
	return fmt.Sprintf("%T", op)
}

func hostText(op host.Op) string {
	switch op := op.(type) {
	case host.PutProxy:
		return "proxy " + called(op.Addr)
	case host.DelProxy:
		return "no proxy " + called(op.Addr)
	case host.PutRoute:
		return "route " + calledPrefix(op.Route.Dst)
	case host.DelRoute:
		return "no route " + calledPrefix(op.Route.Dst)
	case host.AdvertiseNeighbour:
		return fmt.Sprintf("advertise %s override=%v router=%v", called(op.Target), op.Override, op.Router)
	case host.SetSysctl:
		return "sysctl " + op.Key + "=" + op.Value
	case host.SendMH:
		return "send " + called(op.MH.Src) + ">" + called(op.MH.Dst) + " " + mhText(op.MH.Data)
	}
	return fmt.Sprintf("%T", op)
}

func mhText(b []byte) string {
	var msg mobility.Message
	if err := msg.Decode(b); err != nil {
		return err.Error()
	}
	switch body := msg.Body.(type) {
	case mobility.BindingAck:
		out := fmt.Sprintf("BA %d seq=%d life=%d", body.Status, body.Seq, body.Lifetime)
		if k := body.Flags.String(); k != "" {
			out += " " + k
		}
		if a, ok := msg.Options.RefreshAdvice(); ok {
			out += fmt.Sprintf(" advice=%d", a)
		}
		return out
	case mobility.BindingError:
		return fmt.Sprintf("BE %d home=%s", body.Status, called(body.HomeAddr))
	}
	return msg.Type().String()
}

func sels(list []Selector) string {
	var out []string
	for _, s := range list {
		x := called(s.Start)
		if s.End != s.Start {
			x += "-" + called(s.End)
		}
		if s.Proto != 0 || !s.allPorts() {
			x += fmt.Sprintf("/%d", s.Proto)
		}
		if !s.allPorts() {
			x += fmt.Sprintf(":%#x-%#x", s.StartPort, s.EndPort)
		}
		out = append(out, x)
	}
	return strings.Join(out, ",")
}

// render tells an action in a line or some.
func render(a Action) []string {
	var out []string
	switch a := a.(type) {
	case Xfrm:
		for _, op := range a.Ops {
			out = append(out, "xfrm: "+xfrmText(op))
		}
	case Host:
		for _, op := range a.Ops {
			out = append(out, "host: "+hostText(op))
		}
	case ProbeDAD:
		out = append(out, "dad: "+called(a.Addr))
	case Authorised:
		if a.Err != nil {
			return []string{"refused: " + a.Err.Error()}
		}
		s := fmt.Sprintf("authorised: %s %s %s %s local=%s remote=%s", called(a.Home), a.Kind, a.Mode, id(a.ReqID), sels(a.Local), sels(a.Remote))
		if a.Assigned.IsValid() {
			s += fmt.Sprintf(" assigned=%s/%d", called(a.Assigned), a.PrefixLen)
		}
		out = append(out, s)
	case KeyUp:
		out = append(out, fmt.Sprintf("keys: up %s %s %s>%s %d children", called(a.Home), a.Identity, called(a.HomeAgent), called(a.CareOf), len(a.Children)))
	case KeyMoved:
		out = append(out, fmt.Sprintf("keys: %s moved to %s", called(a.Home), called(a.CareOf)))
	case KeyDown:
		out = append(out, fmt.Sprintf("keys: %s down silent=%v", called(a.Home), a.Silent))
	case Save:
		r := a.Record
		s := fmt.Sprintf("save: %s %s keys=%s tunnel=%s %s", called(r.Home), r.State, called(r.KeysAt), called(r.TunnelAt), r.Phase)
		if r.State != Unbound {
			s += fmt.Sprintf(" careof=%s seq=%d life=%d", called(r.CareOf), r.Seq, r.Lifetime)
		}
		out = append(out, s)
	case Forget:
		out = append(out, "forget: "+called(a.Home))
	case Note:
		out = append(out, "note: "+a.Msg)
	case Changed:
		s := fmt.Sprintf("changed: %s %s careof=%s", called(a.Home), a.What, called(a.CareOf))
		if a.Old.IsValid() && a.Old != a.CareOf {
			s += " old=" + called(a.Old)
		}
		if a.Status != 0 {
			s += fmt.Sprintf(" status=%d", a.Status)
		}
		out = append(out, s)
	case Stopped:
		out = append(out, "stopped")
	}
	return out
}
