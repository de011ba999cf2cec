package daemon

import (
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/mip6/mip6/cn"
	"github.com/mip6/mip6/ha"
	"github.com/mip6/mip6/ike"
	"github.com/mip6/mip6/ike/message"
	"github.com/mip6/mip6/ike/pki"
	"github.com/mip6/mip6/internal/config"
	"github.com/mip6/mip6/internal/couple"
	"github.com/mip6/mip6/mn"
	"github.com/mip6/mip6/mn/optimise"
	"github.com/mip6/mip6/mobility/protect"
	"github.com/mip6/mip6/xfrm"
)

// machines are the machines that a configuration asks for, coupled.
type machines struct {
	node *couple.Node
	ike  *ike.Machine
	mns  []*mn.Machine
	home netip.Prefix // of the mobile node; zero: not known yet
	ha   *ha.Machine
	cn   *cn.Machine
	// The configurations of mobile node and correspondent as they are now.
	self atomic.Pointer[config.MN]
	peer atomic.Pointer[config.CN]
	opts []*optimise.Machine // of mns, in order
	keys *pki.Keyring
}

// build makes the machines. now is when the lifetimes of home prefixes begin.
func build(cfg *config.Config, caps xfrm.Caps, now time.Time) (*machines, error) {
	keys, err := keyring(cfg)
	if err != nil {
		return nil, err
	}
	ms := &machines{keys: keys, ike: ike.New(ikeConfig(cfg, keys), rand.Reader)}
	cc := couple.Config{IKE: ms.ike, Port: cfg.IKE.Port, ReplayWindow: cfg.IKE.ReplayWindow, Caps: caps}
	if cfg.MN != nil {
		if err := ms.addMN(&cc, cfg.MN, caps, cfg.CN != nil); err != nil {
			return nil, err
		}
	}
	if cfg.HA != nil {
		if cc.HA, err = haMachine(cfg, caps, now); err != nil {
			return nil, err
		}
		ms.ha = cc.HA.Machine
	}
	if cfg.CN != nil {
		if cc.CN, err = cnMachine(cfg.CN, &ms.peer); err != nil {
			return nil, err
		}
		ms.cn = cc.CN.Machine
	}
	ms.node = couple.New(cc)
	return ms, nil
}

// addMN makes the machine of the mobile node, now or when the home agent has given the
// home address.
func (ms *machines) addMN(cc *couple.Config, c *config.MN, caps xfrm.Caps, answers bool) error {
	ms.self.Store(c)
	mc := mnConfig(c)
	machine := func(home netip.Prefix) (couple.MN, error) { // on the loop's goroutine, or before it runs
		c := ms.self.Load() // as it is now: it may have been reloaded since
		mc, oc := mnConfig(c), optimiseConfig(c)
		mc.Answers = answers
		mc.Home = home
		m, err := mnMachine(mc, c.Peer, caps)
		if err != nil {
			return m, err
		}
		oc.Home = home.Addr()
		// Without rules now it may get some by a reload.
		if m.Optimise, err = optimise.New(oc, rand.Reader); err != nil {
			return m, err
		}
		ms.opts = []*optimise.Machine{m.Optimise}
		ms.home, ms.mns = home, []*mn.Machine{m.Machine} // the agent may give another one later
		return m, nil
	}
	if c.HomeFromAgent {
		cc.Boot = &couple.Boot{HomeAgent: c.HomeAgent, Conn: c.Peer, ReqID: mc.ReqIDs.MH, Scout: mn.NewScout(mc), Build: machine}
		return nil
	}
	m, err := machine(c.HomeAddress)
	cc.MNs = append(cc.MNs, m)
	return err
}

// mnConfig is the configuration of the machine, the home address apart.
func mnConfig(c *config.MN) mn.Config {
	return mn.Config{
		HomeAgent: c.HomeAgent, Interfaces: c.Interfaces,
		Lifetime: c.Lifetime, NoKeyMobility: !c.KeyMobility, ReqIDs: protect.ReqIDsFor(protect.Node, 0),
		Table: c.Table, RulePriority: c.Priority, DAD: dadMode(c.DAD),
		InitialBindackFirstReg: c.Timers.FirstBindAck, InitialBindack: c.Timers.BindAck,
		MaxBindack: c.Timers.MaxBindAck, Grace: c.Timers.Grace,
		Optimises: len(c.Optimise) > 0, Triggers: triggers(c),
	}
}

// mnMachine makes the machine of a home address.
func mnMachine(mc mn.Config, conn string, caps xfrm.Caps) (couple.MN, error) {
	m, err := mn.New(mc, caps, rand.Reader)
	if err != nil {
		return couple.MN{}, err
	}
	return couple.MN{
		Machine: m,
		Home:    mc.Home.Addr(), HomeAgent: mc.HomeAgent, Conn: conn,
		Children: []mn.Child{
			{Kind: mn.ChildMH, ReqID: mc.ReqIDs.MH, Mode: xfrm.Transport},
			{Kind: mn.ChildPayload, ReqID: mc.ReqIDs.Payload, Mode: xfrm.Tunnel},
		},
	}, nil
}

func dadMode(d config.DAD) mn.DADMode {
	switch d {
	case config.DADOff:
		return mn.DADOff
	case config.DADOptimistic:
		return mn.DADOptimistic
	}
	return mn.DADNormal
}

// haMachine makes the home agent's machine.
func haMachine(cfg *config.Config, caps xfrm.Caps, now time.Time) (*couple.HA, error) {
	c := cfg.HA
	link, err := net.InterfaceByName(c.HomeLink)
	if err != nil {
		return nil, fmt.Errorf("home link %s: there is no such interface", c.HomeLink)
	}
	hc := ha.Config{
		Caps:           caps,
		Agents:         []netip.Addr{c.Address},
		HomeLink:       ha.HomeLink{Name: c.HomeLink, Index: link.Index},
		AnyCertificate: c.HomeAddressFrom == config.FromCertificate,
		MaxBindings:    c.MaxBindings, MaxLifetime: c.MaxLifetime, RefreshAdvice: c.RefreshAdvice,
		RefuseK: !c.KeyMobility, NoDAD: c.DAD == config.DADOff, Forwarding: true,
	}
	for _, p := range c.HomePrefixes {
		hc.Prefixes = append(hc.Prefixes, ha.HomePrefix{Prefix: p.Prefix,
			ValidUntil: until(now, p.Valid), PreferredUntil: until(now, p.Preferred)})
	}
	for _, n := range c.Nodes {
		hc.Nodes = append(hc.Nodes, ha.Node{Identity: n.Identity.Fold().String(), Home: n.HomeAddress})
	}
	for _, id := range c.Deny {
		hc.Nodes = append(hc.Nodes, ha.Node{Identity: id.Fold().String(), Deny: true})
	}
	if c.HomeAddressFrom == config.FromPool {
		hc.Pool = []netip.Prefix{c.Pool.Prefix}
	}
	var seed [8]byte
	if _, err := rand.Read(seed[:]); err != nil {
		return nil, err
	}
	m, err := ha.New(hc, binary.BigEndian.Uint64(seed[:]))
	if err != nil {
		return nil, err
	}
	return &couple.HA{Machine: m, Agents: hc.Agents, Conns: c.Peers, Conn: connFor(cfg)}, nil
}

// until is the end of a lifetime; the zero time where it has none.
func until(now time.Time, d time.Duration) time.Time {
	if d == config.Infinite {
		return time.Time{}
	}
	return now.Add(d)
}

// connFor finds the connection that an identity comes in by: one that names it
// goes before a template.
func connFor(cfg *config.Config) func(message.Identity) (string, bool) {
	return func(id message.Identity) (string, bool) {
		template := ""
		for _, name := range cfg.HA.Peers {
			p, ok := cfg.Peer(name)
			if !ok {
				continue
			}
			for _, r := range p.RemoteID {
				if r.Fold() == id.Fold() {
					return name, true
				}
			}
			if p.Any && template == "" {
				template = name
			}
		}
		return template, template != ""
	}
}

// ikeConfig is the configuration of the IKE machine.
func ikeConfig(cfg *config.Config, keys *pki.Keyring) ike.Config {
	c := cfg.IKE
	out := ike.Config{
		CookieThreshold: c.CookieThreshold, HalfOpenMax: c.HalfOpenMax,
		HalfOpenPerSource: c.HalfOpenPerSource, HalfOpenTimeout: c.HalfOpenTimeout,
		Retransmit: ike.Retransmit{First: c.RetransmitFirst, Max: c.RetransmitMax, Tries: c.RetransmitTries},
		KeyLog:     cfg.Daemon.IKEKeyLog != "",
		// There 0 stands for a size by family, here for none.
		FragmentSize: cmp.Or(c.FragmentSize, -1),
	}
	for _, p := range cfg.Peers {
		out.Conns = append(out.Conns, ike.Conn{
			Name: p.Name, LocalID: p.LocalID, RemoteID: ike.IDMatch{Exact: p.RemoteID, Any: p.Any},
			LocalAuth: p.LocalAuth, RemoteAuth: p.RemoteAuth, Authority: keys.Authorities(p.Name),
			IKE: p.IKEProposals, ESP: p.ESPProposals, AH: p.AHProposals, Legacy: p.Legacy, DPD: p.DPD, Jitter: c.Jitter,
			// A peer that is silent may have moved or restarted: its tunnel carries on until there is a
			// new one, or its lifetime is over.
			KeepChildren: true,
			NAT:          natPolicy(p.NAT), Mobile: cfg.MN != nil || cfg.HA != nil || cfg.CN != nil,
			ChildBytes: ike.Volume(p.ChildBytes), ChildPackets: ike.Volume(p.ChildPackets),
			Reauth: p.Reauth, Unique: unique(p.Unique),
			IKERekey: p.IKERekey, IKEHard: p.IKEHard, ChildRekey: p.ChildRekey, ChildHard: p.ChildHard,
		})
	}
	return out
}

func unique(u config.Unique) ike.Unique {
	switch u {
	case config.UniqueReplace:
		return ike.UniqueReplace
	case config.UniqueKeep:
		return ike.UniqueKeep
	case config.UniqueNever:
		return ike.UniqueNever
	}
	return ike.UniqueContact
}

func natPolicy(n config.NAT) ike.NAT {
	switch n {
	case config.NATForce:
		return ike.NATForce
	case config.NATOff:
		return ike.NATOff
	}
	return ike.NATAuto
}
