package story

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/mip6/mip6/integration/lab"
)

// liesToNode sends the node forged words of its correspondent: Binding Errors and Parameter
// Problems, which nothing can prove. They may cost it the direct way for a while, but no packets, and
// after the next move the correspondent must know where it is all the same.
func (s *story) liesToNode(ctx context.Context, _ *crafted) error {
	n, err := s.mn.node(ctx)
	if err != nil {
		return err
	}
	cn, hoa, coa := s.plan.CN, s.plan.HoA, n.CareOf
	h := hoa.As16()
	bindingError := func(status byte) []byte {
		return sealed(cn, cn, coa, protoMH, mhMessage(mhBE, append([]byte{status, 0}, h[:]...)...))
	}
	// The packet that it quotes: an echo request with a home address option.
	quoted := sealed(coa, hoa, cn, 58, []byte{128, 0, 0, 0, 0x11, 0x22, 0, 1})
	problem := func(code byte, at uint32) []byte {
		b := append(binary.BigEndian.AppendUint32([]byte{icmpParameterProblem, code, 0, 0}, at), quoted...)
		return sealed(cn, cn, coa, 58, b)
	}
	p, err := s.pingAnswered(ctx)
	if err != nil {
		return err
	}
	defer p.stop()
	w := Window{From: time.Now()}
	for _, b := range [][]byte{bindingError(1), bindingError(2), problem(1, 6), problem(2, 46)} {
		if err := inject(s.lab.Host(lab.Core), b); err != nil {
			return err
		}
		if err := p.run(ctx, 30); err != nil {
			return err
		}
	}
	w.To = time.Now()
	if err := settle(ctx); err != nil {
		return err
	}
	arrived, err := s.seen("mn-eth0", w, func(x lab.Seen) bool {
		return x.Src == cn && x.Dst == coa && (x.Proto == protoMH && x.Type == mhBE || x.Proto == 58 && x.Type == icmpParameterProblem)
	})
	if err != nil {
		return err
	}
	d, lost := p.outage(w)
	s.check("roattack: forged errors to the node cost no packet", len(arrived) >= 4 && lost <= 2, "%d arrived; outage %s ms, %d pings lost in the worse direction", len(arrived), ms(millis(d)), lost)
	// Then it moves: packets of the correspondent must not go to the address that it left.
	m := Window{}
	var up time.Time
	if m.From, up, err = s.lab.Move(ctx, lab.Foreign2); err != nil {
		return err
	}
	aerr := p.answered(ctx, up.Add(time.Second), 20*time.Second)
	m.To = time.Now()
	if err := settle(ctx); err != nil {
		return err
	}
	d, lost = p.outage(m)
	s.check("roattack: a move after forged errors", aerr == nil && d < 2*time.Second, "outage %s ms, %d pings lost %s", ms(millis(d)), lost, orFine(aerr, ""))
	if _, _, err := s.lab.Move(ctx, lab.Foreign1); err != nil {
		return err
	}
	if _, err := s.waitRegistered(ctx, coa, 20*time.Second); err != nil {
		return err
	}
	err = s.waitDirect(ctx, coa, 30*time.Second)
	s.check("roattack: directly again after forged errors", err == nil, "%s s after they were sent %s", ms(time.Since(w.To).Seconds()), orFine(err, ""))
	return nil
}

// nodeKilled kills the node's daemon while packets go directly, and starts it again.
func (s *story) nodeKilled(ctx context.Context) error {
	const name = "node killed while packets go directly"
	l, err := s.underLoad(ctx, roConf{})
	if err != nil {
		return err
	}
	s.say("mn", "mip6d is killed (SIGKILL)")
	w := Window{From: time.Now()}
	s.mn.proc.Kill()
	err = l.d.sent(ctx, fallbackRate/2, 10*time.Second)
	again := time.Now()
	if err == nil {
		s.say("mn", "mip6d starts again")
		err = s.mn.start(ctx, s.mn.config)
	}
	coa := s.plan.SLAAC(lab.Foreign1)
	if err == nil {
		_, err = s.waitRegistered(ctx, coa, 20*time.Second)
	}
	var direct, took error
	var at time.Time
	if err == nil {
		direct = s.waitDirect(ctx, coa, 20*time.Second)
		at = time.Now()
		took = l.p.answered(ctx, at, 5*time.Second)
		err = l.d.sent(ctx, fallbackRate, 10*time.Second)
	}
	w.To = time.Now().Add(-300 * time.Millisecond)
	d, lost := l.p.outage(w)
	l.stop()
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	s.check(name+": payload again within 3 s of the start", took == nil && d < 3*time.Second, "longest outage %s ms, %d pings lost; %s s without a daemon", ms(millis(d)), lost, ms(again.Sub(w.From).Seconds()))
	s.check(name+": directly again", direct == nil, "%s s after the start %s", ms(at.Sub(again).Seconds()), orFine(direct, ""))
	return nil
}

// protectedForgets kills the correspondent's daemon of a protected pair and starts it again, without its SAs.
func (s *story) protectedForgets(ctx context.Context, name string, p *pings) error {
	name += ", correspondent killed"
	coa := s.plan.SLAAC(s.lab.Link())
	s.say("cn", "mip6d is killed (SIGKILL) and starts again")
	w := Window{From: time.Now()}
	s.cn.proc.Kill()
	if err := s.cn.start(ctx, s.cn.config); err != nil {
		return err
	}
	again := time.Now()
	aerr := p.answered(ctx, again, 20*time.Second)
	if err := p.run(ctx, 100); err != nil {
		return err
	}
	derr := s.waitDirect(ctx, coa, 30*time.Second)
	at := time.Now()
	if err := p.run(ctx, 50); err != nil {
		return err
	}
	w.To = time.Now().Add(-200 * time.Millisecond)
	d, lost := p.outage(w)
	s.check(name+": packets again within 5 s", aerr == nil && d < 5*time.Second, "outage %s ms, %d pings lost %s", ms(millis(d)), lost, orFine(aerr, ""))
	s.check(name+": directly again, protected", derr == nil, "%s s after the start %s", ms(at.Sub(again).Seconds()), orFine(derr, ""))
	return nil
}
