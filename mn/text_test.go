package mn

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/mobility"
	"github.com/mip6/mip6/mobility/protect"
	"github.com/mip6/mip6/xfrm"
)

// names are the names of the scenarios' addresses.
var names = strings.NewReplacer(
	"2001:db8:1::10", "HOA", "2001:db8:2::10", "COA1", "2001:db8:3::10", "COA2", "2001:db8:2::50", "COA3",
	"2001:db8:1::/64", "HOMENET", "2001:db8:1::1", "HA", "2001:db8:2::/64", "NET1", "2001:db8:3::/64", "NET2",
	"fe80::1:1", "RH", "fe80::2:1", "R1", "fe80::3:1", "R2")

var values = strings.NewReplacer("HOA", "2001:db8:1::10", "COA1", "2001:db8:2::10", "COA2", "2001:db8:3::10", "COA3", "2001:db8:2::50",
	"HOMENET", "2001:db8:1::/64", "HA", "2001:db8:1::1", "NET1", "2001:db8:2::/64", "NET2", "2001:db8:3::/64",
	"RH", "fe80::1:1", "R1", "fe80::2:1", "R2", "fe80::3:1")

func routeText(r host.Route) string {
	s := r.Dst.String()
	if r.Dst.Bits() == 0 {
		s = "default"
	}
	if r.Via.IsValid() {
		s += " via " + r.Via.String()
	}
	return fmt.Sprintf("%s dev %d table %#x", s, r.IfIndex, r.Table)
}

func ruleText(r host.Rule) string {
	return fmt.Sprintf("from %v table %#x prio %d", r.Src.Addr(), r.Table, r.Priority)
}

func device(i int) string {
	if i == 0 {
		return "lo"
	}
	return fmt.Sprint(i)
}

func hostText(op host.Op) string {
	switch o := op.(type) {
	case host.PutAddr:
		s := fmt.Sprintf("addr add %v dev %s", o.Prefix, device(o.IfIndex))
		if o.Home {
			s += " home"
		}
		if o.NoDAD {
			s += " nodad"
		}
		return s
	case host.DelAddr:
		return fmt.Sprintf("addr del %v dev %s", o.Prefix, device(o.IfIndex))
	case host.PutRoute:
		return "route replace " + routeText(o.Route)
	case host.DelRoute:
		return "route del " + routeText(o.Route)
	case host.PutRule:
		return "rule add " + ruleText(o.Rule)
	case host.DelRule:
		return "rule del " + ruleText(o.Rule)
	case host.SolicitRouter:
		return fmt.Sprintf("send RS dev %d", o.IfIndex)
	case host.AdvertiseNeighbour:
		return fmt.Sprintf("send NA dev %d target %v override=%v", o.IfIndex, o.Target, o.Override)
	case host.SendMH:
		return "send " + mhText(o.MH)
	case host.DropUnresolved:
		return fmt.Sprintf("neigh drop unresolved dev %d keep=%v", o.IfIndex, o.Keep)
	case host.PutNeighbour:
		return fmt.Sprintf("neigh replace %v dev %d lladdr %x reachable", o.Addr, o.IfIndex, o.HardAddr)
	case host.SetSysctl:
		return fmt.Sprintf("sysctl %s=%s", o.Key, o.Value)
	}
	return fmt.Sprintf("%T", op)
}

func mhText(mh host.MH) string {
	var m mobility.Message
	s := fmt.Sprintf("%v→%v ", mh.Src, mh.Dst)
	if err := m.Decode(mh.Data); err != nil {
		return s + err.Error()
	}
	switch b := m.Body.(type) {
	case mobility.BindingUpdate:
		s += fmt.Sprintf("BU seq=%d flags=%v lifetime=%v", b.Seq, b.Flags, b.Lifetime.Duration())
	case mobility.BindingError:
		s += fmt.Sprintf("BE status=%d home=%v", b.Status, b.HomeAddr)
	case mobility.BindingAck:
		s += fmt.Sprintf("BA status=%d seq=%d lifetime=%v", b.Status, b.Seq, b.Lifetime.Duration())
	default:
		s += m.Type().String()
	}
	if a, ok := m.Options.AlternateCareOf(); ok {
		s += fmt.Sprintf(" altcoa=%v", a)
	}
	return s
}

// actionText writes an action on one or more lines.
func actionText(a Action, verbose bool) string {
	var b strings.Builder
	switch x := a.(type) {
	case Host:
		for _, op := range x.Ops {
			fmt.Fprintf(&b, "host %s\n", hostText(op))
		}
	case Xfrm:
		if !verbose {
			var migrations, rest int
			for _, op := range x.Ops {
				if _, ok := op.(xfrm.Migrate); ok {
					migrations++
				} else {
					rest++
				}
			}
			fmt.Fprintf(&b, "xfrm %d migrations, %d others\n", migrations, rest)
			break
		}
		for _, op := range x.Ops {
			fmt.Fprintf(&b, "xfrm %s\n", protect.Text(op))
		}
	case KeyUp:
		fmt.Fprintf(&b, "keys up %v↔%v", x.CareOf, x.HomeAgent)
		for _, c := range x.Children {
			fmt.Fprintf(&b, " %v(%v)", c.Kind, c.Mode)
		}
		if x.InitialContact {
			b.WriteString(" initial-contact")
		}
		b.WriteString("\n")
	case KeyMoved:
		fmt.Fprintf(&b, "keys moved to %v↔%v\n", x.CareOf, x.HomeAgent)
	case KeyDown:
		fmt.Fprintf(&b, "keys down silent=%v old=%v\n", x.Silent, x.Old)
	case Save:
		if verbose {
			fmt.Fprintf(&b, "save %v care-of %v seq %d registered=%v\n", x.Record.Phase, x.Record.CareOf, x.Record.Seq, x.Record.Registered)
		}
	case Forget:
		b.WriteString("forget\n")
	case Note:
		fmt.Fprintf(&b, "note %v: %s", x.Level, x.Msg)
		for _, at := range x.Attrs {
			fmt.Fprintf(&b, " %v", at)
		}
		b.WriteString("\n")
	case Changed:
		if x.What == "state" {
			fmt.Fprintf(&b, "= %v\n", x.Info.State)
		}
	case Stopped:
		b.WriteString("stopped\n")
	}
	return names.Replace(b.String())
}

func stamp(t time.Time) string {
	return fmt.Sprintf("%9.3f", t.Sub(epoch).Seconds())
}

var (
	epoch = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	hoa   = netip.MustParseAddr("2001:db8:1::10")
	ha    = netip.MustParseAddr("2001:db8:1::1")
)
