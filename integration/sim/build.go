package sim

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/mip6/mip6/cn"
	"github.com/mip6/mip6/ha"
	"github.com/mip6/mip6/ike"
	"github.com/mip6/mip6/ike/message"
	"github.com/mip6/mip6/ike/pki"
	"github.com/mip6/mip6/internal/couple"
	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/mn"
	"github.com/mip6/mip6/mn/optimise"
	"github.com/mip6/mip6/mobility/protect"
	"github.com/mip6/mip6/xfrm"
	"github.com/mip6/mip6/xfrm/xfrmtest"
)

// Options say how a world is made. The functions may change a configuration before it is used.
type Options struct {
	Seed  uint64
	Nodes int
	MN    func(n int, c *mn.Config)
	HA    func(*ha.Config)
	Conn  func(*ike.Conn)
	// Ask: the nodes get their home addresses from the agent.
	Ask bool
	// Rules are the nodes' for route optimization; with any there is a correspondent at Correspondent,
	// and with NodesAnswer the nodes are correspondents too.
	Rules       []optimise.Rule
	NodesAnswer bool
	CN          func(*cn.Config)
}

// Addresses of the home link, and IKE's port.
var (
	Agent      = netip.MustParseAddr("2001:db8:1::1")
	homePrefix = netip.MustParsePrefix("2001:db8:1::/64")
)

const (
	ikePort = 500
	wlan    = 2 // index of the first interface
	second  = 3
	window  = 1024
)

var secret = []byte("a secret of the simulation, and of nothing else")

// New makes a world with a home link and three others, an agent at home and nodes that
// are attached to nothing yet. Programs are not started.
func New(o Options) *World {
	w := newWorld(o.Seed)
	w.AddLink("home", homePrefix.String(), true)
	for _, n := range []string{"a", "b", "c"} {
		w.AddLink("link-"+n, "2001:db8:"+n+"::/64", false)
	}
	w.addAgent(o)
	for i := range o.Nodes {
		w.addNode(i, o)
	}
	if len(o.Rules) > 0 {
		w.addCN(o)
	}
	return w
}

// Agent is the home agent, Node the nth mobile node.
func (w *World) Agent() *Host     { return w.Hosts[0] }
func (w *World) Node(n int) *Host { return w.Hosts[n+1] }

// Nodes are the mobile nodes.
func (w *World) Nodes() (out []*Host) {
	for _, h := range w.Hosts {
		if !h.agent && !h.fixed {
			out = append(out, h)
		}
	}
	return out
}

// Start starts every program.
func (w *World) Start() {
	for _, h := range w.Hosts {
		h.Start()
	}
}

func (w *World) newHost(name string) *Host {
	h := &Host{Name: name, w: w, FW: xfrmtest.New()}
	h.FW.Tell = h.heard
	h.sysctls, h.counting = map[string]string{}, map[[2]netip.Addr]uint64{}
	h.ifaces = []*iface{{index: 1, name: "lo"}}
	w.Hosts = append(w.Hosts, h)
	return h
}

func (w *World) addAgent(o Options) {
	h := w.newHost("ha")
	h.agent = true
	h.ifaces = append(h.ifaces, &iface{index: wlan, name: "home0", link: w.Links[0],
		linkLocal: netip.MustParseAddr("fe80::1"),
		addrs:     []host.Addr{{IfIndex: wlan, Prefix: netip.PrefixFrom(Agent, 64), Permanent: true}}})
	hc := ha.Config{Agents: []netip.Addr{Agent}, HomeLink: ha.HomeLink{Name: "home0", Index: wlan},
		Prefixes: []ha.HomePrefix{{Prefix: homePrefix}}, Forwarding: true, Caps: h.FW.Caps()}
	for i := range o.Nodes {
		hc.Nodes = append(hc.Nodes, ha.Node{Identity: nodeID(i).String(), Home: HomeAddress(i)})
	}
	if o.HA != nil {
		o.HA(&hc)
	}
	conn := ike.Conn{Name: "nodes", LocalID: agentID(), RemoteID: ike.IDMatch{Any: true},
		LocalAuth: pki.PSK, RemoteAuth: pki.PSK, DPD: 30 * time.Second}
	if o.Conn != nil {
		o.Conn(&conn)
	}
	h.keys = keyring("nodes")
	h.build = func(h *Host) {
		m, err := ha.New(hc, rand.New(h.source()).Uint64())
		if err != nil {
			panic(fmt.Errorf("%w: %w", errBuild, err))
		}
		h.HA, h.IKE = m, ike.New(ikeConfig(conn), h.source())
		h.Node = couple.New(couple.Config{IKE: h.IKE, Port: ikePort, ReplayWindow: window,
			HA: &couple.HA{Machine: m, Agents: hc.Agents, Conns: []string{"nodes"},
				Conn: func(message.Identity) (string, bool) { return "nodes", true }}})
	}
}

func (w *World) addNode(i int, o Options) {
	h := w.newHost(fmt.Sprint("mn", i))
	h.Home = HomeAddress(i)
	for n, name := range []string{"wlan0", "wlan1"} {
		id := h.Home.As16()
		ll := netip.AddrFrom16([16]byte{0xfe, 0x80, 8: byte(n), 9: 1, 14: id[14], 15: id[15]})
		if n == 0 && i%2 == 0 { // the link-local address of the L bit
			id[0], id[1], id[2], id[3], id[4], id[5] = 0xfe, 0x80, 0, 0, 0, 0
			ll = netip.AddrFrom16(id)
		}
		h.ifaces = append(h.ifaces, &iface{index: wlan + n, name: name, linkLocal: ll,
			id: [8]byte{0: byte(n + 1), 6: id[14], 7: id[15]}})
	}
	ids := protect.ReqIDsFor(protect.Node, 0)
	mc := mn.Config{Home: netip.PrefixFrom(h.Home, 64), HomeAgent: Agent, ReqIDs: ids,
		Optimises: len(o.Rules) > 0, Answers: o.NodesAnswer}
	for _, r := range o.Rules {
		mc.Triggers = append(mc.Triggers, protect.Trigger{To: r.To, Proto: r.Proto, Port: r.Port, Never: r.Never})
	}
	if o.MN != nil {
		o.MN(i, &mc)
	}
	conn := ike.Conn{Name: "ha", LocalID: nodeID(i), RemoteID: ike.IDMatch{Exact: []message.Identity{agentID()}},
		LocalAuth: pki.PSK, RemoteAuth: pki.PSK, DPD: 30 * time.Second}
	if o.Conn != nil {
		o.Conn(&conn)
	}
	conns := []ike.Conn{conn}
	if len(o.Rules) > 0 {
		conns = append(conns, pathConn(nodeID(i), correspondentID()))
	}
	h.keys = keyring("ha", "cn")
	h.build = func(h *Host) {
		h.IKE = ike.New(ikeConfig(conns...), h.source())
		cc := couple.Config{IKE: h.IKE, Port: ikePort, ReplayWindow: window, Caps: h.FW.Caps()}
		if o.NodesAnswer {
			cc.CN = h.buildCN(o)
		}
		machine := func(home netip.Prefix) (couple.MN, error) {
			c := mc
			c.Home, h.Home = home, home.Addr()
			m, err := mn.New(c, h.FW.Caps(), h.source())
			h.MN = m
			if err == nil && len(o.Rules) > 0 {
				h.Opt, err = optimise.New(optimise.Config{Home: h.Home, HomeAgent: Agent, Rules: o.Rules}, h.source())
			}
			return couple.MN{Machine: m, Optimise: h.Opt, Home: h.Home, HomeAgent: Agent, Conn: "ha", Children: []mn.Child{
				{Kind: mn.ChildMH, ReqID: ids.MH, Mode: xfrm.Transport},
				{Kind: mn.ChildPayload, ReqID: ids.Payload, Mode: xfrm.Tunnel}}}, err
		}
		if o.Ask {
			h.MN = nil
			cc.Boot = &couple.Boot{HomeAgent: Agent, Conn: "ha", ReqID: ids.MH, Scout: mn.NewScout(mc), Build: machine}
		} else {
			m, err := machine(mc.Home)
			if err != nil {
				panic(fmt.Errorf("%w: %w", errBuild, err))
			}
			cc.MNs = []couple.MN{m}
		}
		h.Node = couple.New(cc)
	}
}

// source is randomness for one run of the program.
func (h *Host) source() *rand.ChaCha8 { return h.w.Source(fmt.Sprint(h.Name, "/", h.Starts)) }

// HomeAddress is that of the nth node.
func HomeAddress(n int) netip.Addr {
	a := homePrefix.Addr().As16()
	n += 0x100
	a[14], a[15] = byte(n>>8), byte(n)
	return netip.AddrFrom16(a)
}

func agentID() message.Identity     { return message.FQDN("ha.example.org") }
func nodeID(n int) message.Identity { return message.FQDN(fmt.Sprintf("mn%d.example.org", n)) }
func ikeConfig(conns ...ike.Conn) ike.Config {
	return ike.Config{Conns: conns, HalfOpenPerSource: 512}
}

func keyring(conns ...string) *pki.Keyring {
	var all []pki.Credentials
	for _, c := range conns {
		all = append(all, pki.Credentials{Conn: c, Secrets: []pki.Secret{{Key: secret}}})
	}
	k, err := pki.NewKeyring(all)
	if err != nil {
		panic(fmt.Errorf("%w: %w", errBuild, err))
	}
	return k
}
