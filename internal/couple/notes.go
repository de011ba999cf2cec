package couple

import (
	"github.com/mip6/mip6/ha"
	"github.com/mip6/mip6/mn"
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
