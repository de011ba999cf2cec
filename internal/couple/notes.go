package couple

import (
	"github.com/mip6/mip6/cn"
	"github.com/mip6/mip6/ha"
	"github.com/mip6/mip6/mn"
	"github.com/mip6/mip6/mn/optimise"
)

// nodeNote says what happened to a mobile node's registration. What an operator wants to
// read are its results; the steps are for whoever debugs.
func nodeNote(a mn.Changed) Note {
	i := a.Info
	n := Note{Level: Debug, Msg: "registration: " + a.What, Event: a,
		Attrs: []any{"home", a.Home.String(), "state", i.State.String(), "careof", addrText(i.CareOf)}}
	switch a.What {
	case "registered":
		n.Level, n.Msg = Info, "registered"
		t := i.LastMove
		if !t.AckAt.IsZero() && !t.UpdateAt.IsZero() {
			n.Attrs = append(n.Attrs, "from", addrText(t.From), "bu_ba", t.AckAt.Sub(t.UpdateAt).String())
		}
		n.Attrs = append(n.Attrs, "interface", i.Interface, "seq", i.Seq, "expires", i.Expires)
	case "state":
		if i.State == mn.StateDetached || i.State == mn.StateHome || i.State == mn.StateRefused {
			n.Level = Info
		}
	}
	return n
}

// routeNote says what happened to the route to a correspondent.
func routeNote(a optimise.Changed) Note {
	i := a.Info
	n := Note{Level: Debug, Msg: "route: " + a.What, Event: a, Attrs: []any{"home", i.Home.String(), "peer", i.Remote.String(),
		"state", i.State.String(), "careof", addrText(i.CareOf)}}
	if i.Why != "" {
		n.Attrs = append(n.Attrs, "why", i.Why)
	}
	switch a.What {
	case "direct", "tunnel", "refused", "gone":
		n.Level = Info
	}
	return n
}

// peerNote says what happened to a binding at a correspondent.
func peerNote(a cn.Changed) Note {
	b := a.Binding
	n := Note{Level: Info, Msg: "correspondent's binding: " + a.What, Event: a, Attrs: []any{"home", b.Home.String(),
		"local", b.Local.String(), "careof", addrText(b.CareOf), "seq", b.Seq, "lifetime", b.Lifetime.String()}}
	if a.What == "renewed" {
		n.Level = Debug
	}
	if a.Reason != "" {
		n.Attrs = append(n.Attrs, "reason", a.Reason)
	}
	return n
}

// bindingNote says what happened to a binding at the home agent.
func bindingNote(a ha.Changed) Note {
	n := Note{Level: Debug, Msg: "binding: " + string(a.What), Event: a, Attrs: []any{"home", a.Home.String(),
		"careof", addrText(a.CareOf), "seq", a.Seq, "lifetime", a.Lifetime.Duration().String()}}
	switch a.What {
	case ha.Registered, ha.Moved, ha.Deregistered, ha.Expired, ha.Dropped:
		n.Level = Info
		if a.Old.IsValid() {
			n.Attrs = append(n.Attrs, "from", a.Old.String())
		}
	case ha.Refused:
		n.Level = Warn
		n.Attrs = append(n.Attrs, "status", a.Status.String())
	}
	return n
}
