package ike

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mip6/mip6/ike/message"
)

// duel drives two machines message by message: nothing that is sent arrives
// before a step says so. a is the mobile node, b the home agent.
type duel struct {
	t    *testing.T
	w    *world
	a, b *node
	air  map[*node][]Send // by sender, oldest first
	name string
}

func newDuel(t *testing.T, name string, seed uint64, change func(*setup)) *duel {
	w, a, b := pair(t, seed, change)
	connect(t, w, a, b)
	d := &duel{t: t, w: w, a: a, b: b, air: map[*node][]Send{}, name: name}
	w.taskDelay = 0
	w.drop = func(from *node, s Send) bool {
		d.air[from] = append(d.air[from], s)
		return true
	}
	return d
}

// sa is the IKE SA of a node that is up.
func (d *duel) sa(n *node) *sa {
	for _, i := range n.m.Snapshot() {
		if i.State == "established" {
			return n.m.sas[i.SA]
		}
	}
	d.t.Fatalf("%s: %s has no IKE SA%s", d.name, n.name, n.dump())
	return nil
}

// child is the inbound SPI of the pair of a name that the owner believes in, or with "old-" before it of the oldest.
func (d *duel) child(n *node, name string) uint32 {
	name, old := strings.CutPrefix(name, "old-")
	var list []*child
	for _, i := range n.m.Snapshot() {
		for _, c := range n.m.sas[i.SA].children {
			if c.Name == name {
				list = append(list, c)
			}
		}
	}
	if len(list) == 0 {
		d.t.Fatalf("%s: %s has no child %s", d.name, n.name, name)
	}
	if old {
		return list[0].SPIIn
	}
	for _, c := range list {
		if c.stands() {
			return c.SPIIn
		}
	}
	return list[len(list)-1].SPIIn
}

// home is the IKE SA of that pair.
func (d *duel) home(n *node, name string) SAID {
	spi := d.child(n, name)
	for _, i := range n.m.Snapshot() {
		if n.m.sas[i.SA].bySPIIn(spi) != nil {
			return i.SA
		}
	}
	return 0
}

// settleTasks lets everything happen that needs no message and no time.
func (d *duel) settleTasks() { d.w.run(0, nil) }

// step does one of:
//
//	a rekey NAME, a close NAME, a soft NAME, a hard NAME   (NAME "ike": the IKE SA itself; "old-NAME": the oldest pair)
//	a>b WHAT     the oldest message of a arrives, and is WHAT
//	a>>b WHAT    the newest does, before the others
//	a lose       the oldest message of a is lost
//	a repeat     a's timers fire: what it waits for is sent again
func (d *duel) step(s string) {
	d.t.Helper()
	f := strings.Fields(s)
	nodes := map[string]*node{"a": d.a, "b": d.b}
	if from, to, ok := strings.Cut(f[0], ">"); ok {
		last := strings.HasPrefix(to, ">")
		d.deliver(s, nodes[from], nodes[strings.TrimPrefix(to, ">")], last, f[1:])
		d.settleTasks()
		return
	}
	n := nodes[f[0]]
	switch {
	case f[1] == "lose":
		d.air[n] = d.air[n][1:]
	case f[1] == "repeat":
		d.w.run(600*time.Millisecond, nil)
	case f[1] == "create":
		w := payloadWant()
		w.Name, w.ReqID = f[2], 9
		n.step(CreateChild{Req: 9, SA: d.sa(n).id, Want: w})
	case f[1] == "reauth":
		s := d.sa(n)
		s.conn.Reauth = 24 * time.Hour
		n.m.now, n.m.out = d.w.now, nil
		n.m.reauthenticate(s)
		n.do(n.m.done())
	case f[2] == "ike" && f[1] == "rekey":
		n.step(RekeySA{d.sa(n).id})
	case f[2] == "ike" && f[1] == "close":
		n.step(Close{SA: d.sa(n).id})
	case f[1] == "rekey":
		n.step(RekeyChild{d.home(n, f[2]), d.child(n, f[2])})
	case f[1] == "close":
		n.step(CloseChild{d.home(n, f[2]), d.child(n, f[2])})
	case f[1] == "soft", f[1] == "hard":
		spi := d.child(n, f[2])
		n.step(Expire{SPI: spi, Dst: n.kernel[spi].LocalAddr, Hard: f[1] == "hard"})
	default:
		d.t.Fatalf("%s: no such step: %s", d.name, s)
	}
	d.settleTasks()
}

func (d *duel) deliver(step string, from, to *node, last bool, words []string) {
	d.t.Helper()
	if len(d.air[from]) == 0 {
		d.t.Fatalf("%s: %q: nothing is under way%s", d.name, step, from.dump())
	}
	i := 0
	if last {
		i = len(d.air[from]) - 1
	}
	s := d.air[from][i]
	d.air[from] = slices.Delete(d.air[from], i, i+1)
	if got := peek(to, s); len(words) > 0 && got != words[0] {
		d.t.Fatalf("%s: %q: the message is %q", d.name, step, got)
	}
	to.step(Datagram{Local: s.Remote, Remote: s.Local, Data: slices.Clone(s.Data)})
}

// peek says in a word what a message is, with the keys of its receiver; "closed" where it has none any more.
func peek(to *node, s Send) string {
	h, err := message.ParseHeader(s.Data)
	if err != nil {
		return "broken"
	}
	own := h.SPIi
	if h.FromInitiator() {
		own = h.SPIr
	}
	sa := to.m.sas[SAID(own)]
	outer, err := message.Parse(h, s.Data)
	if err != nil || sa == nil || sa.in == nil || outer.SK == nil {
		return "closed"
	}
	plain, err := sa.in.Open(slices.Clone(s.Data), outer.SK.Offset)
	if err != nil {
		return "garbled"
	}
	p, err := message.ParseInner(outer.SK.Inner, plain)
	switch {
	case err != nil:
		return "broken"
	case p.FirstError() != nil:
		return p.FirstError().Type.String()
	case len(p.Deletes) > 0:
		return "delete"
	case h.Exchange == message.CreateChildSA && h.Response():
		return "made"
	case h.Exchange == message.CreateChildSA && p.Notify(message.RekeySA) != nil:
		return "rekey"
	case h.Exchange == message.CreateChildSA && p.SA[0].Protocol == message.ProtoIKE:
		return "rekey-ike"
	case h.Exchange == message.CreateChildSA:
		return "create"
	}
	return "empty"
}

// end lets all that is under way arrive, the network be whole again and some
// minutes pass; then both sides must agree on what there is, and their owners too.
func (d *duel) end(children, ikes int) {
	d.t.Helper()
	d.w.drop, d.w.taskDelay = nil, time.Millisecond
	for _, from := range []*node{d.a, d.b} {
		for _, s := range d.air[from] {
			d.w.send(from, s)
		}
	}
	d.w.run(4*time.Minute, nil)
	if len(d.a.kernel) != children || len(d.b.kernel) != children {
		d.t.Fatalf("%s: %d and %d children, want %d%s%s", d.name, len(d.a.kernel), len(d.b.kernel), children, d.a.dump(), d.b.dump())
	}
	agree(d.t, d.a, d.b, children)
	for _, n := range []*node{d.a, d.b} {
		up := 0
		for _, i := range n.m.Snapshot() {
			if i.State != "established" || i.Outstanding != "" {
				d.t.Errorf("%s: %s has an IKE SA that is %s, with %q under way", d.name, n.name, i.State, i.Outstanding)
			}
			up++
		}
		if up != ikes || n.m.Stats().Established != ikes || n.m.Stats().Children != children {
			d.t.Errorf("%s: %s has %d IKE SAs, want %d; %+v", d.name, n.name, up, ikes, n.m.Stats())
		}
		d.owner(n)
	}
}

// owner replays what a node's owner was told: it must always make sense, and end with what is there.
func (d *duel) owner(n *node) {
	d.t.Helper()
	pairs, sas := map[uint32]bool{}, map[SAID]bool{}
	for _, x := range n.log {
		switch x := x.(type) {
		case ChildUp:
			pairs[x.Child.SPIIn] = true
		case ChildRekeyed:
			if !pairs[x.OldSPIIn] {
				d.t.Errorf("%s: %s: a pair is rekeyed that is not there%s", d.name, n.name, n.dump())
			}
			delete(pairs, x.OldSPIIn)
			pairs[x.Child.SPIIn] = true
		case ChildDown:
			if !pairs[x.Child.SPIIn] {
				d.t.Errorf("%s: %s: a pair goes that is not there%s", d.name, n.name, n.dump())
			}
			delete(pairs, x.Child.SPIIn)
		case SAUp:
			sas[x.SA] = true
		case SARekeyed:
			if !sas[x.Old] {
				d.t.Errorf("%s: %s: an IKE SA is rekeyed that is not there", d.name, n.name)
			}
			delete(sas, x.Old)
			sas[x.New] = true
		case SADown:
			if !sas[x.SA] {
				d.t.Errorf("%s: %s: an IKE SA goes that is not there", d.name, n.name)
			}
			delete(sas, x.SA)
		}
	}
	for spi := range n.kernel {
		if !pairs[spi] {
			d.t.Errorf("%s: %s's owner does not know %#x%s", d.name, n.name, spi, n.dump())
		}
	}
	if len(pairs) != len(n.kernel) || len(sas) != n.m.Stats().Established {
		d.t.Errorf("%s: %s's owner believes in %d pairs and %d IKE SAs", d.name, n.name, len(pairs), len(sas))
	}
}
