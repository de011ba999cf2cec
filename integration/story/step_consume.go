package story

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"github.com/mip6/mip6/integration/lab"
)

// consume plays another Mobile IPv6 daemon, which protects signalling alone: it
// migrates the Mobility Header policies at both ends with KMADDRESS. IKE must
// follow: its next exchange goes between the new addresses.
func (s *story) consume(ctx context.Context) error {
	n, err := s.mn.node(ctx)
	if err != nil {
		return err
	}
	b := s.plan.Prefix(s.lab.Link()).Addr().As16()
	b[15] = 0x77
	other := netip.AddrFrom16(b)
	// Deprecated: nothing chooses it by itself.
	if _, err := s.lab.Host(lab.MN).Output(ctx, "ip", "addr", "add", other.String()+"/128", "dev", lab.MNIface, "preferred_lft", "0"); err != nil {
		return err
	}
	p, err := s.ping()
	if err != nil {
		return err
	}
	begin := time.Now()
	err = p.answered(ctx, begin, 5*time.Second)
	if err == nil {
		err = s.followTo(ctx, "migrated by another process", other)
	}
	if err == nil {
		err = s.followTo(ctx, "migrated back by another process", n.CareOf)
	}
	up, down := p.stop()
	s.check("migrated by another process: payload goes on", err == nil && up.Lost()+down.Lost() == 0, "from the node %d of %d pings lost, to the node %d of %d", up.Lost(), len(up), down.Lost(), len(down))
	if err != nil {
		return err
	}
	return s.lab.DelAddr(lab.MN, lab.MNIface, host128(other))
}

// followTo sends the migrations to an address and checks that IKE goes there.
func (s *story) followTo(ctx context.Context, name string, to netip.Addr) error {
	hoa, ha := s.plan.HoA, s.plan.HA
	for _, host := range []string{lab.MN, lab.HA} {
		all, err := s.states(ctx, host)
		if err != nil {
			return err
		}
		var reqID uint64
		for _, x := range all {
			if x.Proto == "esp" && x.Mode == "transport" {
				if reqID, err = strconv.ParseUint(x.ReqID, 10, 32); err != nil {
					return err
				}
			}
		}
		// Toward the agent: out at the node, in at the agent.
		toAgent := migration{src: hoa, dst: ha, proto: protoMH, dir: 1, reqID: uint32(reqID), newSrc: to, newDst: ha, local: to, remote: ha}
		toNode := migration{src: ha, dst: hoa, proto: protoMH, dir: 0, reqID: uint32(reqID), newSrc: ha, newDst: to, local: to, remote: ha}
		if host == lab.HA {
			toAgent.dir, toNode.dir = 0, 1
			toAgent.local, toAgent.remote, toNode.local, toNode.remote = ha, to, ha, to
		}
		for _, m := range []migration{toAgent, toNode} {
			if err := m.send(s.lab.Host(host)); err != nil {
				return fmt.Errorf("MIGRATE on %s: %w", host, err)
			}
		}
		s.say(host, "another process sends MIGRATE with KMADDRESS %v ... %v", toNode.local, toNode.remote)
	}
	err := wait(ctx, 5*time.Second, "IKE at "+to.String(), func() error {
		local, _, err := s.mn.ikeEnds(ctx)
		if err != nil || local != to {
			return notYet(fmt.Errorf("the node's end is %v (%v)", local, err))
		}
		_, remote, err := s.ha.ikeEnds(ctx)
		if err != nil || remote != to {
			return notYet(fmt.Errorf("the agent's other end is %v (%v)", remote, err))
		}
		return nil
	})
	s.check(name+": IKE follows at both ends", err == nil, "%s", orFine(err, "mip6ctl: the IKE SA is between "+to.String()+" and "+ha.String()))
	if err != nil {
		return err
	}
	for _, by := range []*daemon{s.mn, s.ha} {
		if err := s.exchangeAt(ctx, name, by, to); err != nil {
			return err
		}
	}
	return nil
}

// exchangeAt makes an IKE exchange and checks on the wire between which addresses
// it goes.
func (s *story) exchangeAt(ctx context.Context, name string, by *daemon, at netip.Addr) error {
	before, err := s.childSPIs(ctx, "transport")
	if err != nil {
		return err
	}
	w := Window{From: time.Now()}
	if err := by.rekey(ctx, s.plan.HoA, "mh"); err != nil {
		return err
	}
	err = wait(ctx, 10*time.Second, "new SPIs", func() error {
		after, err := s.childSPIs(ctx, "transport")
		if err == nil && (len(after) != len(before) || same(after, before)) {
			err = errNotYet
		}
		return err
	})
	if err != nil {
		return err
	}
	var good, bad int
	werr := wait(ctx, 3*time.Second, "the exchange in the capture", func() error {
		w.To = time.Now()
		all, err := s.seen("mn-eth0", w, lab.Seen.IsIKE)
		good, bad = 0, 0
		for _, p := range all {
			if p.Src == at && p.Dst == s.plan.HA || p.Src == s.plan.HA && p.Dst == at {
				good++
			} else {
				bad++
			}
		}
		if err == nil && good+bad < 4 {
			err = errNotYet
		}
		return err
	})
	s.check(fmt.Sprintf("%s: the next exchange, begun by %s, goes there", name, by.host), good >= 4 && bad == 0, "%d IKE messages between %v and %v, %d between others %s", good, at, s.plan.HA, bad, orFine(werr, ""))
	return nil
}
