package kernel

import (
	"context"
	"net"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/mip6/mip6/xfrm"
	"github.com/mip6/mip6/xfrm/xfrmtest"
)

// Two hosts of one kernel, joined by a veth: a mobile node with two care-of
// addresses and a home address, and a home agent that is the correspondent too.
var (
	hoa, ha, coa1, coa2, peer = xfrmtest.HomeAddress, xfrmtest.HomeAgent, xfrmtest.CareOf1, xfrmtest.CareOf2, xfrmtest.Peer
)

type twoHosts struct {
	*testing.T
	node, agent   *netns
	nodeB, agentB *Backend
	server        *net.UDPConn // at the agent, on the peer's address
	client        *net.UDPConn // at the node, on the home address
}

func newTwoHosts(t *testing.T) *twoHosts {
	h := &twoHosts{T: t, node: newNetns(t), agent: newNetns(t)}
	h.nodeB, h.agentB = h.node.mustBackend(Options{}), h.agent.mustBackend(Options{})
	if c := h.nodeB.Caps(); !c.ESP6 || !c.MIP6 || !c.Migrate {
		t.Skipf("this kernel lacks %+v; run by integration/cmd/vmtest", c.Missing)
	}
	h.do(h.node, func() error {
		v := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "mn0"}, PeerName: "ha0"}
		if err := netlink.LinkAdd(v); err != nil {
			return err
		}
		p, err := netlink.LinkByName("ha0")
		if err != nil {
			return err
		}
		return netlink.LinkSetNsFd(p, h.agent.Fd())
	})
	for _, c := range []string{
		"link set mn0 up", "addr add 2001:db8:a::100/64 dev mn0 nodad", "addr add 2001:db8:b::100/64 dev mn0 nodad",
		"addr add 2001:db8:1::100/128 dev lo nodad home", "route add 2001:db8:1::1/128 dev mn0", "route add 2001:db8:c::/64 dev mn0",
	} {
		h.node.ip("-6 " + c)
	}
	for _, c := range []string{
		"link set ha0 up", "addr add 2001:db8:1::1/128 dev ha0 nodad", "addr add 2001:db8:c::1/64 dev ha0 nodad",
		"route add 2001:db8:a::/64 dev ha0", "route add 2001:db8:b::/64 dev ha0", "route add 2001:db8:1::100/128 dev ha0",
	} {
		h.agent.ip("-6 " + c)
	}
	h.waitLink()
	h.server = h.listen(h.agent, peer, 7)
	h.client = h.listen(h.node, hoa, 0)
	go h.echo()
	return h
}

func (h *twoHosts) do(ns *netns, f func() error) {
	h.Helper()
	var err error
	if e := ns.do(func() { err = f() }); e != nil || err != nil {
		h.Fatal(e, err)
	}
}

// waitLink waits until packets pass: a veth is up a little after it was set up.
func (h *twoHosts) waitLink() {
	h.Helper()
	for range 50 {
		if _, err := h.node.run("ping", "-6", "-c", "1", "-W", "1", "-I", coa1.String(), ha.String()); err == nil {
			return
		}
	}
	h.Fatal("no packet passes between the two hosts")
}

func (h *twoHosts) listen(ns *netns, a netip.Addr, port uint16) (c *net.UDPConn) {
	h.do(ns, func() (err error) {
		c, err = net.ListenUDP("udp6", net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, port)))
		return err
	})
	h.Cleanup(func() { c.Close() })
	return c
}

// echo sends back what comes, until the socket is closed.
func (h *twoHosts) echo() {
	buf := make([]byte, 2000)
	for {
		n, from, err := h.server.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		h.server.WriteToUDPAddrPort(buf[:n], from)
	}
}

// roundTrip sends numbered packets until one comes back, and gives how many were
// lost before.
func (h *twoHosts) roundTrip(to netip.Addr, patience time.Duration) (lost int, ok bool) {
	buf := make([]byte, 2000)
	for lost = 0; lost < 20; lost++ {
		word := strconv.Itoa(lost) + " " + to.String()
		h.client.WriteToUDPAddrPort([]byte(word), netip.AddrPortFrom(to, 7))
		h.client.SetReadDeadline(time.Now().Add(patience))
		for {
			n, _, err := h.client.ReadFromUDPAddrPort(buf)
			if err != nil {
				break
			}
			if string(buf[:n]) == word {
				return lost, true
			}
		}
	}
	return lost, false
}

func (h *twoHosts) mustPass(what string) {
	h.Helper()
	lost, ok := h.roundTrip(peer, time.Second)
	if !ok {
		h.Fatalf("%s: nothing comes back; node %v, agent %v", what, h.drops(h.nodeB), h.drops(h.agentB))
	}
	if lost > 0 {
		h.Logf("%s: %d packets lost", what, lost)
	}
}

func (h *twoHosts) apply(b *Backend, ops ...xfrm.Op) {
	h.Helper()
	for i, err := range b.Apply(context.Background(), ops) {
		if err != nil {
			h.Fatalf("operation %d (%T): %v", i+1, ops[i], err)
		}
	}
}

// tunnel is a payload child: SAs and the policies of both ends.
type tunnel struct {
	up, down          xfrm.SA
	nodeOut, nodeIn   xfrm.Policy
	agentIn, agentFwd xfrm.Policy
	agentOut          xfrm.Policy
}

func newTunnel() tunnel {
	t := tunnel{up: xfrmtest.ESP(coa1, ha, 0x5001, 2), down: xfrmtest.ESP(ha, coa1, 0x5002, 2)}
	t.up.Replay, t.down.Replay = xfrm.Replay{Window: 512, ESN: true}, xfrm.Replay{Window: 512, ESN: true}
	t.nodeOut, t.nodeIn = xfrmtest.TunnelPolicy(xfrm.Out, coa1, ha, 2), xfrmtest.TunnelPolicy(xfrm.In, ha, coa1, 2)
	t.agentIn, t.agentFwd, t.agentOut = t.nodeOut, t.nodeOut, t.nodeIn
	t.agentIn.Dir, t.agentFwd.Dir, t.agentOut.Dir = xfrm.In, xfrm.Fwd, xfrm.Out
	return t
}

// setUp puts the child at both ends.
func (h *twoHosts) setUp(t tunnel) {
	h.Helper()
	h.apply(h.nodeB, xfrm.PutSA{SA: t.up}, xfrm.PutSA{SA: t.down}, xfrm.PutPolicy{Policy: t.nodeOut}, xfrm.PutPolicy{Policy: t.nodeIn})
	h.apply(h.agentB, xfrm.PutSA{SA: t.up}, xfrm.PutSA{SA: t.down},
		xfrm.PutPolicy{Policy: t.agentIn}, xfrm.PutPolicy{Policy: t.agentFwd}, xfrm.PutPolicy{Policy: t.agentOut})
}

// dumpSA gives a backend's SA with this ID.
func (h *twoHosts) dumpSA(b *Backend, id xfrm.ID) (sa xfrm.SA, found bool) {
	h.Helper()
	err := b.Dump(context.Background(), xfrm.Filter{SAs: true}, func(o xfrm.Object) error {
		if s := o.(xfrm.SA); s.ID().Canonical() == id.Canonical() {
			sa, found = s, true
		}
		return nil
	})
	if err != nil {
		h.Fatal(err)
	}
	return sa, found
}

// drops gives the counters that are not zero.
func (h *twoHosts) drops(b *Backend) (found []Counter) {
	h.Helper()
	all, err := b.Stats()
	if err != nil {
		h.Fatal(err)
	}
	for _, c := range all {
		if c.Value != 0 {
			found = append(found, c)
		}
	}
	return found
}
