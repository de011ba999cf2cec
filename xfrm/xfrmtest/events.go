package xfrmtest

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/mip6/mip6/xfrm"
)

// Dump gives what is there, SAs first.
func (f *Fake) Dump(ctx context.Context, flt xfrm.Filter, each func(xfrm.Object) error) error {
	now := f.Snapshot()
	if flt.SAs {
		for _, s := range now.SAs {
			if flt.Proto != 0 && s.Proto != flt.Proto {
				continue
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := each(s); err != nil {
				return err
			}
		}
	}
	if flt.Policies {
		for _, p := range now.Policies {
			if flt.Type != nil && p.Type != *flt.Type {
				continue
			}
			if err := each(p); err != nil {
				return err
			}
		}
	}
	return nil
}

// Get gives a copy of one SA.
func (f *Fake) Get(ctx context.Context, id xfrm.ID) (xfrm.SA, error) {
	if err := ctx.Err(); err != nil {
		return xfrm.SA{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	i := f.findSA(id)
	if i < 0 || f.sas[i].Larval {
		return xfrm.SA{}, fmt.Errorf("xfrmtest: get %v: %w", id, xfrm.ErrNotFound)
	}
	return clone(f.sas[i]), nil
}

// Count adds to what an SA counts, as a packet does that it served at this time.
func (f *Fake) Count(id xfrm.ID, packets uint64, at time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if i := f.findSA(id); i >= 0 {
		f.sas[i].Stats.Packets += packets
		f.sas[i].Stats.LastUsed = at
	}
}

// Snapshot gives a copy of the databases, larval SAs included, in the order in
// which the objects were put.
func (f *Fake) Snapshot() xfrm.Snapshot {
	f.mu.Lock()
	defer f.mu.Unlock()
	var now xfrm.Snapshot
	for _, s := range f.sas {
		now.SAs = append(now.SAs, clone(s))
	}
	for _, p := range f.policies {
		p.Templates = slices.Clone(p.Templates)
		now.Policies = append(now.Policies, p)
	}
	return now
}

// Peek gives the databases themselves, not a copy: only to be read, and only until the next
// change, by a caller who is alone.
func (f *Fake) Peek() xfrm.Snapshot {
	f.mu.Lock()
	defer f.mu.Unlock()
	return xfrm.Snapshot{SAs: f.sas, Policies: f.policies}
}

// Log gives the operations carried out so far and forgets them.
func (f *Fake) Log() []xfrm.Op {
	f.mu.Lock()
	defer f.mu.Unlock()
	log := f.log
	f.log = nil
	return log
}

// Watch delivers events in order until ctx ends. Events from before the call are
// not seen; Watching tells when it has begun.
func (f *Fake) Watch(ctx context.Context, sink func(xfrm.Event)) error {
	ch := make(chan xfrm.Event, 1024)
	f.mu.Lock()
	id := f.next
	f.next++
	f.sinks[id] = ch
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		delete(f.sinks, id)
		f.mu.Unlock()
	}()
	for {
		select {
		case ev := <-ch:
			sink(ev)
		case <-ctx.Done():
			return nil
		}
	}
}

// Watching is the number of Watch calls under way.
func (f *Fake) Watching() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.sinks)
}

// Emit delivers an event to the watchers, as if the databases had told it. A
// watcher that is 1024 events behind gets Lost with what fits next.
func (f *Fake) Emit(ev xfrm.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.emit(ev)
}

func (f *Fake) emit(ev xfrm.Event) {
	if f.Tell != nil {
		f.Tell(ev)
	}
	for id := range f.next { // in the order of the Watch calls
		ch, ok := f.sinks[id]
		if !ok {
			continue
		}
		select {
		case ch <- ev:
		default:
			<-ch
			ch <- xfrm.Lost{}
		}
	}
}

// Miss does what a packet does that meets the policy while no state fits its i-th
// template: a larval SA and an Acquire, or nothing where one is pending already.
// It gives the sequence number of the acquire, 0 for none.
func (f *Fake) Miss(id xfrm.PolicyID, i int, packet xfrm.Selector) uint32 {
	f.mu.Lock()
	defer f.mu.Unlock()
	j := f.findPolicy(id)
	if j < 0 || i >= len(f.policies[j].Templates) {
		return 0
	}
	p := f.policies[j]
	t := p.Templates[i]
	src, dst := t.Src, t.Dst
	if t.Mode != xfrm.Tunnel {
		src, dst = packet.Src.Addr(), packet.Dst.Addr()
	}
	for _, s := range f.sas {
		if s.Src == src && s.Dst == dst && s.Proto == t.Proto && s.Mode == t.Mode && s.ReqID == t.ReqID {
			return 0
		}
	}
	f.seq++
	f.sas = append(f.sas, xfrm.SA{Src: src, Dst: dst, Proto: t.Proto, Mode: t.Mode, ReqID: t.ReqID, Acquire: f.seq, Larval: true})
	f.emit(xfrm.Acquire{Seq: f.seq, Src: src, Dst: dst, Proto: t.Proto, Policy: p, Sel: packet, Template: t})
	return f.seq
}

// Age reaches a limit of an SA: a soft one tells, a hard one removes and tells.
func (f *Fake) Age(id xfrm.ID, hard bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := f.findSA(id)
	if i < 0 {
		return
	}
	s := clone(f.sas[i])
	if hard {
		f.sas = slices.Delete(f.sas, i, i+1)
	}
	s.AEAD, s.Crypt, s.Auth = xfrm.AEAD{}, xfrm.Crypt{}, xfrm.Auth{}
	f.emit(xfrm.Expire{SA: s, Hard: hard})
}

// Use sets the sequence numbers of an SA, as traffic does.
func (f *Fake) Use(id xfrm.ID, oseq, seq uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if i := f.findSA(id); i >= 0 {
		f.sas[i].Replay.OSeq, f.sas[i].Replay.Seq = oseq, seq
	}
}
