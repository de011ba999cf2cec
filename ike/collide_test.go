package ike

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mip6/mip6/ike/transform"
)

// collision is what happens at both ends, message by message (RFC 7296 §2.8, §2.25). won and lost
// follow steps, by whether a's exchange has won; without them the case does not depend on nonces.
type collision struct {
	name           string
	steps          string
	won, lost      string
	children, ikes int
	change         func(*setup)
}

// twoGroups has both ends do a key exchange with each child, by groups that differ in order.
func twoGroups(s *setup) {
	offer := func(ke ...transform.KE) []transform.Offer {
		return []transform.Offer{{Encr: []transform.Encr{transform.AES128GCM16}, KE: ke}}
	}
	s.mnCfg.Conns[0].ESP = offer(transform.P256, transform.X25519)
	s.haCfg.Conns[0].ESP = offer(transform.X25519)
	s.mnCfg.Conns[0].IKE = []transform.Offer{{Encr: []transform.Encr{transform.AES128GCM16}, PRF: []transform.PRF{transform.PRFHMACSHA256},
		KE: []transform.KE{transform.X25519, transform.P256}}}
}

func (c collision) run(t *testing.T) {
	wins, losses := 0, 0
	for seed := uint64(0); seed < 24 && (wins < 2 || losses < 2); seed++ {
		for _, mirrored := range []bool{false, true} {
			name := fmt.Sprintf("%s, seed %d", c.name, seed)
			d := newDuel(t, name, seed, c.change)
			if mirrored && c.change != nil {
				continue
			}
			if mirrored { // the other end plays a's part
				d.a, d.b, d.name = d.b, d.a, d.name+", mirrored"
			}
			do := func(steps string) {
				for _, s := range strings.Split(steps, ";") {
					if s = strings.TrimSpace(s); s != "" {
						d.step(s)
					}
				}
			}
			do(c.steps)
			if c.won != "" || c.lost != "" {
				if d.aWins() {
					wins++
					do(c.won)
				} else {
					losses++
					do(c.lost)
				}
			} else {
				wins, losses = wins+1, losses+1
			}
			d.end(c.children, c.ikes)
			if t.Failed() {
				return
			}
		}
	}
	if wins < 2 || losses < 2 {
		t.Errorf("%s: a won %d times, lost %d times", c.name, wins, losses)
	}
}

// aWins says whether a's exchange has won, as b knows, who has made both new pairs or IKE SAs.
func (d *duel) aWins() bool {
	for _, s := range d.b.m.sas {
		for _, c := range s.children {
			if c.own != nil && c.heir != nil {
				return string(c.heir.low) > string(c.own.low)
			}
			if of := c.of; of != nil && of.own != nil && of.heir != nil {
				return string(of.heir.low) > string(of.own.low)
			}
		}
		if n := s.successor; n != nil {
			return s.req.rekey == nil
		}
	}
	d.t.Fatalf("%s: %s sees no collision%s", d.name, d.b.name, d.b.dump())
	return false
}

// TestChildCollisions: rekeys and deletes of children that cross.
func TestChildCollisions(t *testing.T) {
	crossed := "a rekey payload; b rekey payload; a>b rekey; b>a rekey; a>b made;" // b has both new pairs, its answer is under way
	for _, c := range []collision{
		{name: "regular rekey", steps: "a rekey payload; a>b rekey; b>a made; a>b delete; b>a delete", children: 2, ikes: 1},
		{name: "rekey with a group that the peer does not want", children: 2, ikes: 1, change: twoGroups,
			steps: "a rekey payload; a>b; b>a"},
		{name: "responder ignores a soft expire while it waits for the delete", children: 2, ikes: 1,
			steps: "a rekey payload; a>b rekey; b soft old-payload; b>a made; a>b delete; b>a delete"},
		{name: "responder has a hard expire while it waits for the delete", children: 2, ikes: 1,
			steps: "a rekey payload; a>b rekey; b hard old-payload; b>a made; b>a delete; a>b delete"},
		{name: "responder has a hard expire, whose delete comes before the answer", children: 2, ikes: 1,
			steps: "a rekey payload; a>b rekey; b hard old-payload; b>>a delete; b>a made"},
		{name: "responder closes the new pair at once", children: 1, ikes: 1,
			steps: "a rekey payload; a>b rekey; b close payload; b>a made; b>a delete"},
		{name: "responder closes the new pair, the answer to the rekey is late", children: 1, ikes: 1,
			steps: "a rekey payload; a>b rekey; b close payload; b>>a delete; a>b; b>a made"},
		{name: "responder has lost the pair", children: 1, ikes: 1,
			steps: "b close payload; b lose; a rekey payload; a>b"},
		{name: "the delete after a rekey is lost", children: 2, ikes: 1,
			steps: "a rekey payload; a>b rekey; b>a made; a lose; a repeat; a>b delete"},
		{name: "the answer to a rekey is lost", children: 2, ikes: 1,
			steps: "a rekey payload; a>b rekey; b lose; a repeat; a>b rekey; b>a made"},
		{name: "both rekey", steps: crossed, won: "b>a made; a>b delete; b>a delete", lost: "b>a made; b>a delete; a>b delete", children: 2, ikes: 1},
		{name: "both rekey, the answer to ours comes after the delete", steps: crossed, children: 2, ikes: 1,
			won: "b>>a delete; a>b; b>a made", lost: "b>>a delete; a>b; b>a made"},
		{name: "both rekey, the winner closes the pair before our answer comes", steps: crossed, children: 1, ikes: 1,
			won: "b close payload; b>>a delete", lost: "b>>a delete; a>b delete; b close payload; b>>a delete; a>b delete; b>a made"},
		{name: "both rekey, our request comes while the peer deletes the old pair", children: 2, ikes: 1,
			steps: "a rekey payload; b rekey payload; b>a rekey; a>>b made; a>b rekey; b>a delete; b>a TEMPORARY_FAILURE"},
		{name: "both rekey, our refusal comes before the delete", children: 2, ikes: 1,
			steps: "a rekey payload; b rekey payload; b>a rekey; a>>b made; a>b rekey; b>>a TEMPORARY_FAILURE; b>a delete"},
		{name: "both rekey, our request comes after the old pair is gone", children: 2, ikes: 1,
			steps: "a rekey payload; b rekey payload; b>a rekey; a>>b made; b>a delete; a>>b delete; a>b rekey; b>a CHILD_SA_NOT_FOUND"},
		{name: "both rekey, our request comes after the new pair is gone too", children: 1, ikes: 1,
			steps: "a rekey payload; b rekey payload; b>a rekey; a>>b made; b>a delete; a>>b delete; b close payload; b>a delete; a>>b delete; a>b; b>a CHILD_SA_NOT_FOUND"},
		{name: "both rekey with groups that differ", steps: "a rekey payload; b rekey payload; a>b; b>a; a>b; b>a", children: 2, ikes: 1, change: twoGroups},
		{name: "both rekey with groups that differ, the second request is late", children: 2, ikes: 1, change: twoGroups,
			steps: "a rekey payload; b rekey payload; a>b; b>a rekey; b>a; a>b; b>a; a>b"},
		{name: "rekey crosses a delete", children: 1, ikes: 1,
			steps: "a rekey payload; b close payload; b>a delete; a>b rekey; b>a CHILD_SA_NOT_FOUND; a>b delete"},
		{name: "rekey crosses a delete that is late", children: 1, ikes: 1,
			steps: "a rekey payload; b close payload; a>b rekey; b>>a; b>a delete"},
		{name: "rekey that is late crosses a delete", children: 1, ikes: 1,
			steps: "a rekey payload; b close payload; b>a delete; a>>b delete; a>b rekey; b>a CHILD_SA_NOT_FOUND"},
		{name: "rekey of a pair that we close meanwhile", children: 1, ikes: 1,
			steps: "a rekey payload; a close payload; a>b rekey; b>a made"},
		{name: "rekey of a pair that we close meanwhile, and so does the peer", children: 1, ikes: 1,
			steps: "a rekey payload; a>b rekey; a close payload; b close payload; b>a made; b>a delete"},
		{name: "both delete", steps: "a close payload; b close payload; a>b delete; b>a delete; a>b empty; b>a empty", children: 1, ikes: 1},
		{name: "both delete, one of them is late", steps: "a close payload; b close payload; a>b delete; b>>a empty; b>a delete; a>b empty", children: 1, ikes: 1},
		{name: "both create", steps: "a create x; b create y; a>b create; b>a create; a>b made; b>a made", children: 4, ikes: 1},
	} {
		t.Run(c.name, c.run)
	}
}

// TestSACollisions: rekeys and deletes of the IKE SA that cross others.
func TestSACollisions(t *testing.T) {
	crossed := "a rekey ike; b rekey ike; a>b rekey-ike; b>a rekey-ike;" // both have answered
	for _, c := range []collision{
		{name: "regular rekey of the IKE SA", steps: "a rekey ike; a>b rekey-ike; b>a made; a>b delete; b>a empty", children: 2, ikes: 1},
		{name: "both rekey the IKE SA", steps: crossed + "a>b made; b>a made", children: 2, ikes: 1},
		{name: "both rekey the IKE SA, the other order", steps: crossed + "b>a made; a>b made", children: 2, ikes: 1},
		{name: "both rekey the IKE SA, the answer to ours comes after the delete", steps: crossed + "a>b made; b>>a delete; b>a", children: 2, ikes: 1},
		{name: "both rekey the IKE SA, the answer to ours is lost", steps: crossed + "a>b made; b>>a delete; b lose", children: 2, ikes: 1},
		{name: "both rekey the IKE SA, our request is lost", children: 2, ikes: 1,
			steps: "a rekey ike; b rekey ike; a lose; b>a rekey-ike; a>b made; b>a delete; a>b empty"},
		{name: "both rekey the IKE SA, our request comes while the peer deletes the old one", children: 2, ikes: 1,
			steps: "a rekey ike; b rekey ike; b>a rekey-ike; a>>b made; a>b rekey-ike; b>a delete; b>a"},
		{name: "both rekey the IKE SA, our refusal comes before the delete", children: 2, ikes: 1,
			steps: "a rekey ike; b rekey ike; b>a rekey-ike; a>>b made; a>b rekey-ike; b>>a TEMPORARY_FAILURE; b>a delete"},
		{name: "rekey of the IKE SA crosses its delete", steps: "a rekey ike; b close ike; a>b rekey-ike; b>a delete; a>b empty"},
		{name: "rekey of the IKE SA crosses its delete, which is late", steps: "a rekey ike; b close ike; a>b rekey-ike; b>>a TEMPORARY_FAILURE; b>a delete"},
		{name: "both delete the IKE SA", steps: "a close ike; b close ike; a>b delete; b>a delete"},
		{name: "rekey of a child crosses the rekey of the IKE SA", children: 2, ikes: 1,
			steps: "a rekey payload; b rekey ike; a>b rekey; b>a rekey-ike; b>a TEMPORARY_FAILURE; a>b TEMPORARY_FAILURE"},
		{name: "rekey of a child crosses the delete of the IKE SA",
			steps: "a rekey payload; b close ike; a>b rekey; b>>a TEMPORARY_FAILURE; b>a delete"},
		{name: "delete of a child crosses the rekey of the IKE SA", children: 1, ikes: 1,
			steps: "a close payload; b rekey ike; a>b delete; b>a rekey-ike; b>a; a>b TEMPORARY_FAILURE"},
		{name: "delete of a child crosses the delete of the IKE SA",
			steps: "a close payload; b close ike; a>b delete; b>a delete"},
		{name: "a new child crosses the rekey of the IKE SA", children: 3, ikes: 1,
			steps: "a create x; b rekey ike; a>b create; b>a rekey-ike; b>a TEMPORARY_FAILURE; a>b TEMPORARY_FAILURE"},
		{name: "a new child crosses the delete of the IKE SA",
			steps: "a create x; b close ike; a>b create; b>>a TEMPORARY_FAILURE; b>a delete"},
	} {
		t.Run(c.name, c.run)
	}
}

// TestTemporaryFailureEnds: a peer that is always busy is asked some times, not for ever.
func TestTemporaryFailureEnds(t *testing.T) {
	d := newDuel(t, "busy", 3, nil)
	d.b.deny = func(Authorise) error { return ErrTemporary }
	d.w.drop = nil
	from := len(d.w.sent)
	d.step("a create x")
	d.w.run(10*time.Minute, nil)
	r := one[ChildRefused](d.a)
	if n := len(d.w.sent) - from; r.Req != 9 || !r.ByPeer || n < 2*maxRetries || n > 2*maxRetries+60 {
		t.Errorf("%d messages, %+v", n, r)
	}
	agree(t, d.a, d.b, 2)
}
