package ike

import (
	"fmt"
	"testing"
	"time"

	"github.com/mip6/mip6/ike/transform"
)

// hybridRekeys has a second key exchange by ML-KEM in every rekey (RFC 9370).
func hybridRekeys(s *setup) {
	for _, c := range []*Conn{&s.mnCfg.Conns[0], &s.haCfg.Conns[0]} {
		o, err := transform.ParseIKEOffer("aes128gcm16-prfsha256-x25519-ke1_mlkem768")
		if err != nil {
			panic(err)
		}
		c.IKE = []transform.Offer{o}
		if o, err = transform.ParseOffer("aes128gcm16-x25519-ke1_mlkem768"); err != nil {
			panic(err)
		}
		c.ESP = []transform.Offer{o}
	}
}

// TestCollisionsInAnyOrder begins two things at once and has messages arrive in any order, some of them
// lost. Whatever comes of it, in the end both sides have the same, and their owners know it.
func TestCollisionsInAnyOrder(t *testing.T) {
	ops := []string{"rekey payload", "close payload", "hard payload", "soft mh", "rekey ike", "close ike", "create x", "reauth ike"}
	for name, change := range map[string]func(*setup){"plain": nil, "hybrid": hybridRekeys} {
		seeds := uint64(12)
		if name == "hybrid" { // ML-KEM takes its time
			seeds = 4
		}
		for i, first := range ops {
			for j, second := range ops[:len(ops)-1] { // who did not begin does not reauthenticate
				for seed := uint64(0); seed < seeds; seed++ {
					d := newDuel(t, fmt.Sprintf("%s: %s, %s, seed %d", name, first, second, seed), seed*1000+uint64(i*10+j), change)
					d.step("a " + first)
					if d.w.r.IntN(2) == 0 {
						d.deliverAny(1 + d.w.r.IntN(4))
					}
					if d.standing(d.b, second) {
						d.step("b " + second)
					}
					d.deliverAny(30)
					d.peace()
					if t.Failed() {
						return
					}
				}
			}
		}
	}
}

// standing says whether there is something left to do this to.
func (d *duel) standing(n *node, op string) bool {
	for _, i := range n.m.Snapshot() {
		if s := n.m.sas[i.SA]; s != nil && s.state == stateUp {
			if op[len(op)-3:] == "ike" || op == "create x" {
				return true
			}
			for _, c := range s.children {
				if len(op) > len(c.Name) && op[len(op)-len(c.Name):] == c.Name {
					return true
				}
			}
		}
	}
	return false
}

// deliverAny has n messages arrive, of either side and in any order; some are lost.
func (d *duel) deliverAny(n int) {
	for range n {
		from, to := d.a, d.b
		if d.w.r.IntN(2) == 0 {
			from, to = to, from
		}
		if len(d.air[from]) == 0 {
			from, to = to, from
		}
		if len(d.air[from]) == 0 {
			return
		}
		if d.w.r.IntN(8) == 0 {
			d.step(map[*node]string{d.a: "a", d.b: "b"}[from] + " lose")
			continue
		}
		d.deliver("any", from, to, d.w.r.IntN(2) == 0, nil)
		d.settleTasks()
	}
}

// peace lets the network be whole again, and looks at what is there some minutes later.
func (d *duel) peace() {
	d.t.Helper()
	d.w.drop, d.w.taskDelay = nil, time.Millisecond
	for _, from := range []*node{d.a, d.b} {
		for _, s := range d.air[from] {
			d.w.send(from, s)
		}
	}
	d.w.run(6*time.Minute, nil)
	if len(d.a.kernel) != len(d.b.kernel) || d.t.Failed() {
		d.t.Fatalf("%s: %d and %d children%s%s", d.name, len(d.a.kernel), len(d.b.kernel), d.a.dump(), d.b.dump())
	}
	agree(d.t, d.a, d.b, len(d.a.kernel))
	for _, n := range []*node{d.a, d.b} {
		for _, i := range n.m.Snapshot() {
			if i.State != "established" || i.Outstanding != "" || len(i.Children) != len(n.kernel) {
				d.t.Errorf("%s: %s has an IKE SA that is %s with %d children, %q under way", d.name, n.name, i.State, len(i.Children), i.Outstanding)
			}
		}
		if n.m.Stats().Established > 1 || len(n.m.sas) != n.m.Stats().Established || len(n.m.tasks) != 0 {
			d.t.Errorf("%s: %s has %d IKE SAs, %d tasks; %+v", d.name, n.name, len(n.m.sas), len(n.m.tasks), n.m.Stats())
		}
		d.owner(n)
	}
}
