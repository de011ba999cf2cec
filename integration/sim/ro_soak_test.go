package sim

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/mip6/mip6/mn/optimise"
	"github.com/mip6/mip6/mobility/protect"
	"github.com/mip6/mip6/mobility/rr"
	"github.com/mip6/mip6/xfrm"
)

// directRules are rules for the correspondent that stays, and for the other nodes where they answer.
func directRules(r *rand.Rand) []optimise.Rule {
	rule := optimise.Rule{To: netip.PrefixFrom(Correspondent, 128)}
	switch r.IntN(6) {
	case 0:
		rule.Auth, rule.Key = optimise.StaticKey, rr.Kbm{1, byte(r.Uint32())}
	case 1:
		rule.Auth, rule.Protect = optimise.IPsec, xfrm.ESP
	case 2:
		rule.Auth, rule.Protect = optimise.IPsec, xfrm.AH
	case 3:
		rule.Packets = uint64(r.IntN(30))
	}
	if rule.Protect != 0 {
		rule.Conn, rule.ReqID = "cn", protect.PathReqID(protect.Node, 0)
	}
	return []optimise.Rule{rule, {To: netip.PrefixFrom(homePrefix.Addr(), 64)}}
}

// TestSoakDirect: whatever happens to nodes and correspondents, once it ceases to happen packets pass, and go
// directly wherever that was asked for; nothing is ever sent in the clear from abroad but directly; and at
// the end nothing is left.
func TestSoakDirect(t *testing.T) {
	for _, seed := range seeds(t) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 3775))
			o := soakOptions(seed, r)
			o.Rules, o.NodesAnswer = directRules(r), r.IntN(2) == 0
			if o.Rules[0].Auth == optimise.StaticKey {
				o.Nodes = 1 // a key is of one pair only (RFC 4449)
			}
			s := &soak{World: New(o), r: r}
			s.Log = trace(t)
			s.Start()
			for i, h := range s.Nodes() {
				s.Say(h, s.Peer(), 300*time.Millisecond)
				if i > 0 && o.NodesAnswer {
					s.Say(s.Node(0), h, 300*time.Millisecond)
				}
			}
			for range 2 {
				for range 10 + s.r.IntN(20) {
					s.event()
					s.Run(s.pause())
				}
				s.rest(t)
				s.restDirect(t, o)
			}
			s.stopAll(t)
		})
	}
}

// restDirect waits until every pair that is away speaks directly.
func (s *soak) restDirect(t *testing.T, o Options) {
	t.Helper()
	pairs := [][2]*Host{}
	for i, h := range s.Nodes() {
		pairs = append(pairs, [2]*Host{h, s.Peer()})
		if i > 0 && o.NodesAnswer {
			pairs = append(pairs, [2]*Host{s.Node(0), h})
		}
	}
	for _, p := range pairs {
		var err error
		var d bool
		// A correspondent that did not answer is left alone for a while (optimise.Config.Remember).
		_, ok := s.RunUntil(15*time.Minute, func() bool {
			d, err = s.Direct(p[0], p[1])
			return err == nil && (d || s.mustPass(p))
		})
		if !ok {
			info := ""
			for _, h := range p {
				if h.Opt != nil {
					info += fmt.Sprintf("%s: %+v\n", h.Name, h.Opt.Info())
				}
			}
			t.Fatalf("seed %d: %s and %s: direct %v, %v\n%sfaults %v\nafter:\n%s", s.seed, p[0].Name, p[1].Name, d, err, info, s.Faults(),
				strings.Join(s.done, "\n"))
		}
	}
}

// mustPass tells whether a pair need not speak directly: a node that is at home.
func (s *soak) mustPass(p [2]*Host) bool {
	for _, h := range p {
		if _, home := h.place(); home {
			return true
		}
	}
	return false
}
