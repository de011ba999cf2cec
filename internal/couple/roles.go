package couple

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"

	"github.com/mip6/mip6/ha"
	"github.com/mip6/mip6/ike"
	"github.com/mip6/mip6/ike/message"
	"github.com/mip6/mip6/mn"
	"github.com/mip6/mip6/mobility/protect"
)

func agentReqIDs(slot uint32) protect.ReqIDs { return protect.ReqIDsFor(protect.Agent, slot) }

// doMN translates what a mobile node's machine wants.
func (n *Node) doMN(a mn.Action, out []Action) []Action {
	switch a := a.(type) {
	case mn.Host:
		return append(out, Host{Key: a.Home, Token: OwnerMN.token(a.Home, a.ID), Ops: a.Ops})
	case mn.Xfrm:
		n.noteOps(a.Home, a.Ops)
		return append(out, Xfrm{Key: a.Home, Token: OwnerMN.token(a.Home, a.ID), Ops: n.withPaths(n.home(a.Home), a.Ops)})
	case mn.KeyUp:
		n.keyUp(a)
	case mn.KeyMoved:
		n.keyMoved(a)
	case mn.KeyDown:
		h := n.home(a.Home)
		n.abandon(h)
		n.closeAll(h, a.Silent, a.Old)
	case mn.Save:
		return append(out, SaveMN{Key: a.Home, Record: a.Record})
	case mn.Forget:
		return append(out, Forget{Key: a.Home})
	case mn.Note:
		return append(out, Note{Level: Level(a.Level), Msg: a.Msg, Attrs: append([]any{"home", a.Home.String()}, anyAttrs(a.Attrs)...)})
	case mn.Changed:
		return append(out, nodeNote(a))
	case mn.Stopped:
		return n.left(a.Home, out)
	}
	return out
}

// token names a machine; it is nobody's where no answer is wanted.
func (o Owner) token(home netip.Addr, id uint64) Token {
	if id == 0 {
		return Token{}
	}
	return Token{Owner: o, Home: home, ID: id}
}

func anyAttrs(attrs []slog.Attr) []any {
	out := make([]any, len(attrs))
	for i, a := range attrs {
		out[i] = a
	}
	return out
}

func addrText(a netip.Addr) string {
	if !a.IsValid() {
		return "none"
	}
	return a.String()
}

func hex64(v uint64) string { return fmt.Sprintf("%016x", v) }

// keyUp makes an IKE SA with the wanted children, or the children that lack.
func (n *Node) keyUp(a mn.KeyUp) {
	h := n.home(a.Home)
	h.want = a
	if h.newest() != nil {
		for _, c := range a.Children {
			n.createChild(h, c)
		}
		return
	}
	wants := make([]ike.ChildWant, 0, len(a.Children))
	for _, c := range a.Children {
		wants = append(wants, h.mn.wantChild(c))
	}
	n.initiate(h, ike.Initiate{Conn: h.mn.Conn, Local: n.port(a.CareOf), Remote: n.port(a.HomeAgent),
		Children: wants, InitialContact: a.InitialContact, CFGRequest: n.askAgain(a.Home)})
}

// keyMoved gives the IKE SAs their new end. One that is only coming about would
// go on from an address that is gone: it is begun anew.
func (n *Node) keyMoved(a mn.KeyMoved) {
	h := n.home(a.Home)
	for _, s := range slices.Clone(h.sas) {
		n.tellIKE(ike.Moved{SA: s.id, Local: n.port(a.CareOf), Remote: n.port(a.HomeAgent)})
	}
	if h.pending != 0 && h.want.CareOf != a.CareOf {
		h.want.CareOf = a.CareOf
		n.keyUp(h.want)
	}
}

// closeAll ends the IKE SAs of a home address. With keep their children stay
// until others take their place. They are not used from now on, although IKE has
// yet to say that they are gone: what is asked for next wants a new one.
func (n *Node) closeAll(h *home, silent, keep bool) {
	closing := h.sas
	h.sas = nil
	clear(h.asking)
	for _, s := range closing {
		n.tellIKE(ike.Close{SA: s.id, Silent: silent || keep, KeepChildren: keep})
	}
}

// doHA translates what the home agent's machine wants.
func (n *Node) doHA(a ha.Action, out []Action) []Action {
	switch a := a.(type) {
	case ha.Host:
		return append(out, Host{Key: a.Home, Token: Token{Owner: OwnerHA, ID: a.ID}, Ops: a.Ops})
	case ha.Xfrm:
		n.noteOps(a.Home, a.Ops)
		return append(out, Xfrm{Key: a.Home, Token: Token{Owner: OwnerHA, ID: a.ID}, Ops: a.Ops})
	case ha.ProbeDAD:
		return append(out, ProbeDAD{Token: Token{Owner: OwnerHA, ID: a.ID}, IfIndex: a.IfIndex, Addr: a.Addr})
	case ha.Authorised:
		n.authorised(a)
	case ha.KeyUp:
		return n.agentKeyUp(a, out)
	case ha.KeyMoved:
		for _, s := range slices.Clone(n.home(a.Home).sas) {
			s.remote = a.CareOf
			n.tellIKE(ike.Moved{SA: s.id, Local: n.port(a.HomeAgent), Remote: n.port(a.CareOf)})
		}
	case ha.KeyDown:
		n.closeAll(n.home(a.Home), a.Silent, a.Silent)
	case ha.Save:
		return append(out, SaveHA{Key: a.Record.Home, Record: a.Record})
	case ha.Forget:
		h := n.home(a.Home)
		for len(h.stale) > 0 { // nobody is there for them any more
			out = n.dropStale(h, h.stale[0].ReqID, out)
		}
		return append(out, Forget{Key: a.Home, HA: true})
	case ha.Note:
		lvl := []Level{Debug, Info, Warn}[min(a.Level, ha.Warn)]
		attrs := a.Attrs
		if a.Home.IsValid() {
			attrs = append([]any{"home", a.Home.String()}, attrs...)
		}
		return append(out, Note{Level: lvl, Msg: a.Msg, Attrs: attrs})
	case ha.Changed:
		return append(out, bindingNote(a))
	case ha.Stopped:
		n.roleStopped()
	}
	return out
}

// agentKeyUp starts IKE towards a node after the agent's restart.
func (n *Node) agentKeyUp(a ha.KeyUp, out []Action) []Action {
	id, err := message.ParseIdentity(a.Identity)
	if err != nil {
		return append(out, note(Warn, "identity of a binding cannot be read", "identity", a.Identity, "error", err.Error()))
	}
	conn, ok := n.cfg.HA.Conn(id)
	if !ok {
		n.tellHA(ha.KeysRefused{Home: a.Home, Reason: "no IKE connection serves this identity"})
		return out
	}
	var wants []ike.ChildWant
	h := n.home(a.Home)
	for _, c := range a.Children {
		h.know(c.ReqID)
		w := ike.ChildWant{Name: namePayload, Mode: ike.Tunnel, ReqID: uint32(c.ReqID),
			Local: []message.Selector{toIKE(c.Local)}, Remote: []message.Selector{toIKE(c.Remote)}}
		if c.Kind == ha.MH {
			w.Name, w.Mode = nameMH, ike.Transport
		}
		wants = append(wants, w)
	}
	n.initiate(h, ike.Initiate{Conn: conn, Peer: id, Local: n.port(a.HomeAgent),
		Remote: n.port(a.CareOf), Children: wants, InitialContact: a.InitialContact})
	return out
}
