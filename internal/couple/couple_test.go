package couple

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/mip6/mip6/ike"
	"github.com/mip6/mip6/ike/message"
	"github.com/mip6/mip6/mn"
	"github.com/mip6/mip6/xfrm"
)

// standing are the lines of both children of the first KeyUp.
const standing = `
	note IKE SA established
	put src HA dst HOA spi a01 reqid MH mode transport
	put src HOA dst HA spi b01 reqid MH mode transport
	note child SA established
	put src HA dst COA1 spi a02 reqid PAYLOAD mode tunnel
	put src COA1 dst HA spi b02 reqid PAYLOAD mode tunnel
	note child SA established`

// TestKeyUp: one IKE SA with all children; what stands is not made again.
func TestKeyUp(t *testing.T) {
	r := newRig(t)
	r.up()
	r.want("IKE SA and children, inbound first", standing)
	if r.sent != 6 || r.ends() != "COA1-HA" || len(r.role.Info().Children) != 2 || !r.role.Info().Keys {
		t.Errorf("%d messages, %s, role %+v", r.sent, r.ends(), r.role.Info())
	}
	r.up()
	r.want("nothing lacks", "")
	spi := uint32(r.role.Info().Children[1].InSPI)
	r.n.tellIKE(ike.CloseChild{SA: r.n.homes[hoa].newest().id, SPIIn: spi})
	r.wish()
	r.want("closed", "del dst COA1 spi a02\ndel dst HA spi b02\nnote child SA is gone")
	r.up()
	r.want("one lacks", `
		put src HA dst COA1 spi a03 reqid PAYLOAD mode tunnel
		put src COA1 dst HA spi b03 reqid PAYLOAD mode tunnel
		note child SA established`)
	if r.n.Stats() != (Stats{Homes: 1, IKESAs: 1, Installed: 2}) {
		t.Errorf("%+v", r.n.Stats())
	}
}

// TestKeyUpTells: the role forgot the children of an IKE SA that went; those of the one that stands are told.
func TestKeyUpTells(t *testing.T) {
	r := newRig(t)
	r.up()
	r.n.tellMN(&r.n.cfg.MNs[0], mn.KeysDown{Handle: r.n.homes[hoa].newest().handle})
	if i := r.role.Info(); i.Keys || len(i.Children) != 0 {
		t.Fatalf("%+v", i)
	}
	from := r.sent
	r.up()
	if i := r.role.Info(); !i.Keys || len(i.Children) != 2 || r.sent != from {
		t.Errorf("%d messages, role %+v", r.sent-from, i)
	}
}

// TestKeyUpAgain: what is under way counts no more when the role asks from elsewhere.
func TestKeyUpAgain(t *testing.T) {
	r := newRig(t)
	r.cut = true
	r.up()
	r.wish(mn.KeyUp{Home: hoa, HomeAgent: agent, CareOf: coa2, Children: children()})
	if s := r.n.cfg.IKE.Snapshot(); len(s) != 1 || s[0].Local.Addr() != coa2 || r.n.Stats().Initiates != 1 {
		t.Errorf("%+v %+v", s, r.n.Stats())
	}
	r.wish(mn.KeyDown{Home: hoa, Silent: true, Old: true})
	if s := r.n.cfg.IKE.Snapshot(); len(s) != 0 || r.n.Stats() != (Stats{Homes: 1}) {
		t.Errorf("after KeyDown %+v %+v", s, r.n.Stats())
	}
}

// TestKeyDown, in its three ways.
func TestKeyDown(t *testing.T) {
	for _, c := range []struct {
		name        string
		silent, old bool
		messages    int
		want        string
	}{
		{"with Delete", false, false, 2, "del HOA a01, del HA b01, del COA1 a02, del HA b02"},
		{"silent", true, false, 0, "del HOA a01, del HA b01, del COA1 a02, del HA b02"},
		{"silent, children stay", true, true, 0, ""},
	} {
		r := newRig(t)
		r.up()
		from := r.sent
		r.log = nil
		r.wish(mn.KeyDown{Home: hoa, Silent: c.silent, Old: c.old})
		var dels []string
		for _, l := range r.log {
			if f := strings.Fields(l); f[0] == "del" {
				dels = append(dels, "del "+f[2]+" "+f[4])
			}
		}
		if got := strings.Join(dels, ", "); got != c.want || r.sent-from != c.messages || r.n.Stats().IKESAs != 0 {
			t.Errorf("%s: %s; %d messages; %+v", c.name, got, r.sent-from, r.n.Stats())
		}
	}
}

// TestMakeBeforeBreak: children that outlive their IKE SA go when those of the next stand: the outbound
// SA at once, the inbound one when nothing can be under way to it any more.
func TestMakeBeforeBreak(t *testing.T) {
	r := newRig(t)
	r.up()
	r.wish(mn.KeyDown{Home: hoa, Silent: true, Old: true})
	r.log = nil
	r.wish(mn.KeyUp{Home: hoa, HomeAgent: agent, CareOf: coa2, Children: children()})
	r.want("new ones", `
		note IKE SA established
		put src HA dst HOA spi a03 reqid MH mode transport
		put src HOA dst HA spi b03 reqid MH mode transport
		note child SA established
		del dst HA spi b01
		note child SA is gone
		put src HA dst COA1 spi a04 reqid PAYLOAD mode tunnel
		put src COA1 dst HA spi b04 reqid PAYLOAD mode tunnel
		note child SA established
		del dst HA spi b02
		note child SA is gone`)
	r.wait(lingerTime - time.Millisecond)
	r.want("they linger", "")
	r.wait(time.Millisecond)
	r.want("and go", "del dst HOA spi a01\ndel dst COA1 spi a02")
}

// rekeyByPeer lets the peer rekey the payload child; del tells whether its Delete arrives.
func rekeyByPeer(t *testing.T, del bool) *rig {
	r := newRig(t)
	r.up()
	r.log = nil
	var spi uint32
	for _, c := range r.peer.Snapshot()[0].Children {
		if c.Child.Name == namePayload {
			spi = c.Child.SPIIn
		}
	}
	r.doPeer(r.peer.Step(r.now, ike.RekeyChild{SA: r.peer.Snapshot()[0].SA, SPIIn: spi}, nil))
	for n := 0; len(r.queue) > 0; n++ { // the exchange, and no more
		if !del && len(r.log) > 1 {
			r.cut = true
		}
		do := r.queue[0]
		r.queue = r.queue[1:]
		do()
	}
	return r
}

// TestHold: a responder sends by the new pair when the peer has it for sure, or after a while.
func TestHold(t *testing.T) {
	const held = `
		put src HA dst COA1 spi a03 reqid PAYLOAD mode tunnel
		note child SA rekeyed`
	r := rekeyByPeer(t, false)
	r.want("the answer may be lost", held)
	r.wait(holdTime - time.Millisecond)
	r.want("it is held", "")
	r.wait(time.Millisecond)
	r.want("long enough", "put src COA1 dst HA spi b03 reqid PAYLOAD mode tunnel")

	r = rekeyByPeer(t, true)
	r.want("the peer deletes the old pair", held+`
		put src COA1 dst HA spi b03 reqid PAYLOAD mode tunnel
		del dst HA spi b02`)
	r.wait(lingerTime)
	r.want("the old inbound one", "del dst COA1 spi a02")
}

// migrations are those of the payload policies, with endpoints or without.
func migrations(from, to netip.Addr, km bool) (out []xfrm.Op) {
	for _, dir := range []xfrm.Dir{xfrm.Out, xfrm.In} {
		all, home := netip.PrefixFrom(netip.IPv6Unspecified(), 0), netip.PrefixFrom(hoa, 128)
		m := xfrm.Migration{Policy: xfrm.PolicyID{Dir: dir, Sel: xfrm.Selector{Src: home, Dst: all}},
			Moves: []xfrm.Move{{OldSrc: from, OldDst: agent, NewSrc: to, NewDst: agent, Proto: xfrm.ESP, Mode: xfrm.Tunnel, ReqID: ids.Payload}}}
		if dir == xfrm.In {
			m.Policy.Sel.Src, m.Policy.Sel.Dst = all, home
			m.Moves[0].OldSrc, m.Moves[0].OldDst, m.Moves[0].NewSrc, m.Moves[0].NewDst = agent, from, agent, to
		}
		if km {
			m.Endpoints = &xfrm.Endpoints{Local: to, Remote: agent}
		}
		out = append(out, xfrm.Migrate{Migration: m})
	}
	return out
}

func (r *rig) move(from, to netip.Addr) {
	r.wish(mn.Xfrm{Home: hoa, Ops: migrations(from, to, true)}, mn.KeyMoved{Home: hoa, HomeAgent: agent, CareOf: to})
	r.log = nil
}

// hear gives the notifications of migrations.
func (r *rig) hear(ops []xfrm.Op) {
	for _, op := range ops {
		r.step(FromXfrm{xfrm.Migrated{Migration: op.(xfrm.Migrate).Migration}})
	}
}

// TestKeyMoved: the IKE SA follows without a message, and new children are put where the tunnel is.
func TestKeyMoved(t *testing.T) {
	r := newRig(t)
	r.up()
	from := r.sent
	r.move(coa1, coa2)
	if r.ends() != "COA2-HA" || r.sent != from {
		t.Errorf("%s after %d messages", r.ends(), r.sent-from)
	}
	r.wish(mn.KeyDown{Home: hoa, Silent: true})
	r.want("the children are where they were moved to", `
		del dst HOA spi a01
		del dst HA spi b01
		note child SA is gone
		del dst COA2 spi a02
		del dst HA spi b02
		note child SA is gone
		note IKE SA is gone
		note the IKE SA with the home agent is down`)
}

// TestEcho: the notification of our own migration is not another program's, even when it comes
// after a newer move.
func TestEcho(t *testing.T) {
	r := newRig(t)
	r.up()
	r.log = nil
	r.move(coa1, coa2)
	r.hear(migrations(coa1, coa2, true))
	r.want("echo", "")
	r.move(coa2, coa1)
	r.move(coa1, coa2)
	r.move(coa2, coa1)
	for _, m := range [][]xfrm.Op{migrations(coa2, coa1, true), migrations(coa1, coa2, true), migrations(coa2, coa1, true)} {
		r.hear(m)
		if r.ends() != "COA1-HA" {
			t.Fatalf("a late echo moved the IKE SA to %s", r.ends())
		}
	}
	r.want("late echoes", "")
	if r.n.Stats().Echoes != 0 {
		t.Errorf("%+v", r.n.Stats())
	}
	// An echo that never came (the migration failed) does not count for ever.
	r.move(coa1, coa2)
	r.wait(echoTime + time.Second)
	r.move(coa2, coa1)
	r.hear(migrations(coa2, coa1, true))
	r.hear(migrations(coa1, coa2, true))
	if r.ends() != "COA2-HA" {
		t.Errorf("another program's migration is taken for an old echo: %s", r.ends())
	}
}

// TestForeignMigration: with KMADDRESS it moves the IKE SA, without it only the SAs have moved.
func TestForeignMigration(t *testing.T) {
	const told = "note another program migrated an SA of ours\nnote another program migrated an SA of ours"
	for _, c := range []struct {
		km   bool
		ends string
	}{{true, "COA2-HA"}, {false, "COA1-HA"}} {
		r := newRig(t)
		r.up()
		r.log = nil
		r.hear(migrations(coa1, coa2, c.km))
		r.want("notes", told)
		if r.ends() != c.ends {
			t.Errorf("KMADDRESS %v: %s", c.km, r.ends())
		}
		r.wish(mn.KeyDown{Home: hoa, Silent: true})
		if !strings.Contains(strings.Join(r.log, "\n"), "del dst COA2 spi a02") {
			t.Errorf("the inbound SA is not removed where it is: %v", r.log)
		}
	}
	r := newRig(t)
	r.up()
	r.log = nil
	other := migrations(coa1, coa2, true)[:1]
	m := other[0].(xfrm.Migrate).Migration
	m.Moves[0].ReqID = 99
	r.hear([]xfrm.Op{xfrm.Migrate{Migration: m}})
	r.want("of no SA of ours", "")
	if r.ends() != "COA1-HA" {
		t.Error(r.ends())
	}
}

// TestInitialContact: an agent that restarted makes new keys; the old IKE SA goes without a message, its
// children when the new ones are in.
func TestInitialContact(t *testing.T) {
	r := newRig(t)
	r.up()
	r.log = nil
	r.restartPeer()
	all := []message.Selector{message.PrefixSelector(anywhere, 0)}
	home := []message.Selector{message.PrefixSelector(only(hoa), 0)}
	mh := []message.Selector{message.PrefixSelector(only(hoa), protoMH)}
	mhAgent := []message.Selector{message.PrefixSelector(only(agent), protoMH)}
	r.peerDoes(ike.Initiate{Req: 1, Conn: "c", Local: r.n.port(agent), Remote: r.n.port(coa1), InitialContact: true,
		Children: []ike.ChildWant{{Name: nameMH, Mode: ike.Transport, ReqID: 7, Local: mhAgent, Remote: mh},
			{Name: namePayload, Mode: ike.Tunnel, ReqID: 8, Local: all, Remote: home}}})
	r.want("new keys", `
		note IKE SA established
		put src HA dst HOA spi a03 reqid MH mode transport
		note first contact of a peer; what it had here before is dropped
		note IKE SA is gone
		note child SA established
		note child SA is gone
		put src HA dst COA1 spi a04 reqid PAYLOAD mode tunnel
		note child SA established
		note child SA is gone`)
	if r.n.Stats().IKESAs != 1 || r.ends() != "COA1-HA" {
		t.Errorf("%s %+v", r.ends(), r.n.Stats())
	}
	r.wait(lingerTime)
	r.want("the old ones", `
		put src HOA dst HA spi b03 reqid MH mode transport
		put src COA1 dst HA spi b04 reqid PAYLOAD mode tunnel
		del dst HA spi b01
		del dst HA spi b02
		del dst HOA spi a01
		del dst COA1 spi a02`)
	if len(r.role.Info().Children) != 2 || r.n.Stats() != (Stats{Homes: 1, IKESAs: 1, Installed: 2}) {
		t.Errorf("%+v %+v", r.role.Info().Children, r.n.Stats())
	}
}

// TestStop: the role first, which needs its keys, then IKE with its Delete, then what is left.
func TestStop(t *testing.T) {
	for _, cut := range []bool{false, true} {
		r := newRig(t)
		r.step(Start{})
		r.up()
		r.wish(mn.KeyDown{Home: hoa, Silent: true, Old: true})
		r.wish(mn.KeyUp{Home: hoa, HomeAgent: agent, CareOf: coa1, Children: children()[:1]})
		r.log = nil
		r.cut = cut
		from := r.sent
		r.n.now = r.now
		r.n.beginStop()
		if r.n.stop.closing || r.sent != from {
			t.Error("IKE ends before the role has")
		}
		r.do(r.n.stopTick(r.n.pump(nil)))
		r.settle()
		r.want("all goes, what lingers and what outlived its IKE SA too", `
			del dst HOA spi a01
			del dst HOA spi a03
			del dst HA spi b03
			note child SA is gone
			note IKE SA is gone
			del dst COA1 spi a02
			del dst HA spi b02
			del policy dir out src ::/0 dst ::/0 proto 58 type 136
			del policy dir out src ::/0 dst ::/0 proto 58 type 135
			del policy dir in src ::/0 dst ::/0 proto 58 type 136
			del policy dir in src ::/0 dst ::/0 proto 58 type 135
			stopped`)
		if s := r.n.Stats(); s != (Stats{Homes: 1}) || r.sent == from {
			t.Errorf("%d messages, %+v", r.sent-from, s)
		}
	}
}

// TestStartStale: SAs of an earlier run stay until others take their place; those without a record go.
func TestStartStale(t *testing.T) {
	r := newRig(t)
	sa := xfrm.SA{Src: agent, Dst: hoa, SPI: 0xc01, Proto: xfrm.ESP, Mode: xfrm.Transport, ReqID: ids.MH}
	other := sa
	other.SPI, other.ReqID = 0xc02, ids.MH+2
	r.step(Start{MN: []mn.Record{{Home: hoa, HomeAgent: agent, ReqIDs: ids}}, SAs: []xfrm.SA{sa, other}})
	if got := strings.Join(r.log, "\n"); !strings.Contains(got, "del dst HOA spi c02") || strings.Contains(got, "c01") || r.n.Stats().Stale != 1 {
		t.Errorf("%s\n%+v", got, r.n.Stats())
	}
	r.up()
	r.wait(lingerTime)
	if got := strings.Join(r.log, "\n"); !strings.Contains(got, "del dst HOA spi c01") || r.n.Stats().Stale != 0 {
		t.Errorf("%s\n%+v", got, r.n.Stats())
	}
}

// TestTurnedAway: ten notes a second, and the number of the others.
func TestTurnedAway(t *testing.T) {
	r := newRig(t)
	refused := func(n int) {
		for range n {
			r.n.now = r.now
			r.do(r.n.doIKE(ike.Refused{Reason: "does not verify"}, nil))
		}
	}
	count := func() (notes, sums int) {
		for _, l := range r.log {
			switch l {
			case "note IKE refused a peer":
				notes++
			case "note more peers were refused than are told of one by one":
				sums++
			default:
				t.Error(l)
			}
		}
		r.log = nil
		return
	}
	refused(1000)
	if n, s := count(); n != refusalNotes || s != 0 {
		t.Error(n, s)
	}
	r.wait(time.Second)
	if n, s := count(); n != 0 || s != 1 || !r.n.Deadline().IsZero() {
		t.Error("the sum", n, s, r.n.Deadline())
	}
	refused(refusalNotes)
	if n, s := count(); n != refusalNotes || s != 0 || !r.n.Deadline().IsZero() {
		t.Error("the next second", n, s)
	}
	r.now = r.now.Add(time.Hour)
	refused(3)
	if n, s := count(); n != 3 || s != 0 {
		t.Error("later", n, s)
	}
}
