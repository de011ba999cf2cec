package daemon

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"slices"

	"github.com/mip6/mip6/ike"
	"github.com/mip6/mip6/internal/couple"
	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/internal/ledger"
	"github.com/mip6/mip6/xfrm"
)

// do carries out what the machines want. It runs on the loop and must not block:
// what takes time goes to an executor and comes back as an event.
func (d *daemon) do(acts []couple.Action) {
	for _, a := range acts {
		switch a := a.(type) {
		case couple.Xfrm:
			d.work.do(a.Key, func() { d.doXfrm(a) })
		case couple.Host:
			d.work.do(a.Key, func() { d.doHost(a) })
		case couple.AllocSPI:
			d.work.do(a.Key, func() {
				spi, err := d.backend.AllocSPI(context.Background(), a.Want)
				d.loop.Post(couple.SPIDone{Token: a.Token, SPI: spi, Err: err})
			})
		case couple.ProbeDAD:
			d.probes.do(a.Addr, func() { d.doDAD(a) })
		case couple.IKE:
			d.doIKE(a.Action)
		case couple.SaveMN:
			d.check("save to the ledger", d.journal.saveMN(a.Record))
		case couple.SaveHA:
			d.check("save to the ledger", d.journal.saveHA(a.Record))
		case couple.SaveRoute:
			d.check("save to the ledger", d.journal.saveRoute(a.Record))
		case couple.SaveCN:
			d.check("save to the ledger", d.journal.saveCN(a.Record))
		case couple.ForgetCN:
			d.check("save to the ledger", d.journal.forgetCN(a.Local, a.Home))
		case couple.ForgetRoute:
			d.check("save to the ledger", d.journal.forgetRoute(a.Home, a.Remote))
		case couple.Usage:
			d.apart(func() { d.doUsage(a) })
		case couple.Forget:
			d.check("save to the ledger", d.journal.forget(a.Key, a.HA))
		case couple.Note:
			d.note(a)
		case couple.Stopped:
			close(d.stopped)
		}
	}
}

// apart runs a job beside all others. It is for the loop's goroutine.
func (d *daemon) apart(job func()) {
	d.nextJob++
	d.aside.do(d.nextJob, job)
}

func (d *daemon) check(what string, err error) {
	if err != nil {
		d.log.Error(what, "error", err)
	}
}

func (d *daemon) doXfrm(a couple.Xfrm) {
	d.logKeys(a.Ops)
	errs := d.applyXfrm(context.Background(), a.Ops)
	for i, err := range errs {
		if err != nil {
			d.log.Warn("IPsec databases", "home", a.Key, "operation", opText(a.Ops[i]), "error", err)
		}
	}
	if a.Token.Owner != couple.Nobody {
		d.loop.Post(couple.Done{Token: a.Token, Kind: couple.XfrmDone, Errs: errs})
	}
}

func (d *daemon) doHost(a couple.Host) {
	errs := d.applyHost(context.Background(), a.Ops)
	for i, err := range errs {
		if err != nil {
			level := slog.LevelWarn
			if _, sends := a.Ops[i].(host.SendMH); sends {
				level = slog.LevelDebug // to a stranger, perhaps: as many as it likes
			}
			d.log.Log(context.Background(), level, "host", "home", a.Key, "operation", hostOpText(a.Ops[i]), "error", err)
		}
	}
	if a.Token.Owner != couple.Nobody {
		d.loop.Post(couple.Done{Token: a.Token, Kind: couple.HostDone, Errs: errs})
	}
}

// applyXfrm and applyHost change the databases and the host, with the ledger told.
func (d *daemon) applyXfrm(ctx context.Context, ops []xfrm.Op) []error {
	return recorded(d.journal, ops, ledger.FromXfrm, func() []error { return d.backend.Apply(ctx, ops) })
}

func (d *daemon) applyHost(ctx context.Context, ops []host.Op) []error {
	return recorded(d.journal, ops, ledger.FromHost, func() []error { return d.host.Apply(ctx, ops) })
}

// recorded applies operations with the ledger written around them: what is put in
// is there before, since nobody would find it after a crash; what is removed
// leaves it afterwards, and stays where it could not be removed.
func recorded[Op any](j *journal, ops []Op, changes func(Op) []ledger.Change, apply func() []error) []error {
	var all []ledger.Change
	for _, op := range ops {
		all = append(all, changes(op)...)
	}
	before, after := ledger.Split(all)
	if err := j.write(before); err != nil {
		errs := make([]error, len(ops))
		for i := range errs {
			errs[i] = err
		}
		return errs
	}
	errs := apply()
	for i, op := range ops {
		if errs[i] == nil {
			continue
		}
		for _, c := range changes(op) {
			after = slices.DeleteFunc(after, func(x ledger.Change) bool { return x.Kind == c.Kind && x.Key == c.Key })
		}
	}
	if err := j.write(after); err != nil {
		j.log.Error("save to the ledger", "error", err)
	}
	return errs
}

// doUsage looks how much a path was used. A state that is not there was not.
func (d *daemon) doUsage(a couple.Usage) {
	ctx := context.Background()
	done := couple.UsageDone{Token: a.Token, Local: a.Local, Remote: a.Remote}
	for _, id := range a.IDs {
		if sa, err := d.backend.Get(ctx, id); err == nil {
			done.Stats = append(done.Stats, sa.Stats)
		}
	}
	if a.Counter {
		n, err := d.host.Count(ctx, a.Local, a.Remote)
		if err != nil { // it cannot count: the first packet is enough
			n = math.MaxUint64
			d.noCounter.Do(func() { d.log.Warn("packets to correspondents cannot be counted", "error", err) })
		}
		done.Counted = n
	}
	d.loop.Post(done)
}

func (d *daemon) doDAD(a couple.ProbeDAD) {
	err := d.host.ProbeDAD(context.Background(), a.IfIndex, a.Addr)
	done := couple.DADDone{Token: a.Token, Duplicate: errors.Is(err, host.ErrDuplicate)}
	if !done.Duplicate {
		done.Err = err
	}
	d.loop.Post(done)
}

// doIKE does what the IKE machine cannot: it sends, and has others think.
func (d *daemon) doIKE(a ike.Action) {
	switch a := a.(type) {
	case ike.Send:
		d.history.sentIKE()
		if err := d.udp.Write(a.Data, a.Local, a.Remote); err != nil {
			d.log.Debug("IKE message not sent", "local", a.Local, "remote", a.Remote, "error", err)
		}
	case ike.Keepalive:
		if err := d.udp.Keepalive(a.Local, a.Remote); err != nil {
			d.log.Debug("keepalive for a NAT not sent", "local", a.Local, "remote", a.Remote, "error", err)
		}
	case ike.Prove:
		d.apart(func() {
			p, err := d.keys.Prove(a.Request)
			d.loop.Post(couple.FromIKE{Event: ike.Proved{ID: a.ID, Proof: p, Err: err}})
		})
	case ike.VerifyPeer:
		d.apart(func() {
			p, err := d.keys.Verify(a.Request)
			d.loop.Post(couple.FromIKE{Event: ike.PeerVerified{ID: a.ID, Peer: p, Err: err}})
		})
	case ike.Encapsulate:
		d.apart(func() {
			ct, shared, err := a.Method.Encapsulate(a.Public)
			d.loop.Post(couple.FromIKE{Event: ike.Encapsulated{ID: a.ID, Ciphertext: ct, Shared: shared, Err: err}})
		})
	case ike.Keys:
		d.keylog.ikeSA(a)
	}
}

// logKeys gives the keys of new SAs to the key log, where there is one.
func (d *daemon) logKeys(ops []xfrm.Op) {
	for _, op := range ops {
		if p, ok := op.(xfrm.PutSA); ok {
			d.keylog.espSA(p.SA)
		}
	}
}
