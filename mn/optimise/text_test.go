package optimise

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/mobility"
)

var (
	epoch = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	hoa   = netip.MustParseAddr("2001:db8:1::10")
	ha    = netip.MustParseAddr("2001:db8:1::1")
	coa1  = netip.MustParseAddr("2001:db8:2::10")
	coa2  = netip.MustParseAddr("2001:db8:3::10")
	cn1   = netip.MustParseAddr("2001:db8:c::1")
	cn2   = netip.MustParseAddr("2001:db8:c::2")
)

// addrs are the scenarios' names of addresses.
var addrs = map[string]netip.Addr{"HOA": hoa, "HA": ha, "COA1": coa1, "COA2": coa2, "CN1": cn1, "CN2": cn2,
	"CN3": netip.MustParseAddr("2001:db8:c::3"), "COA3": netip.MustParseAddr("2001:db8:4::10")}

func name(a netip.Addr) string {
	for n, o := range addrs {
		if o == a {
			return n
		}
	}
	return a.String()
}

func stamp(t time.Time) string { return fmt.Sprintf("%9.3f", t.Sub(epoch).Seconds()) }

func mhText(mh host.MH) string {
	s := name(mh.Src) + "→" + name(mh.Dst)
	if mh.CareOf.IsValid() {
		s += " from " + name(mh.CareOf)
	}
	var m mobility.Message
	if err := m.Decode(mh.Data); err != nil {
		return s + " " + err.Error()
	}
	s += " " + m.Type().String()
	if b, ok := m.Body.(mobility.BindingUpdate); ok {
		s += fmt.Sprintf(" seq=%d flags=%v lifetime=%v", b.Seq, b.Flags, b.Lifetime.Duration())
	}
	for _, o := range m.Options {
		switch o := o.(type) {
		case mobility.NonceIndices:
			s += " nonces"
			if o.CareOf == 0 {
				s += "(care-of 0)"
			}
		case mobility.Authorization:
			s += " auth"
		case mobility.AlternateCareOf:
			s += " altcoa=" + name(o.Addr)
		}
	}
	return s
}

func routeText(r Route) string {
	s := "route " + name(r.Remote)
	if r == (Route{ID: r.ID, Remote: r.Remote}) {
		return s + " none"
	}
	if r.CareOf.IsValid() {
		s += " care-of " + name(r.CareOf)
	}
	for _, f := range []struct {
		on   bool
		name string
	}{{r.Accept, "accept"}, {r.Ack, "ack"}, {r.Direct, "direct"}} {
		if f.on {
			s += " " + f.name
		}
	}
	if r.Protect != 0 {
		s += fmt.Sprintf(" %v reqid %d", r.Protect, r.ReqID)
	}
	return s
}

// actionText writes an action on one or more lines.
func actionText(a Action) string {
	var b strings.Builder
	switch x := a.(type) {
	case Host:
		for _, op := range x.Ops {
			fmt.Fprintf(&b, "send %s\n", mhText(op.(host.SendMH).MH))
		}
	case Route:
		b.WriteString(routeText(x))
	case Count:
		fmt.Fprintf(&b, "count %s %v", name(x.Remote), x.On)
	case AskUse:
		fmt.Fprintf(&b, "ask use %s", name(x.Remote))
	case KeyUp:
		fmt.Fprintf(&b, "keys up %s from %s conn %s %v reqid %d", name(x.Remote), name(x.CareOf), x.Conn, x.Proto, x.ReqID)
	case KeyMoved:
		fmt.Fprintf(&b, "keys moved %s to %s", name(x.Remote), name(x.CareOf))
	case KeyDown:
		fmt.Fprintf(&b, "keys down %s", name(x.Remote))
	case Save:
		r := x.Record
		fmt.Fprintf(&b, "save %s care-of %s seq %d until %s", name(r.Remote), name(r.CareOf), r.Seq, strings.TrimSpace(stamp(r.Expires)))
	case Forget:
		fmt.Fprintf(&b, "forget %s", name(x.Remote))
	case Note:
		fmt.Fprintf(&b, "note %v %s", x.Level, x.Msg)
	case Changed:
		fmt.Fprintf(&b, "= %s %s %v", name(x.Info.Remote), x.What, x.Info.State)
		if x.Info.Why != "" {
			fmt.Fprintf(&b, " (%s)", x.Info.Why)
		}
	case Stopped:
		b.WriteString("stopped")
	}
	return b.String()
}

func parse(s string) netip.Addr { return netip.MustParseAddr(s) }
