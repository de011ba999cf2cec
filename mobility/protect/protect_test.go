package protect

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/mip6/mip6/xfrm"
)

var update = flag.Bool("update", false, "write the golden files anew")

var (
	hoa  = netip.MustParseAddr("2001:db8:1::10")
	ha   = netip.MustParseAddr("2001:db8:1::1")
	coa1 = netip.MustParseAddr("2001:db8:2::10")
	coa2 = netip.MustParseAddr("2001:db8:3::10")
)

// names turns addresses into the names that the notation of RFC 4877 uses.
var names = strings.NewReplacer(hoa.String(), "HOA", coa1.String(), "COA1", coa2.String(), "COA2",
	cn.String(), "CN", peer1.String(), "PEER1", peer2.String(), "PEER2",
	"2001:db8:1::/64", "HOMEPREFIX", ha.String(), "HA")

func plan(r Role) Plan { return Plan{Role: r, Caps: xfrm.Caps{Migrate: true, MIP6: true, ESP6: true}} }

func at(r Role, phase Phase, coa, tunnel netip.Addr) Binding {
	return Binding{Phase: phase, Home: hoa, HomeAgent: ha, CareOf: coa, Tunnel: tunnel, ReqIDs: ReqIDsFor(r, 0)}
}

func text(ops []xfrm.Op) string {
	var b strings.Builder
	for _, op := range ops {
		b.WriteString(Text(op) + "\n")
	}
	if len(ops) == 0 {
		b.WriteString("(nothing)\n")
	}
	return names.Replace(b.String())
}

type section struct {
	title string
	ops   []xfrm.Op
}

func golden(t *testing.T, file string, sections []section) {
	t.Helper()
	var b strings.Builder
	for _, s := range sections {
		b.WriteString("# " + s.title + "\n" + text(s.ops) + "\n")
	}
	path := filepath.Join("testdata", file)
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := b.String(); got != string(want) {
		t.Errorf("%s differs; got:\n%s", file, got)
	}
}

func TestNodeGolden(t *testing.T) {
	p, none := plan(Node), netip.Addr{}
	inbound := Grace{Inbound: []xfrm.SPI{0xc0000002}}
	home := at(Node, Home, none, coa1)
	golden(t, "node.txt", []section{
		{"start", p.Start(Generic{})},
		{"first attachment", p.Change(Binding{}, at(Node, Away, coa1, none), Grace{})},
		{"move from COA1 to COA2, old address still there", p.Change(at(Node, Away, coa1, none), at(Node, Away, coa2, none), inbound)},
		{"end of the grace time", EndGrace(coa1, inbound)},
		{"home link reached", p.Change(at(Node, Away, coa1, none), at(Node, Returning, coa1, none), Grace{})},
		{"deregistration acknowledged", p.Change(at(Node, Returning, coa1, none), at(Node, Returned, coa1, none), Grace{})},
		{"nothing of the tunnel can be under way any more", p.Change(at(Node, Returned, coa1, none), home, Grace{})},
		{"home link lost", p.Change(home, at(Node, Adrift, none, coa1), Grace{})},
		{"away again at COA2", p.Change(at(Node, Adrift, none, coa1), at(Node, Away, coa2, none), Grace{})},
		{"away again at COA1, from home at once", p.Change(home, at(Node, Away, coa1, none), Grace{})},
		{"remove", p.Change(at(Node, Away, coa1, none), Binding{}, Grace{})},
		{"stop", p.Stop(Generic{})},
	})
}

func TestAgentGolden(t *testing.T) {
	p, none := plan(Agent), netip.Addr{}
	g := Generic{HomePrefixes: []netip.Prefix{netip.PrefixFrom(ha, 64)}, HomeAgents: []netip.Addr{ha}}
	golden(t, "agent.txt", []section{
		{"start", p.Start(g)},
		{"node authorised", p.Change(Binding{}, at(Agent, Home, none, none), Grace{})},
		{"first binding update, before its answer", p.Change(at(Agent, Home, none, none), at(Agent, Answering, coa1, none), Grace{})},
		{"accepted", p.Change(at(Agent, Answering, coa1, none), at(Agent, Away, coa1, none), Grace{})},
		{"binding update from COA2 accepted", p.Change(at(Agent, Away, coa1, none), at(Agent, Away, coa2, none), Grace{})},
		{"binding update from COA2 refused while bound to COA1", p.AnswerTo(at(Agent, Away, coa1, none), coa2)},
		{"deregistered at home", p.Change(at(Agent, Away, coa1, none), at(Agent, Returned, coa1, none), Grace{})},
		{"nothing of the tunnel can be under way any more", p.Change(at(Agent, Returned, coa1, none), at(Agent, Home, none, coa1), Grace{})},
		{"away again at COA2, before its answer", p.Change(at(Agent, Home, none, coa1), at(Agent, Answering, coa2, coa1), Grace{})},
		{"away again at COA2, accepted", p.Change(at(Agent, Answering, coa2, coa1), at(Agent, Away, coa2, none), Grace{})},
		{"deregistered from abroad, before the answer", p.Change(at(Agent, Away, coa1, none), at(Agent, Answering, coa1, coa1), Grace{})},
		{"remove", p.Change(at(Agent, Away, coa1, none), Binding{}, Grace{})},
		{"stop", p.Stop(g)},
	})
}

func TestOptimisingGolden(t *testing.T) {
	p, none := optimising(t, Node), netip.Addr{}
	away1 := at(Node, Away, coa1, none)
	golden(t, "optimising.txt", []section{
		{"first attachment", p.Change(Binding{}, away1, Grace{})},
		{"move from COA1 to COA2", p.Change(away1, at(Node, Away, coa2, none), Grace{})},
		{"home link reached", p.Change(away1, at(Node, Returning, coa1, none), Grace{})},
		{"deregistration acknowledged", p.Change(at(Node, Returning, coa1, none), at(Node, Returned, coa1, none), Grace{})},
		{"nothing of the tunnel can be under way any more", p.Change(at(Node, Returned, coa1, none), at(Node, Home, none, coa1), Grace{})},
		{"home link lost", p.Change(at(Node, Home, none, coa1), at(Node, Adrift, none, coa1), Grace{})},
		{"away again at COA2", p.Change(at(Node, Adrift, none, coa1), at(Node, Away, coa2, none), Grace{})},
		{"the next packet to CN asks again", Rearm(hoa, cn)},
	})
}

func TestCorrespondentGolden(t *testing.T) {
	p, g := plan(Correspondent), Generic{HomePrefixes: []netip.Prefix{netip.PrefixFrom(ha, 64)}, HomeAgents: []netip.Addr{ha}}
	agent := plan(Agent)
	golden(t, "correspondent.txt", []section{
		{"start", p.Start(g)},
		{"stop", p.Stop(g)},
		{"stop where the host is still a home agent", Without(p.Stop(g), agent.Generic(g))},
		{"stop of the agent where the host is still a correspondent", Without(agent.Stop(g), p.Generic(g))},
	})
}

// A host with all roles has what they share once.
func TestGenerics(t *testing.T) {
	g := Generic{HomePrefixes: []netip.Prefix{netip.PrefixFrom(ha, 64)}, HomeAgents: []netip.Addr{ha}}
	s := Generics([]Plan{plan(Agent), plan(Node), plan(Correspondent)}, g)
	if len(s.SAs) != 1 || len(s.Policies) != 4+1+2 {
		t.Errorf("%d states, %d policies", len(s.SAs), len(s.Policies))
	}
	if d := load(s); len(d.policies) != len(s.Policies) {
		t.Error("a policy is in it twice")
	}
}

func TestMHOnlyGolden(t *testing.T) {
	p := plan(Node)
	p.Protection = MHOnly
	none := netip.Addr{}
	golden(t, "mhonly.txt", []section{
		{"first attachment", p.Change(Binding{}, at(Node, Away, coa1, none), Grace{})},
		{"move", p.Change(at(Node, Away, coa1, none), at(Node, Away, coa2, none), Grace{})},
		{"home link reached", p.Change(at(Node, Away, coa2, none), at(Node, Returning, coa2, none), Grace{})},
	})
}

// db is what databases do with operations, as far as policies go.
type db struct {
	sas      map[xfrm.ID]xfrm.SA
	policies map[xfrm.PolicyID]xfrm.Policy
}

func load(s xfrm.Snapshot) db {
	d := db{map[xfrm.ID]xfrm.SA{}, map[xfrm.PolicyID]xfrm.Policy{}}
	for _, sa := range s.SAs {
		d.sas[sa.ID()] = sa
	}
	for _, p := range s.Policies {
		d.policies[p.ID()] = p
	}
	return d
}

func (d db) apply(t *testing.T, ops []xfrm.Op) {
	t.Helper()
	for _, op := range ops {
		switch o := op.(type) {
		case xfrm.PutSA:
			d.sas[o.SA.ID()] = o.SA
		case xfrm.DelSA:
			delete(d.sas, o.ID)
		case xfrm.PutPolicy:
			d.policies[o.Policy.ID()] = o.Policy
		case xfrm.DelPolicy:
			delete(d.policies, o.ID)
		case xfrm.Migrate:
			p, ok := d.policies[o.Migration.Policy]
			if !ok {
				t.Fatalf("migration of a policy that is not there: %s", Text(op))
			}
			p.Templates = append([]xfrm.Template(nil), p.Templates...)
			matched := false
			for i, tm := range p.Templates {
				for _, mv := range o.Migration.Moves {
					if tm.Proto != mv.Proto || tm.Mode != mv.Mode || tm.ReqID != mv.ReqID {
						continue
					}
					if tm.Mode == xfrm.Transport {
						matched = true // the kernel leaves transport templates alone
					} else if tm.Src == mv.OldSrc && tm.Dst == mv.OldDst {
						matched = true
						p.Templates[i].Src, p.Templates[i].Dst = mv.NewSrc, mv.NewDst
					}
				}
			}
			if !matched {
				t.Fatalf("migration without a matching template (ENODATA): %s", names.Replace(Text(op)))
			}
			d.policies[p.ID()] = p
		}
	}
}

func phases(r Role) []Binding {
	var none netip.Addr
	out := []Binding{{}, at(r, Home, none, none), at(r, Home, none, coa1)}
	for _, coa := range []netip.Addr{coa1, coa2} {
		out = append(out, at(r, Away, coa, none), at(r, Returned, coa, none))
		if r == Node {
			out = append(out, at(r, Returning, coa, none), at(r, Adrift, none, coa), at(r, Adrift, none, none))
		} else {
			out = append(out, at(r, Answering, coa, none), at(r, Answering, coa, coa1))
		}
	}
	return out
}

// optimising is a node's plan with all that route optimization adds.
func optimising(t *testing.T, r Role) Plan {
	p := plan(r)
	p.Optimises, p.Answers = r == Node, true
	all := netip.MustParsePrefix("::/0")
	p.Triggers = []Trigger{
		{To: netip.MustParsePrefix("2001:db8:9::/48"), Proto: 6, Port: 22, Never: true},
		{To: netip.MustParsePrefix("2001:db8:9::/48")},
		{To: netip.MustParsePrefix("2001:db8::/32"), Never: true},
		{To: all, Proto: 6, Port: 443},
		{To: all},
		{To: netip.MustParsePrefix("2001:db8:99::/48"), Never: true}, // never looked at
	}
	return p
}

// Every change leads from the one set to the other exactly, migrations included,
// and one that changes nothing is empty.
func TestChangeLeadsToWant(t *testing.T) {
	for _, r := range []Role{Node, Agent} {
		for _, prot := range []Protection{MHAndPayload, MHOnly} {
			for i := range 4 {
				migrate := i%2 == 0
				p := plan(r)
				if i > 1 {
					p = optimising(t, r)
				}
				p.Protection, p.Caps.Migrate = prot, migrate
				for _, from := range phases(r) {
					for _, to := range phases(r) {
						d := load(p.Want(from))
						ops := p.Change(from, to, Grace{})
						d.apply(t, ops)
						if want := load(p.Want(to)); !reflect.DeepEqual(d, want) {
							t.Errorf("%v %v→%v: got %v want %v", r, from, to, d, want)
						}
						if from == to && len(ops) != 0 {
							t.Errorf("%v %v: no change, but %s", r, from.Phase, text(ops))
						}
					}
				}
			}
		}
	}
}

// What the home address sends is never in the clear while the node is away or adrift:
// between any two operations of a change an outbound policy stands that tunnels or discards.
func TestNodeNeverInTheClear(t *testing.T) {
	testNeverInTheClear(t, plan(Node), []uint32{PriorityPayload})
	testNeverInTheClear(t, optimising(t, Node), []uint32{PriorityPayload, PriorityTests})
}

func testNeverInTheClear(t *testing.T, p Plan, priorities []uint32) {
	closed := func(d db) bool {
		n := 0
		for _, pol := range d.policies {
			if pol.Dir == xfrm.Out && (pol.Block || len(pol.Templates) == 1 && pol.Templates[0].Mode == xfrm.Tunnel && !pol.Templates[0].Optional) &&
				slices.Contains(priorities, pol.Priority) {
				n++
			}
		}
		return n == len(priorities)
	}
	shut := func(ph Phase) bool { return ph == Away || ph == Adrift || ph == Returning }
	for _, from := range phases(Node) {
		for _, to := range phases(Node) {
			if !shut(from.Phase) || !shut(to.Phase) {
				continue
			}
			d := load(p.Want(from))
			for _, op := range p.Change(from, to, Grace{}) {
				d.apply(t, []xfrm.Op{op})
				if !closed(d) {
					t.Errorf("%v→%v: open after %s", from.Phase, to.Phase, Text(op))
				}
			}
		}
	}
}

// Outbound is migrated before inbound, whoever migrates.
func TestMigrateOutFirst(t *testing.T) {
	for _, r := range []Role{Node, Agent} {
		var dirs []int
		for _, op := range plan(r).Change(at(r, Away, coa1, netip.Addr{}), at(r, Away, coa2, netip.Addr{}), Grace{}) {
			if m, ok := op.(xfrm.Migrate); ok && m.Migration.Moves[0].Mode == xfrm.Tunnel {
				order := map[xfrm.Dir]int{xfrm.Out: 0, xfrm.In: 1, xfrm.Fwd: 2}
				dirs = append(dirs, order[m.Migration.Policy.Dir])
				if m.Migration.Endpoints == nil {
					t.Errorf("%v: a migration without endpoints", r)
				}
			}
		}
		if !sort.IntsAreSorted(dirs) || len(dirs) != 2+int(r) {
			t.Errorf("%v: directions %v", r, dirs)
		}
	}
}

func TestReqIDs(t *testing.T) {
	seen := map[xfrm.ReqID]bool{}
	for _, r := range []Role{Node, Agent} {
		for _, i := range []uint32{0, 1, 2, 1000, MaxIndex - 1} {
			q := ReqIDsFor(r, i)
			for _, id := range []xfrm.ReqID{q.MH, q.Payload, PathReqID(Correspondent*r, i)} {
				if seen[id] || !Owned(id) {
					t.Errorf("id %#x of %v %d: twice or not owned", uint32(id), r, i)
				}
				seen[id] = true
			}
			if r2, i2, ok := q.Index(); r2 != r || i2 != i || !ok {
				t.Errorf("Index of %v %d: %v %d %v", r, i, r2, i2, ok)
			}
		}
	}
	for _, q := range []ReqIDs{{MH: 1, Payload: 2}, {MH: ReqIDBase + 1, Payload: ReqIDBase + 2}, {MH: ReqIDBase + ReqIDBlock, Payload: 1},
		{MH: PathReqID(Node, 4), Payload: PathReqID(Node, 5)}, {MH: PathReqID(Correspondent, 4), Payload: PathReqID(Correspondent, 5)}} {
		if _, _, ok := q.Index(); ok {
			t.Errorf("%v taken for ours", q)
		}
	}
}
