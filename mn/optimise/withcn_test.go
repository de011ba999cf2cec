package optimise

import (
	"net/netip"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/mip6/mip6/cn"
	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/mobility/rr"
	"github.com/mip6/mip6/xfrm"
)

// duo is our mobile node and our correspondent, with what is between them.
type duo struct {
	t     *testing.T
	now   time.Time
	mn    *Machine
	cn    *cn.Machine
	queue []event
	order int
	log   []string

	loc    netip.Addr
	speaks bool
	node   Route    // in effect
	peer   cn.Route // in effect
	down   bool     // the correspondent's program
	keys   bool
}

func newDuo(t *testing.T, rule Rule, peers ...cn.Peer) *duo {
	d := &duo{t: t, now: epoch, speaks: true}
	var err error
	if d.mn, err = New(Config{Home: hoa, HomeAgent: ha, Rules: []Rule{rule}}, chance(1)); err != nil {
		t.Fatal(err)
	}
	d.startCN(peers...)
	d.toMN(Restored{})
	return d
}

func (d *duo) startCN(peers ...cn.Peer) {
	var err error
	cfg := cn.Config{Locals: []netip.Prefix{netip.PrefixFrom(cn1, 128)}, Peers: peers, FirstReqID: 500}
	if d.cn, err = cn.New(cfg, chance(2), 3); err != nil {
		d.t.Fatal(err)
	}
	d.down = false
	d.toCN(cn.Start{})
}

func (d *duo) bad(format string, args ...any) {
	d.t.Helper()
	d.t.Fatalf(stamp(d.now)+" "+format+"\n%s", append(args, strings.Join(d.log[max(0, len(d.log)-60):], "\n"))...)
}

func (d *duo) after(wait time.Duration, do func()) {
	d.order++
	d.queue = append(d.queue, event{d.now.Add(wait), d.order, do})
}

func (d *duo) toMN(ev Event) { d.fromMN(d.mn.Step(d.now, ev, nil)) }

func (d *duo) toCN(ev cn.Event) {
	if !d.down {
		d.fromCN(d.cn.Step(d.now, ev, nil))
	}
}

func (d *duo) fromMN(acts []Action) {
	for _, a := range acts {
		d.log = append(d.log, stamp(d.now)+" MN "+strings.TrimSpace(actionText(a)))
		switch a := a.(type) {
		case Host:
			d.fromNode(a.Ops[0].(host.SendMH).MH)
		case Route:
			id := a.ID
			a.ID = 0
			d.node = a
			d.after(0, func() { d.toMN(RouteDone{ID: id}) })
		case AskUse:
			last := d.now
			if !d.speaks {
				last = time.Time{}
			}
			d.after(0, func() { d.toMN(Used{ID: a.ID, Last: last}) })
		case KeyUp:
			d.after(60*time.Millisecond, func() {
				if d.down {
					d.after(time.Second, func() { d.toMN(KeysDown{Remote: cn1, Reason: "no answer"}) })
					return
				}
				d.toCN(cn.Authorise{ID: 1, Identity: "mn", CareOf: a.CareOf, Transport: true, Proto: a.Proto,
					Local:  []cn.Selector{{EndPort: 65535, Start: cn1, End: cn1}},
					Remote: []cn.Selector{{EndPort: 65535, Start: hoa, End: hoa}}})
			})
		}
	}
}

// fromNode carries a message to the correspondent; its host tells the care-of address that stood on the wire.
func (d *duo) fromNode(mh host.MH) {
	wait := 10 * time.Millisecond
	switch {
	case mh.CareOf.IsValid():
	case mh.Src == hoa && d.node.Protect != 0 && d.node.Ack: // by the policies
		mh.CareOf = d.node.CareOf
	case mh.Src == hoa && d.loc != hoa:
		wait += 15 * time.Millisecond
	}
	if mh.CareOf.IsValid() && mh.CareOf != d.loc {
		return
	}
	d.after(wait, func() { d.toCN(cn.MHReceived{MH: mh}) })
}

func (d *duo) fromCN(acts []cn.Action) {
	for _, a := range acts {
		switch a := a.(type) {
		case cn.Host:
			for _, op := range a.Ops {
				if s, ok := op.(host.SendMH); ok {
					d.fromPeer(s.MH)
				}
			}
		case cn.Route:
			id := a.ID
			a.ID = 0
			d.peer = a
			d.after(0, func() { d.toCN(cn.RouteDone{ID: id}) })
		case cn.AskUse:
			e := cn.Used{ID: a.ID, Last: d.now}
			if !d.speaks {
				e.Last = time.Time{}
			}
			d.after(0, func() { d.toCN(e) })
		case cn.Authorised:
			if a.Err != nil {
				d.bad("not authorised: %v", a.Err)
			}
			d.keys = true
			d.after(10*time.Millisecond, func() { d.toMN(KeysUp{Remote: cn1}) })
		case cn.Changed:
			d.log = append(d.log, stamp(d.now)+" CN "+a.What+" "+name(a.Binding.CareOf)+" "+a.Reason)
		}
	}
}

// fromPeer carries a message to the mobile node, whose policies let it pass or not.
func (d *duo) fromPeer(mh host.MH) {
	dst := mh.Dst
	switch {
	case mh.CareOf.IsValid():
		dst = mh.CareOf
	case mh.Dst == hoa && d.peer.Protect != 0 && d.peer.CareOf.IsValid(): // by the policies
		dst, mh.RouteHeader = d.peer.CareOf, true
	}
	mh.CareOf = netip.Addr{}
	wait := 10 * time.Millisecond
	if dst == hoa && d.loc != hoa {
		wait += 15 * time.Millisecond
	}
	d.after(wait, func() {
		if dst != hoa && dst != d.loc || mh.RouteHeader && !d.node.Ack {
			return
		}
		if !mh.RouteHeader && mh.Dst == hoa && d.loc != hoa && d.node.Ack && d.node.Protect == 0 {
			return
		}
		d.toMN(MHReceived{mh})
	})
}

// run lets time pass; a packet leaves each 20 ms.
func (d *duo) run(wait time.Duration) {
	for end := d.now.Add(wait); d.now.Before(end); {
		next := d.now.Add(20 * time.Millisecond)
		for {
			sort.SliceStable(d.queue, func(i, j int) bool { return d.queue[i].at.Before(d.queue[j].at) })
			at := next
			if len(d.queue) > 0 && d.queue[0].at.Before(at) {
				at = d.queue[0].at
			}
			if t := d.mn.Deadline(); !t.IsZero() && t.Before(at) {
				d.now = latest(d.now, t)
				d.fromMN(d.mn.Tick(d.now, nil))
				continue
			}
			if t := d.cn.Deadline(); !d.down && !t.IsZero() && t.Before(at) {
				d.now = latest(d.now, t)
				d.fromCN(d.cn.Tick(d.now, nil))
				continue
			}
			if len(d.queue) == 0 || !d.queue[0].at.Before(next) {
				break
			}
			e := d.queue[0]
			d.queue = d.queue[1:]
			d.now = latest(d.now, e.at)
			e.do()
		}
		d.now = next
		d.packet()
	}
}

func (d *duo) packet() {
	if !d.speaks || d.loc == hoa || !d.loc.IsValid() {
		return
	}
	if !d.node.Accept && !d.node.Ack {
		d.toMN(Met{Remote: cn1, Proto: 17, Port: 9})
	}
	if d.node.Direct && (d.down || d.peer.CareOf != d.node.CareOf) {
		d.toCN(cn.Report{Report: xfrm.Report{}})
	}
}

func (d *duo) move(to netip.Addr) {
	d.loc = to
	d.toMN(Placed{})
	d.run(20 * time.Millisecond)
	if to == hoa {
		d.toMN(Placed{Place: AtHome})
		return
	}
	p := Placed{Place: Abroad, CareOf: to}
	d.toMN(p)
	p.Sent = true
	d.toMN(p)
	d.run(20 * time.Millisecond)
	p.Bound, p.Until = true, d.now.Add(time.Hour)
	d.toMN(p)
}

// direct checks that packets go directly, both ways, with the present care-of address.
func (d *duo) direct() {
	d.t.Helper()
	b, ok := d.cn.Lookup(cn1, hoa)
	if !ok || b.CareOf != d.loc || !d.node.Direct || d.node.CareOf != d.loc || d.peer.CareOf != d.loc {
		d.bad("not direct from %s: %+v; %s", name(d.loc), b, routeText(d.node))
	}
}

func (d *duo) tunnel() {
	d.t.Helper()
	if _, ok := d.cn.Lookup(cn1, hoa); ok || d.node.Direct || d.peer.CareOf.IsValid() {
		d.bad("not by the tunnel: %s", routeText(d.node))
	}
}

// TestWithCorrespondent: our two machines with each other, by each way of proof.
func TestWithCorrespondent(t *testing.T) {
	one := netip.PrefixFrom(cn1, 128)
	key := rr.Kbm{1, 2, 3}
	for _, c := range []struct {
		rule Rule
		peer []cn.Peer
	}{
		{Rule{To: one}, nil},
		{Rule{To: one, Auth: StaticKey, Key: key}, []cn.Peer{{Home: hoa, Auth: cn.StaticKey, Key: key}}},
		{Rule{To: one, Auth: IPsec, Protect: xfrm.ESP, Conn: "c", ReqID: 9}, []cn.Peer{{Home: hoa, Auth: cn.IPsec, Identity: "mn", Proto: xfrm.ESP}}},
	} {
		t.Run(c.rule.Auth.String(), func(t *testing.T) {
			d := newDuo(t, c.rule, c.peer...)
			d.move(coa1)
			d.run(300 * time.Millisecond)
			d.direct()
			for i := range 8 { // no more than MAX_UPDATE_RATE a second
				d.move([]netip.Addr{coa2, coa1, addrs["COA3"]}[i%3])
				d.run(400 * time.Millisecond)
				d.direct()
			}
			for range 20 { // renewed, again and again
				d.run(time.Minute)
				d.direct()
			}
			d.move(hoa)
			d.run(3 * time.Second)
			d.tunnel()
			d.move(coa2)
			d.run(time.Second)
			d.direct()
			d.orderlyEnd(c.peer)
			d.toMN(Stop{})
			d.run(1100 * time.Millisecond)
			d.tunnel()
			if c := d.mn.Counters(); !d.mn.s.Stopped || c.AcksRefused > 2 || c.Malformed > 0 {
				d.bad("%+v", c)
			}
		})
	}
}

// orderlyEnd: the correspondent stops, which it tells, and is started again after a while.
func (d *duo) orderlyEnd(peers []cn.Peer) {
	d.t.Helper()
	d.toCN(cn.Stop{})
	d.run(40 * time.Millisecond)
	if d.node.Direct {
		d.bad("packets still go directly to somebody who has ended")
	}
	d.down = true
	d.peer = cn.Route{}
	pause := 20 * time.Second
	if d.keys {
		d.toMN(KeysDown{Remote: cn1, Reason: "closed"})
		pause += retryAfter // it has asked for SAs in vain and leaves it alone for a while
	}
	d.run(5 * time.Second)
	d.startCN(peers...)
	d.run(pause)
	d.direct()
}
