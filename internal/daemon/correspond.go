package daemon

import (
	"crypto/rand"
	"encoding/binary"
	"hash/fnv"
	"net/netip"
	"slices"
	"sync/atomic"

	"github.com/mip6/mip6/cn"
	"github.com/mip6/mip6/internal/config"
	"github.com/mip6/mip6/internal/couple"
	"github.com/mip6/mip6/mn/optimise"
	"github.com/mip6/mip6/mobility/protect"
	"github.com/mip6/mip6/mobility/rr"
	"github.com/mip6/mip6/xfrm"
)

// optimiseConfig is the configuration of a mobile node's route optimization, the home
// address apart.
func optimiseConfig(c *config.MN) optimise.Config {
	out := optimise.Config{HomeAgent: c.HomeAgent, Max: c.Correspondents.Max, Lifetime: c.Correspondents.Lifetime,
		Idle: c.Correspondents.Idle, Remember: c.Correspondents.Remember}
	taken := make(map[uint32]bool)
	for _, o := range c.Optimise {
		r := optimise.Rule{To: o.To, Proto: o.Protocol, Port: o.Port, Never: o.Way == config.Tunnel, Packets: o.Packets,
			Key: kbm(o.KBM), Protect: protection(o.Protect), Conn: o.Peer}
		switch o.Auth {
		case config.StaticKey:
			r.Auth = optimise.StaticKey
		case config.IPsec:
			r.Auth = optimise.IPsec
		}
		if r.Protect != 0 {
			r.ReqID = protect.PathReqID(protect.Node, pathIndex(o.To.Addr(), taken))
		}
		out.Rules = append(out.Rules, r)
	}
	return out
}

// pathIndex names a correspondent with SAs of its own by its address: a rule more or less in the file
// must not give its SAs to another.
func pathIndex(to netip.Addr, taken map[uint32]bool) uint32 {
	a := to.As16()
	h := fnv.New32a()
	h.Write(a[:])
	i := h.Sum32() % protect.MaxPaths
	for taken[i] {
		i = (i + 1) % protect.MaxPaths
	}
	taken[i] = true
	return i
}

// triggers are the packets of which the databases shall tell.
func triggers(c *config.MN) []protect.Trigger {
	var out []protect.Trigger
	for _, o := range c.Optimise {
		out = append(out, protect.Trigger{To: o.To, Proto: o.Protocol, Port: o.Port, Never: o.Way == config.Tunnel})
	}
	return out
}

func kbm(s config.Secret) (k rr.Kbm) {
	copy(k[:], s)
	return k
}

func protection(p config.Protect) xfrm.Proto {
	switch p {
	case config.ProtectESP:
		return xfrm.ESP
	case config.ProtectAH:
		return xfrm.AH
	}
	return 0
}

// cnMachine makes the correspondent's machine. Whom it serves by name is what live says now.
func cnMachine(c *config.CN, live *atomic.Pointer[config.CN]) (*couple.CN, error) {
	live.Store(c)
	var seed [8]byte
	if _, err := rand.Read(seed[:]); err != nil {
		return nil, err
	}
	m, err := cn.New(cnConfig(c), rand.Reader, binary.BigEndian.Uint64(seed[:]))
	if err != nil {
		return nil, err
	}
	serves := func(id string) bool {
		return slices.ContainsFunc(live.Load().Nodes, func(n config.CNNode) bool {
			return n.Auth == config.IPsec && n.Identity.Fold().String() == id
		})
	}
	return &couple.CN{Machine: m, Conns: c.Peers, Serves: serves}, nil
}

func cnConfig(c *config.CN) cn.Config {
	cc := cn.Config{Locals: c.Addresses, MaxBindings: c.MaxBindings, MaxLifetime: c.MaxLifetime,
		TestRate: c.TestRate, TestRatePerSource: c.TestRatePerSource, ErrorRate: c.ErrorRate,
		FirstReqID: protect.PathReqID(protect.Correspondent, 0)}
	cc.Default = cnPolicy(c.Default)
	for _, r := range c.Rules {
		cc.Rules = append(cc.Rules, cn.Rule{Home: r.Home, Policy: cnPolicy(r.Policy)})
	}
	for _, n := range c.Nodes {
		p := cn.Peer{Home: n.HomeAddress, Auth: cn.StaticKey, Key: kbm(n.KBM)}
		if n.Auth == config.IPsec {
			p.Auth, p.Identity, p.Proto = cn.IPsec, n.Identity.Fold().String(), protection(n.Protocol)
		}
		cc.Peers = append(cc.Peers, p)
	}
	return cc
}

func cnPolicy(p config.Policy) cn.Policy {
	if p == config.Deny {
		return cn.Deny
	}
	return cn.Allow
}
