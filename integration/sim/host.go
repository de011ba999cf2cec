package sim

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/mip6/mip6/cn"
	"github.com/mip6/mip6/ha"
	"github.com/mip6/mip6/ike"
	"github.com/mip6/mip6/ike/pki"
	"github.com/mip6/mip6/internal/couple"
	"github.com/mip6/mip6/mn"
	"github.com/mip6/mip6/mn/optimise"
	"github.com/mip6/mip6/mobility/protect"
	"github.com/mip6/mip6/xfrm"
	"github.com/mip6/mip6/xfrm/xfrmtest"
)

// Host is a computer: its kernel (stack and FW), its ledger, and the program while it runs.
type Host struct {
	Name string
	Home netip.Addr // of a mobile node
	FW   *xfrmtest.Fake
	Node *couple.Node // nil while the program does not run
	MN   *mn.Machine
	HA   *ha.Machine
	CN   *cn.Machine
	Opt  *optimise.Machine
	IKE  *ike.Machine

	Migrations int  // carried out by the databases
	IKESent    int  // messages of this host
	Stopped    bool // the program has taken everything down
	Starts     int

	w     *World
	agent bool
	fixed bool // a correspondent that stays where it is
	build func(*Host)
	keys  *pki.Keyring
	stack

	mnRecs  []mn.Record
	haRecs  []ha.Record
	optRecs []optimise.Record
	cnRecs  []cn.Record
	busy    map[netip.Addr]time.Time // when the executor of a key is free
	wakeAt  time.Time
	left    leftover

	leakSince, startedAt time.Time
}

// execTime is what the host takes for a batch of changes.
const execTime = time.Millisecond

// larvalTime is how long a reserved SPI waits (net.core.xfrm_acq_expires).
const larvalTime = 30 * time.Second

func (h *Host) role() string {
	if h.agent {
		return "agent"
	}
	if h.fixed {
		return "correspondent"
	}
	return "node"
}

// db is the host's databases, to be read at once.
func (h *Host) db() *xfrm.Snapshot {
	s := h.FW.Peek()
	return &s
}

// Start runs the program; after a crash it finds the ledger and the kernel as they were.
func (h *Host) Start() {
	h.Starts++
	h.Stopped = false
	h.busy = map[netip.Addr]time.Time{}
	h.wakeAt, h.leakSince, h.startedAt = time.Time{}, time.Time{}, h.w.Now
	h.build(h)
	h.w.logf("%s starts", h.Name)
	ev := couple.Start{MN: slices.Clone(h.mnRecs), HA: slices.Clone(h.haRecs), Optimise: slices.Clone(h.optRecs), CN: slices.Clone(h.cnRecs)}
	for _, s := range h.db().SAs {
		if protect.Owned(s.ReqID) && !s.Larval {
			s.AEAD, s.Crypt, s.Auth = xfrm.AEAD{}, xfrm.Crypt{}, xfrm.Auth{}
			ev.SAs = append(ev.SAs, s)
		}
	}
	h.noteLeft()
	// Who watches the host may hear of it before the machines are started, or after.
	if h.w.random.IntN(2) == 0 {
		h.tellAll()
		h.post(kernelLag, ev)
	} else {
		h.post(0, ev)
		h.tellAll()
	}
}

// Crash ends the program at once. What it had not carried out is lost.
func (h *Host) Crash() {
	h.w.logf("%s crashes", h.Name)
	h.Node, h.MN, h.HA, h.IKE, h.CN, h.Opt = nil, nil, nil, nil, nil, nil
}

// Stop ends the program in order.
func (h *Host) Stop() { h.post(0, couple.Stop{}) }

// Post gives the program an event.
func (h *Host) Post(ev couple.Event) { h.post(0, ev) }

// soon does something in a while, unless the program has ended until then.
func (h *Host) soon(d time.Duration, do func()) {
	node := h.Node
	h.w.After(d, func() {
		if h.Node == node && node != nil {
			do()
		}
	})
}

func (h *Host) post(d time.Duration, ev couple.Event) {
	h.soon(d, func() { h.carryOut(h.Node.Step(h.w.Now, ev, nil)) })
}

// exec runs a job in order with the others of its key.
func (h *Host) exec(key netip.Addr, job func()) {
	at := h.busy[key]
	if at.Before(h.w.Now) {
		at = h.w.Now
	}
	at = at.Add(execTime + h.w.jitter(execTime))
	h.busy[key] = at
	h.soon(at.Sub(h.w.Now), job)
}

// elsewhere is what the agent's machine says when payload SAs are not where its binding is.
const elsewhere = "payload keys were made for another care-of address"

// carryOut does what the machines want, as the daemon would.
func (h *Host) carryOut(acts []couple.Action) {
	for _, a := range acts {
		switch a := a.(type) {
		case couple.Xfrm:
			h.exec(a.Key, func() { h.answer(a.Token, couple.XfrmDone, h.apply(a.Ops)) })
		case couple.Host:
			h.exec(a.Key, func() {
				errs := make([]error, len(a.Ops))
				for i, op := range a.Ops {
					errs[i] = h.doHost(op)
					h.left.hostDone(op)
				}
				h.answer(a.Token, couple.HostDone, errs)
			})
		case couple.AllocSPI:
			h.exec(a.Key, func() { h.allocSPI(a) })
		case couple.ProbeDAD:
			h.soon(dadTime, func() {
				dup := slices.ContainsFunc(h.w.Hosts, func(x *Host) bool { return x != h && x.has(a.Addr) })
				h.post(0, couple.DADDone{Token: a.Token, Duplicate: dup})
			})
		case couple.IKE:
			h.doIKE(a.Action)
		case couple.SaveMN:
			h.mnRecs = slices.DeleteFunc(h.mnRecs, func(r mn.Record) bool { return r.Home == a.Key })
			h.mnRecs = append(h.mnRecs, a.Record)
		case couple.Usage:
			h.exec(netip.Addr{}, func() { h.usage(a) })
		case couple.SaveRoute:
			h.dropRoute(a.Record.Home, a.Record.Remote)
			h.optRecs = append(h.optRecs, a.Record)
		case couple.SaveCN:
			h.cnRecs = slices.DeleteFunc(h.cnRecs, func(r cn.Record) bool { return r.Local == a.Record.Local && r.Home == a.Record.Home })
			h.cnRecs = append(h.cnRecs, a.Record)
		case couple.ForgetCN:
			h.cnRecs = slices.DeleteFunc(h.cnRecs, func(r cn.Record) bool { return r.Local == a.Local && r.Home == a.Home })
		case couple.ForgetRoute:
			h.dropRoute(a.Home, a.Remote)
		case couple.SaveHA:
			h.saveHA(a)
		case couple.Forget:
			if a.HA {
				h.haRecs = slices.DeleteFunc(h.haRecs, func(r ha.Record) bool { return r.Home == a.Key })
			} else {
				h.mnRecs = slices.DeleteFunc(h.mnRecs, func(r mn.Record) bool { return r.Home == a.Key })
			}
		case couple.Note:
			if a.Msg == elsewhere { // the coupling puts them where the binding is
				h.w.fault("%s: %s %v", h.Name, a.Msg, a.Attrs)
			}
			if h.w.Log != nil && (a.Level > couple.Debug || len(a.Attrs) > 0) {
				h.w.logf("%s: %s %v", h.Name, a.Msg, a.Attrs)
			}
		case couple.Stopped:
			h.w.logf("%s stopped", h.Name)
			h.Stopped = true
		}
	}
	h.wake()
}

func (h *Host) saveHA(a couple.SaveHA) {
	for i := range h.haRecs {
		if h.haRecs[i].Home == a.Key {
			h.haRecs[i] = a.Record
			return
		}
	}
	h.haRecs = append(h.haRecs, a.Record)
}

// wake lets the machines' clock tick when they want it.
func (h *Host) wake() {
	d := h.Node.Deadline()
	if d.IsZero() || d.Equal(h.wakeAt) {
		return
	}
	if d.Before(h.w.Now) {
		d = h.w.Now
	}
	h.wakeAt = d
	h.soon(d.Sub(h.w.Now), func() {
		if h.wakeAt.Equal(d) {
			h.wakeAt = time.Time{}
			h.carryOut(h.Node.Tick(h.w.Now, nil))
		}
	})
}

func (h *Host) answer(t couple.Token, kind couple.DoneKind, errs []error) {
	if t.Owner != couple.Nobody {
		h.post(0, couple.Done{Token: t, Kind: kind, Errs: errs})
	}
	if !h.agent && !h.fixed {
		h.lookForLeak()
	}
}

// leakLimit is how long the program may take until what the home address sends is held back.
const leakLimit = 20 * time.Millisecond

// startTime is how long after a start that is not looked for: a node that was at home at the crash
// does not know yet that it is elsewhere now.
const startTime = 5 * time.Second

func (h *Host) lookForLeak() {
	switch {
	case !h.leaks():
		h.leakSince = time.Time{}
	case h.w.Now.Sub(h.startedAt) < startTime:
		h.soon(startTime, h.lookForLeak)
	case h.leakSince.IsZero():
		h.leakSince = h.w.Now
		h.soon(leakLimit, h.lookForLeak)
	case h.w.Now.Sub(h.leakSince) >= leakLimit:
		h.w.fault("%s: what the home address sends leaves in the clear", h.Name)
	}
}

// doIKE sends, and thinks for the IKE machine.
func (h *Host) doIKE(a ike.Action) {
	switch a := a.(type) {
	case ike.Send:
		h.sendIKE(a)
	case ike.Prove:
		p, err := h.keys.Prove(a.Request)
		h.post(execTime, couple.FromIKE{Event: ike.Proved{ID: a.ID, Proof: p, Err: err}})
	case ike.VerifyPeer:
		p, err := h.keys.Verify(a.Request)
		h.post(execTime, couple.FromIKE{Event: ike.PeerVerified{ID: a.ID, Peer: p, Err: err}})
	case ike.Encapsulate:
		ct, shared, err := a.Method.Encapsulate(a.Public)
		h.post(execTime, couple.FromIKE{Event: ike.Encapsulated{ID: a.ID, Ciphertext: ct, Shared: shared, Err: err}})
	}
}

// sendIKE sends past the policies, as IKE's sockets do.
func (h *Host) sendIKE(a ike.Send) {
	src, dst := a.Local.Addr(), a.Remote.Addr()
	if !h.has(src) || h.egress(src, dst) == nil {
		h.w.Count.Undeliverable++
		h.w.logf("%s: IKE cannot be sent from %v", h.Name, src)
		return
	}
	h.IKESent++
	data := slices.Clone(a.Data)
	h.w.transit(Packet{Kind: IKE, From: h, Src: src, Dst: dst, What: h.Name + ikeName(data)}, func() {
		to := h.w.owner(dst)
		if to == nil {
			h.w.Count.Undeliverable++
			return
		}
		to.post(0, couple.FromIKE{Event: ike.Datagram{Local: a.Remote, Remote: a.Local, Data: data}})
	})
}

func ikeName(data []byte) string {
	if len(data) < 20 {
		return " ?"
	}
	s := map[byte]string{34: " SA_INIT", 35: " AUTH", 36: " CREATE_CHILD", 37: " INFORMATIONAL"}[data[18]]
	if data[19]&0x20 != 0 {
		s += " response"
	}
	return s
}

// apply changes the databases, and lets what has a lifetime end.
func (h *Host) apply(ops []xfrm.Op) []error {
	errs := h.FW.Apply(context.Background(), ops)
	for i, op := range ops {
		if h.w.Log != nil {
			h.w.logf("%s: %s", h.Name, protect.Text(op))
		}
		if errs[i] != nil {
			h.w.logf("%s: %T: %v", h.Name, op, errs[i])
			continue
		}
		h.left.xfrmDone(op)
		if p, ok := op.(xfrm.PutSA); ok && p.SA.Life.HardTime > 0 {
			h.w.After(p.SA.Life.HardTime, func() { h.age(p.SA) })
		}
	}
	return errs
}

// age ends an SA, wherever it stands now, and its copies.
func (h *Host) age(put xfrm.SA) {
	var ids []xfrm.ID
	for _, s := range h.db().SAs {
		if s.SPI == put.SPI && s.ReqID == put.ReqID && s.SameKeys(put) {
			ids = append(ids, s.ID())
		}
	}
	for _, id := range ids {
		h.FW.Age(id, true)
	}
}

func (h *Host) allocSPI(a couple.AllocSPI) {
	a.Want.SPI = xfrm.SPI(0xc0000000 | h.w.random.Uint32()>>2) // as a kernel would, at random
	spi, err := h.FW.AllocSPI(context.Background(), a.Want)
	id := xfrm.ID{Dst: a.Want.Dst, SPI: spi, Proto: a.Want.Proto}
	if err == nil {
		h.w.After(larvalTime, func() {
			for _, s := range h.db().SAs {
				if s.ID() == id && s.Larval {
					h.FW.Age(id, true)
					return
				}
			}
		})
	}
	h.post(0, couple.SPIDone{Token: a.Token, SPI: spi, Err: err})
}

// heard is told by the databases.
func (h *Host) heard(ev xfrm.Event) {
	if _, ok := ev.(xfrm.Migrated); ok {
		h.Migrations++
	}
	h.post(kernelLag, couple.FromXfrm{Event: ev})
}

var errBuild = errors.New("sim: machine")
