package cn

import (
	"fmt"
	"net/netip"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/mobility"
)

// The cast of the scenarios.
var cast = map[string]netip.Addr{
	"cn":     netip.MustParseAddr("2001:db8:c::1"),
	"cn2":    netip.MustParseAddr("2001:db8:c::2"),
	"other":  netip.MustParseAddr("2001:db8:c::3"), // not of this host
	"hoa":    netip.MustParseAddr("2001:db8:1::a1"),
	"hoa2":   netip.MustParseAddr("2001:db8:1::a2"),
	"hoas":   netip.MustParseAddr("2001:db8:1::a3"), // with a static key
	"hoai":   netip.MustParseAddr("2001:db8:1::a4"), // with SAs
	"hoax":   netip.MustParseAddr("2001:db8:9::a1"), // denied
	"coa1":   netip.MustParseAddr("2001:db8:f1::c"),
	"coa2":   netip.MustParseAddr("2001:db8:f2::c"),
	"coa3":   netip.MustParseAddr("2001:db8:f3::c"),
	"router": netip.MustParseAddr("2001:db8:f1::1"),
	"ll":     netip.MustParseAddr("fe80::a1"),
	"any":    netip.IPv6Unspecified(),
	"last":   netip.MustParseAddr("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
	"mc":     netip.MustParseAddr("ff0e::1"),
	"lo":     netip.MustParseAddr("::1"),
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

func render(a Action) string {
	switch a := a.(type) {
	case Host:
		return "send " + sentText(a.Ops[0].(host.SendMH).MH)
	case Route:
		out := fmt.Sprintf("route %s>%s", called(a.Local), called(a.Home))
		if a.CareOf.IsValid() {
			out += " by " + called(a.CareOf)
		}
		if a.Protect != 0 {
			out += fmt.Sprintf(" %v %d", a.Protect, a.ReqID)
		}
		if a.ID != 0 {
			out += " and say when"
		}
		return out
	case AskUse:
		return fmt.Sprintf("used? %s>%s", called(a.Local), called(a.Home))
	case Authorised:
		if a.Err != nil {
			return fmt.Sprintf("authorised %d: %v", a.ID, a.Err)
		}
		return fmt.Sprintf("authorised %d: %s<>%s reqid %d", a.ID, called(a.LocalSel[0].Start), called(a.RemoteSel[0].Start), a.ReqID)
	case KeyMoved:
		return fmt.Sprintf("keys %s<>%s at %s", called(a.Local), called(a.Home), called(a.CareOf))
	case KeyDown:
		return fmt.Sprintf("keys %s<>%s down", called(a.Local), called(a.Home))
	case Save:
		s := fmt.Sprintf("save %s<>%s seq=%d", called(a.Record.Local), called(a.Record.Home), a.Record.Seq)
		if a.Record.CareOf.IsValid() {
			s += " at " + called(a.Record.CareOf)
		}
		return s
	case Forget:
		return fmt.Sprintf("forget %s<>%s", called(a.Local), called(a.Home))
	case Note:
		return fmt.Sprintf("note: %s %s", a.Msg, called(a.Home))
	case Changed:
		b := a.Binding
		out := fmt.Sprintf("%s %s>%s by %s seq=%d life=%v", a.What, called(b.Local), called(b.Home), called(b.CareOf), b.Seq, b.Lifetime)
		if a.Reason != "" {
			out += ": " + a.Reason
		}
		return out
	case Stopped:
		return "stopped"
	}
	return fmt.Sprintf("%T", a)
}

func sentText(mh host.MH) string {
	out := called(mh.Src) + ">" + called(mh.Dst)
	if mh.RouteHeader {
		out += " by " + called(mh.CareOf)
	} else if mh.CareOf.IsValid() {
		out += " hao " + called(mh.CareOf)
	}
	var msg mobility.Message
	if err := msg.Decode(mh.Data); err != nil {
		return err.Error()
	}
	out += " " + msg.Type().String()
	switch body := msg.Body.(type) {
	case mobility.BindingAck:
		out += fmt.Sprintf(" %d seq=%d life=%d", body.Status, body.Seq, body.Lifetime)
		if body.Flags != 0 {
			out += " " + body.Flags.String()
		}
		if _, ok := msg.Options.Authenticator(); ok {
			out += " signed"
		}
	case mobility.BindingError:
		out += fmt.Sprintf(" %d home=%s", body.Status, called(body.HomeAddr))
	}
	return out
}
