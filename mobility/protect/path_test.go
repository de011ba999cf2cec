package protect

import (
	"net/netip"
	"reflect"
	"testing"

	"github.com/mip6/mip6/xfrm"
)

var (
	cn     = netip.MustParseAddr("2001:db8:9::1")
	peer1  = netip.MustParseAddr("2001:db8:7::1")
	peer2  = netip.MustParseAddr("2001:db8:8::1")
	pathID = PathReqID(Node, 0)
)

// paths are all combinations of what a path may be.
func paths() []Path {
	var out []Path
	for _, careOf := range []netip.Addr{{}, coa1, coa2, any6} { // at home, at two places, lost
		for bits := range 8 {
			for _, remote := range []netip.Addr{{}, peer1, peer2} {
				for _, prot := range []xfrm.Proto{0, xfrm.ESP, xfrm.AH} {
					for _, tunnel := range []xfrm.ReqID{0, ReqIDsFor(Node, 0).Payload} {
						x := Path{Local: hoa, Remote: cn, RemoteCareOf: remote, Protect: prot,
							Direct: bits&1 != 0, Accept: bits&2 != 0, Ack: bits&4 != 0}
						if prot != 0 {
							x.ReqID = pathID
						}
						if careOf.IsValid() {
							x.Away, x.CareOf, x.HomeAgent, x.Tunnel = true, careOf, ha, tunnel
							if careOf == any6 {
								x.CareOf = netip.Addr{}
							}
						} else if tunnel != 0 {
							continue
						}
						out = append(out, x)
					}
				}
			}
		}
	}
	return out
}

// way is how a packet came: its headers, outermost first.
type way []xfrm.SA

func ways(x Path) []way {
	route2 := xfrm.SA{Proto: xfrm.Route2, Mode: xfrm.RouteOpt, Src: x.Remote, Dst: x.Local}
	hao := xfrm.SA{Proto: xfrm.HAO, Mode: xfrm.RouteOpt, Src: x.Remote, Dst: x.Local}
	tunnel := xfrm.SA{Proto: xfrm.ESP, Mode: xfrm.Tunnel, Src: ha, Dst: coa1, ReqID: ReqIDsFor(Node, 0).Payload}
	out := []way{{}, {route2}, {hao}, {tunnel}, {route2, hao}, {tunnel, hao}}
	for _, w := range out[:6:6] {
		for _, p := range []xfrm.Proto{xfrm.ESP, xfrm.AH} {
			out = append(out, append(w[:len(w):len(w)], xfrm.SA{Proto: p, Src: x.Remote, Dst: x.Local, ReqID: pathID}))
		}
	}
	return out
}

// takes does what Linux does with a packet that came by w and met the policy.
func takes(pol xfrm.Policy, w way) bool {
	k := 0
	for i := len(pol.Templates) - 1; i >= 0; i-- {
		t := pol.Templates[i]
		if t.Optional && t.Mode == xfrm.Transport {
			continue
		}
		found := false
		for j := k; j < len(w); j++ {
			if s := w[j]; s.Proto == t.Proto && s.Mode == t.Mode && (t.ReqID == 0 || t.ReqID == s.ReqID) &&
				(t.Mode == xfrm.Transport || t.Src.IsUnspecified() || t.Src == s.Src) {
				k, found = j+1, true
				break
			}
			if w[j].Mode != xfrm.Transport {
				break
			}
		}
		if !found && !t.Optional {
			return false
		}
	}
	for _, s := range w[k:] {
		if s.Mode != xfrm.Transport {
			return false
		}
	}
	return true
}

// accepts tells whether a payload packet is accepted, by the path's policy or by the tunnel's.
func (d db) accepts(x Path, w way) bool {
	sel := xfrm.Selector{Src: host(x.Remote), Dst: host(x.Local)}
	if pol, ok := d.policies[xfrm.PolicyID{Sel: sel, Dir: xfrm.In}]; ok {
		return takes(pol, w)
	}
	var p xfrm.Policy
	if x.Away && x.Tunnel != 0 {
		p.Templates = []xfrm.Template{{Src: ha, Dst: coa1, Proto: xfrm.ESP, Mode: xfrm.Tunnel, ReqID: x.Tunnel}}
	}
	return takes(p, w)
}

// sends is the path's outbound policy for payload, nil without.
func (d db) sends(x Path) *xfrm.Policy {
	if pol, ok := d.policies[xfrm.PolicyID{Sel: xfrm.Selector{Src: host(x.Local), Dst: host(x.Remote)}, Dir: xfrm.Out}]; ok {
		return &pol
	}
	return nil
}

func has(pol *xfrm.Policy, proto xfrm.Proto, mode xfrm.Mode) bool {
	for _, t := range pol.Templates {
		if t.Proto == proto && t.Mode == mode && !t.Optional {
			return true
		}
	}
	return false
}

// Every change of a path leads from the one set to the other exactly, and on the way nothing
// leaves less protected than before and after, no policy lacks its state, the state of the home address option is
// never met by a trigger, and what was and will be accepted is accepted.
func TestChangePath(t *testing.T) {
	all := paths()
	for i, from := range all {
		for j, to := range all {
			if (i*len(all)+j)%17 != 0 && !oneStep(from, to) {
				continue // all of them take a minute
			}
			d := load(plan(Node).WantPath(from))
			ops := plan(Node).ChangePath(from, to)
			if from == to && len(ops) != 0 {
				t.Fatalf("%+v: no change, but\n%s", from, text(ops))
			}
			for i, op := range ops {
				d.apply(t, []xfrm.Op{op})
				if what := d.wrong(from, to); what != "" {
					t.Fatalf("from %+v\nto   %+v\noperation %d of\n%s%s", from, to, i+1, text(ops), what)
				}
			}
			if want := load(plan(Node).WantPath(to)); !reflect.DeepEqual(d, want) {
				t.Fatalf("from %+v\nto   %+v\nby\n%sgot  %v\nwant %v", from, to, text(ops), d, want)
			}
		}
	}
}

// oneStep tells whether one fact differs, or none.
func oneStep(a, b Path) bool {
	n := 0
	for _, same := range []bool{a.Away == b.Away && a.CareOf == b.CareOf, a.Direct == b.Direct, a.Accept == b.Accept,
		a.Ack == b.Ack, a.RemoteCareOf == b.RemoteCareOf, a.Protect == b.Protect} {
		if !same {
			n++
		}
	}
	return n <= 1 && (a.Tunnel == b.Tunnel || a.Away != b.Away)
}

// wrong says what must not be so between two operations of a change.
func (d db) wrong(from, to Path) string {
	out := d.sends(to)
	both := func(is func(Path) bool) bool { return is(from) && is(to) }
	if both(func(x Path) bool { return x.Away && !x.direct() && x.Tunnel != 0 }) && out != nil && !out.Block && !has(out, xfrm.ESP, xfrm.Tunnel) {
		return "what is sent leaves without the tunnel"
	}
	for _, p := range []xfrm.Proto{xfrm.ESP, xfrm.AH} {
		if both(func(x Path) bool { return x.Protect == p }) &&
			(out != nil && !out.Block && !has(out, p, xfrm.Transport) || out == nil && !(from.Away && to.Away)) {
			return "what is sent leaves without its SA"
		}
	}
	for _, pol := range d.policies {
		for _, tm := range pol.Templates {
			if pol.Dir == xfrm.Out && tm.Mode == xfrm.RouteOpt {
				if _, ok := d.sas[xfrm.ID{Src: tm.Src, Dst: tm.Dst, Proto: tm.Proto}]; !ok {
					return "a policy asks for a state that is not there: " + text([]xfrm.Op{xfrm.PutPolicy{Policy: pol}})
				}
			}
		}
	}
	if _, ok := d.sas[xfrm.ID{Src: to.Local, Dst: to.Remote, Proto: xfrm.HAO}]; ok && from.Tunnel*to.Tunnel != 0 && to.CareOf.IsValid() && out == nil {
		return "the state of the home address option without a policy of the path"
	}
	if from.Away != to.Away || from.Tunnel != to.Tunnel {
		return ""
	}
	a, b := load(plan(Node).WantPath(from)), load(plan(Node).WantPath(to))
	for _, w := range ways(to) {
		was, will, is := a.accepts(from, w), b.accepts(to, w), d.accepts(to, w)
		if was && will && !is {
			return "a packet is refused that was and will be accepted"
		}
		if is && !was && !will && from.Protect == to.Protect && from.Accept == to.Accept {
			return "a packet is accepted that neither was nor will be"
		}
	}
	return ""
}

// In a node's move the policies of its paths that name the tunnel are away while it moves, and with
// it again at once.
func TestWithPaths(t *testing.T) {
	p, none := optimising(t, Node), netip.Addr{}
	from, to := at(Node, Away, coa1, none), at(Node, Away, coa2, none)
	x := Path{Local: hoa, Remote: cn, Away: true, CareOf: coa1, HomeAgent: ha, Tunnel: from.ReqIDs.Payload, Accept: true}
	y := x
	y.Remote, y.Direct = peer1, true
	x2, y2 := x, y
	x2.CareOf, y2.CareOf, y2.Direct = coa2, coa2, false
	d := load(p.Want(from))
	for _, x := range []Path{x, y} {
		d.apply(t, p.ChangePath(Path{Local: x.Local, Remote: x.Remote}, x))
	}
	golden(t, "withpaths.txt", []section{{"move with two paths", p.WithPaths(p.Change(from, to, Grace{}), [][2]Path{{x, x2}, {y, y2}})}})
	for _, op := range p.WithPaths(p.Change(from, to, Grace{}), [][2]Path{{x, x2}, {y, y2}}) {
		old := func() bool {
			for _, pol := range d.policies {
				if pol.Dir == xfrm.Out && pol.Priority < PriorityPayload && pol.Priority != PriorityTests && pol.Templates[len(pol.Templates)-1].Src == coa1 {
					return true
				}
			}
			return false
		}
		if _, moves := op.(xfrm.Migrate); moves && old() {
			t.Errorf("the tunnel moves while a policy names its old end")
		}
		d.apply(t, []xfrm.Op{op})
	}
	want := load(p.Want(to))
	for _, x := range []Path{x2, y2} {
		for _, sa := range p.WantPath(x).SAs {
			want.sas[sa.ID()] = sa
		}
		for _, pol := range p.WantPath(x).Policies {
			want.policies[pol.ID()] = pol
		}
	}
	if !reflect.DeepEqual(d, want) {
		t.Errorf("got %v\nwant %v", d, want)
	}
}

// What each way of a packet meets (RFC 6275 §6.4, §11.3.1).
func TestPathAccepts(t *testing.T) {
	tunnel := ReqIDsFor(Node, 0).Payload
	away := Path{Local: hoa, Remote: cn, Away: true, CareOf: coa1, HomeAgent: ha, Tunnel: tunnel}
	bound := away
	bound.RemoteCareOf = peer1
	accept, accept2 := away, bound
	accept.Accept, accept2.Accept = true, true
	atHome := Path{Local: hoa, Remote: cn, RemoteCareOf: peer1}
	esp := accept2
	esp.Protect, esp.ReqID = xfrm.ESP, pathID
	for _, c := range []struct {
		name string
		x    Path
		want [6]bool // plain, route2, hao, tunnel, route2+hao, tunnel+hao
	}{
		{"away", away, [6]bool{false, false, false, true, false, false}},
		{"away, node", accept, [6]bool{true, true, false, true, false, false}},
		{"away, correspondent", bound, [6]bool{false, false, false, true, false, true}},
		{"away, both", accept2, [6]bool{true, true, true, true, true, true}},
		{"correspondent", atHome, [6]bool{true, false, true, false, false, false}},
		{"away, both, protected", esp, [6]bool{}},
	} {
		d := load(plan(Node).WantPath(c.x))
		for i, w := range ways(c.x)[:6] {
			if got := d.accepts(c.x, w); got != c.want[i] {
				t.Errorf("%s: way %d: %v", c.name, i, got)
			}
		}
	}
	d := load(plan(Node).WantPath(esp))
	for i, w := range ways(esp) {
		if n := len(w); n > 0 && w[n-1].Proto == xfrm.ESP && w[n-1].Mode == xfrm.Transport && !d.accepts(esp, w) {
			t.Errorf("protected: way %d is refused", i)
		}
	}
}

func TestPathGolden(t *testing.T) {
	p := plan(Node)
	none := Path{Local: hoa, Remote: cn}
	away := none
	away.Away, away.CareOf, away.HomeAgent, away.Tunnel = true, coa1, ha, ReqIDsFor(Node, 0).Payload
	with := func(x Path, set func(*Path)) Path { set(&x); return x }
	ack := with(away, func(x *Path) { x.Accept, x.Ack = true, true })
	direct := with(away, func(x *Path) { x.Accept, x.Direct = true, true })
	moved := with(direct, func(x *Path) { x.CareOf, x.Direct, x.Ack = coa2, false, true })
	again := with(direct, func(x *Path) { x.CareOf = coa2 })
	both := with(direct, func(x *Path) { x.RemoteCareOf = peer1 })
	bound := with(none, func(x *Path) { x.RemoteCareOf = peer1 })
	protected := func(x Path, proto xfrm.Proto) Path { x.Protect, x.ReqID = proto, pathID; return x }
	golden(t, "path.txt", []section{
		{"node: a Binding Update is on its way", p.ChangePath(none, ack)},
		{"node: acknowledged", p.ChangePath(ack, direct)},
		{"node: moved to COA2, a Binding Update is on its way", p.ChangePath(direct, moved)},
		{"node: acknowledged for COA2", p.ChangePath(moved, again)},
		{"node: back to the tunnel", p.ChangePath(again, with(away, func(x *Path) { x.CareOf = coa2 }))},
		{"correspondent: bound", p.ChangePath(none, bound)},
		{"correspondent: moved", p.ChangePath(bound, with(bound, func(x *Path) { x.RemoteCareOf = peer2 }))},
		{"correspondent: not bound any more", p.ChangePath(bound, none)},
		{"both mobile: the peer binds too", p.ChangePath(direct, both)},
		{"both mobile: the peer moves", p.ChangePath(both, with(both, func(x *Path) { x.RemoteCareOf = peer2 }))},
		{"both mobile: back to the tunnel, the peer still bound here", p.ChangePath(both, with(both, func(x *Path) { x.Direct, x.Accept = false, false }))},
		{"node, ESP: for a start", p.ChangePath(none, protected(away, xfrm.ESP))},
		{"node, ESP: a Binding Update is on its way", p.ChangePath(protected(away, xfrm.ESP), protected(ack, xfrm.ESP))},
		{"node, ESP: acknowledged", p.ChangePath(protected(ack, xfrm.ESP), protected(direct, xfrm.ESP))},
		{"correspondent, ESP: for a start", p.ChangePath(none, protected(none, xfrm.ESP))},
		{"correspondent, ESP: bound", p.ChangePath(protected(none, xfrm.ESP), protected(bound, xfrm.ESP))},
		{"both mobile, AH", p.ChangePath(none, protected(both, xfrm.AH))},
		{"both mobile, ESP", p.ChangePath(none, protected(both, xfrm.ESP))},
	})
}
