package daemon

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mip6/mip6/cn"
	"github.com/mip6/mip6/ha"
	"github.com/mip6/mip6/ike"
	"github.com/mip6/mip6/internal/config"
	"github.com/mip6/mip6/internal/control"
	"github.com/mip6/mip6/internal/couple"
	"github.com/mip6/mip6/internal/doctor"
	"github.com/mip6/mip6/mn"
	"github.com/mip6/mip6/mn/optimise"
	"github.com/mip6/mip6/xfrm"
)

// maxShown bounds how many IKE SAs a status lists; the total is told beside it.
const maxShown = 100

// handler answers mip6ctl.
type handler struct{ d *daemon }

var _ control.Handler = (*handler)(nil)

// view is what the loop's goroutine copied out of the machines.
type view struct {
	sas   []ike.SAInfo
	ike   ike.Stats
	nodes []mn.Info
	home  netip.Prefix
	boot  couple.BootInfo
	agent ha.Summary
	ha    ha.Stats

	routes    []optimise.Info
	optCounts []optimise.Counters
	cn        cn.Summary
	cnCount   cn.Counters
}

func (h *handler) look(ctx context.Context) (view, error) {
	var v view
	d := h.d
	err := d.loop.Inspect(ctx, func() {
		v.sas, v.ike = d.ike.Snapshot(), d.ike.Stats()
		for _, m := range d.mns {
			v.nodes = append(v.nodes, m.Info())
		}
		v.home, v.boot = d.home, d.node.Boot()
		if v.boot.Active { // what there is has stopped
			v.home, v.nodes = netip.Prefix{}, nil
		}
		if d.ha != nil {
			v.agent, v.ha = d.ha.Summary(), d.ha.Stats()
		}
		for _, o := range d.opts {
			v.routes = append(v.routes, o.Info()...)
			v.optCounts = append(v.optCounts, o.Counters())
		}
		if d.cn != nil {
			v.cn, v.cnCount = d.cn.Summary(), d.cn.Counters()
		}
	})
	return v, err
}

// Status tells what runs, with whom and how well.
func (h *handler) Status(ctx context.Context) (control.Status, error) {
	d := h.d
	v, err := h.look(ctx)
	if err != nil {
		return control.Status{}, err
	}
	use, states, policies, err := h.usage(ctx)
	if err != nil {
		return control.Status{}, err
	}
	caps := d.backend.Caps()
	s := control.Status{
		Version: Version(), Started: d.started, Uptime: control.Duration(time.Since(d.started)),
		PID: os.Getpid(), ConfigFile: d.cfg.File, Roles: d.roles(), Host: hostInfo(),
		DataPlane: control.DataPlane{Name: caps.Name, Why: why(caps),
			States: states, Policies: policies},
		IKETotal: len(v.sas), HalfOpen: v.ike.HalfOpen,
		Counters: counters(d, v), Warnings: d.cfg.Warnings,
	}
	if d.udp != nil {
		s.Listening = d.udp.Listening()
	}
	for _, m := range caps.Missing {
		s.DataPlane.Missing = append(s.DataPlane.Missing, m.Feature)
	}
	for _, p := range d.cfg.Peers {
		s.Conns = append(s.Conns, connOf(d.cfg, p, v.home))
	}
	for _, sa := range v.sas[:min(len(v.sas), maxShown)] {
		s.IKE = append(s.IKE, ikeSAOf(sa, use))
	}
	for _, n := range v.nodes {
		s.Nodes = append(s.Nodes, nodeOf(d.live.Load().MN, v.home, n, v.routes))
	}
	if v.boot.Active {
		s.Nodes = append(s.Nodes, askingNode(d.cfg.MN, v.boot))
	}
	if d.cfg.HA != nil {
		s.Agent = agentOf(d.cfg.HA, v.agent)
	}
	if d.cfg.CN != nil {
		s.Correspondent = correspondentOf(d.live.Load().CN, v.cn, v.cnCount)
	}
	d.history.mu.Lock()
	s.Moves = slices.Clone(d.history.moves)
	if s.Agent != nil {
		s.Agent.LastRefusals = slices.Clone(d.history.refusals)
	}
	d.history.mu.Unlock()
	s.XfrmStat = h.xfrmStat()
	s.Ledger = d.journal.info()
	return s, nil
}

// Migrations tells of the last moves.
func (h *handler) Migrations(context.Context) (control.Migrations, error) {
	h.d.history.mu.Lock()
	defer h.d.history.mu.Unlock()
	return control.Migrations{Moves: slices.Clone(h.d.history.moves)}, nil
}

// spiUse is the use of the SAs by SPI and direction of their destination.
type spiUse map[xfrm.ID]control.Usage

func (h *handler) usage(ctx context.Context) (use spiUse, states, policies int, err error) {
	use = make(spiUse)
	err = h.d.backend.Dump(ctx, xfrm.Filter{SAs: true, Policies: true}, func(o xfrm.Object) error {
		switch o := o.(type) {
		case xfrm.SA:
			states++
			use[xfrm.ID{SPI: o.SPI}] = usageOf(o)
		case xfrm.Policy:
			policies++
		}
		return nil
	})
	return use, states, policies, err
}

func usageOf(sa xfrm.SA) control.Usage {
	return control.Usage{Bytes: sa.Stats.Bytes, Packets: sa.Stats.Packets, LastUsed: sa.Stats.LastUsed,
		Replays: sa.Stats.ReplayDrops, BadICV: sa.Stats.IntegrityFailures}
}

func connOf(cfg *config.Config, p config.Peer, node netip.Prefix) control.Conn {
	c := control.Conn{Name: p.Name, LocalID: p.LocalID.String(), LocalAuth: p.LocalAuth.String(), PeerAuth: p.RemoteAuth.String(), CAs: p.CA}
	for _, id := range p.RemoteID {
		c.RemoteIDs = append(c.RemoteIDs, id.String())
	}
	if p.Any {
		c.RemoteIDs = append(c.RemoteIDs, "*")
	}
	for _, o := range p.IKEProposals {
		c.IKE = append(c.IKE, o.String())
	}
	for _, o := range p.ESPProposals {
		c.ESP = append(c.ESP, o.String())
	}
	if cfg.MN != nil && cfg.MN.Peer == p.Name && node.IsValid() {
		home := node.Addr()
		c.Children = []string{
			fmt.Sprintf("mh: %v/128[135] === %v/128[135]", home, cfg.MN.HomeAgent),
			fmt.Sprintf("payload: %v/128 === ::/0", home)}
	}
	return c
}

func ikeSAOf(sa ike.SAInfo, use spiUse) control.IKESA {
	out := control.IKESA{Conn: sa.Conn, State: sa.State, Initiator: sa.Initiator, Local: sa.Local, Remote: sa.Remote,
		LocalID: sa.LocalID.String(), RemoteID: sa.PeerID.String(), SPIi: control.Hex64(sa.SPIi), SPIr: control.Hex64(sa.SPIr),
		Proposal: sa.Suite.String(), Established: sa.Established, RekeyAt: sa.RekeyAt,
		Exchanges: int(sa.NextSend + sa.NextReceive), Moves: int(sa.Moves), Children: []control.Child{}}
	for _, c := range sa.Children {
		ch := c.Child
		mode := ch.Mode.String()
		if ch.Proxy {
			mode += "-proxy"
		}
		child := control.Child{Name: ch.Name, State: c.State, Mode: mode, Proto: xfrm.Proto(ch.Proto).String(), ReqID: ch.ReqID,
			SPIIn: control.Hex32(ch.SPIIn), SPIOut: control.Hex32(ch.SPIOut), Proposal: proposalOf(ch),
			LocalEnd: ch.LocalAddr.String(), RemoteEnd: ch.RemoteAddr.String(),
			Installed: c.Installed, RekeyAt: c.RekeyAt, ExpiresAt: c.HardAt,
			In: use[xfrm.ID{SPI: xfrm.SPI(ch.SPIIn)}], Out: use[xfrm.ID{SPI: xfrm.SPI(ch.SPIOut)}]}
		for _, ts := range ch.Local {
			child.Local = append(child.Local, ts.String())
		}
		for _, ts := range ch.Remote {
			child.Remote = append(child.Remote, ts.String())
		}
		out.Children = append(out.Children, child)
		if a := oneAddr(ch); a.IsValid() {
			out.Home = a
		}
	}
	return out
}

// proposalOf names a child's algorithms: AH has no cipher.
func proposalOf(c ike.Child) string {
	if xfrm.Proto(c.Proto) == xfrm.AH {
		return c.Integ.String()
	}
	if c.Encr.Combined() {
		return c.Encr.String()
	}
	return c.Encr.String() + "-" + c.Integ.String()
}

// oneAddr is the home address of a tunnel child: the side that is one address.
func oneAddr(c ike.Child) netip.Addr {
	for _, side := range [][]ikeSelector{c.Local, c.Remote} {
		if c.Mode == ike.Tunnel && len(side) == 1 && side[0].Start == side[0].End {
			return side[0].Start
		}
	}
	return netip.Addr{}
}

// homeFrom says where the home address comes from.
func homeFrom(c *config.MN) string {
	if c.HomeFromAgent {
		return "agent"
	}
	return "configuration"
}

// askingNode is the node while it has no home address.
func askingNode(c *config.MN, b couple.BootInfo) control.Node {
	n := control.Node{HomeFrom: homeFrom(c), HomeAgent: c.HomeAgent, State: "asking for a home address", Reason: b.Reason,
		CareOf: b.CareOf, LastStatus: -1, DAD: string(c.DAD), Lifetime: control.Duration(c.Lifetime)}
	if !b.CareOf.IsValid() {
		n.State = "no care-of address"
	}
	return n
}

func nodeOf(c *config.MN, home netip.Prefix, i mn.Info, routes []optimise.Info) control.Node {
	n := control.Node{Home: home, HomeFrom: homeFrom(c), HomeAgent: i.HomeAgent, State: i.State.String(), CareOf: i.CareOf,
		Interface: i.Interface, Sequence: i.Seq, RefreshAt: i.RefreshAt, LastStatus: i.Status, StatusText: i.StatusText,
		KeyMobility: i.KeyMobility, DAD: string(c.DAD), Moves: int(i.Moves), Lifetime: control.Duration(c.Lifetime)}
	if !i.Expires.IsZero() {
		n.Remaining = control.Duration(time.Until(i.Expires))
	}
	if len(c.Optimise) > 0 {
		n.RO = &control.ROCounts{Rules: len(c.Optimise), MaxRemotes: c.Correspondents.Max}
		for _, r := range routes {
			n.RO.Add(r.State.String())
		}
	}
	return n
}

func agentOf(c *config.HA, s ha.Summary) *control.Agent {
	a := &control.Agent{Address: c.Address, HomeLink: c.HomeLink, Bindings: s.Bindings, MaxBindings: c.MaxBindings,
		Authorised: s.Nodes, DAD: string(c.DAD), HomeFrom: string(c.HomeAddressFrom), KeyMobility: c.KeyMobility}
	for _, p := range c.HomePrefixes {
		a.Prefixes = append(a.Prefixes, p.Prefix.String())
	}
	return a
}

func hostInfo() control.HostInfo {
	var u unix.Utsname
	_ = unix.Uname(&u) // fails for a bad pointer only
	name, _ := os.Hostname()
	return control.HostInfo{Name: name, Kernel: unix.ByteSliceToString(u.Release[:]), GoVersion: runtime.Version(),
		Goroutines: runtime.NumGoroutine(), MemoryKiB: resident()}
}

func resident() int64 {
	b, err := os.ReadFile("/proc/self/statm")
	var size, pages int64
	if err != nil {
		return 0
	}
	if n, _ := fmt.Sscan(string(b), &size, &pages); n < 2 {
		return 0
	}
	return pages * int64(os.Getpagesize()) / 1024
}

// xfrmStat lists the kernel's counters that are above zero, with what they mean.
func (h *handler) xfrmStat() []control.XfrmCounter {
	stats, err := doctor.XfrmStat(h.d.statAtStart)
	if err != nil {
		return nil // a kernel without CONFIG_XFRM_STATISTICS
	}
	return slices.DeleteFunc(stats, func(c control.XfrmCounter) bool { return c.Value == 0 })
}
