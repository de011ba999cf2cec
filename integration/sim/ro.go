package sim

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/mip6/mip6/cn"
	"github.com/mip6/mip6/ike"
	"github.com/mip6/mip6/ike/message"
	"github.com/mip6/mip6/ike/pki"
	"github.com/mip6/mip6/ike/transform"
	"github.com/mip6/mip6/internal/couple"
	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/mn/optimise"
	"github.com/mip6/mip6/mobility/protect"
)

// addCN adds a correspondent that stays where it is.
func (w *World) addCN(o Options) {
	l := &Link{Name: "far", Prefix: netip.PrefixFrom(Correspondent, 64).Masked()}
	h := w.newHost("cn")
	h.fixed = true
	h.ifaces = append(h.ifaces, &iface{index: wlan, name: "eth0", link: l, linkLocal: netip.MustParseAddr("fe80::c"),
		addrs: []host.Addr{{IfIndex: wlan, Prefix: netip.PrefixFrom(Correspondent, 64), Permanent: true}}})
	h.keys = keyring("cn")
	h.build = func(h *Host) {
		h.IKE = ike.New(ikeConfig(pathConn(correspondentID(), message.Identity{})), h.source())
		h.Node = couple.New(couple.Config{IKE: h.IKE, Port: ikePort, ReplayWindow: window, Caps: h.FW.Caps(), CN: h.buildCN(o)})
	}
}

// buildCN makes a correspondent's machine that knows every node.
func (h *Host) buildCN(o Options) *couple.CN {
	c := cn.Config{FirstReqID: protect.PathReqID(protect.Correspondent, 0)}
	serves := map[string]bool{}
	for _, r := range o.Rules {
		if !r.To.Contains(h.address()) {
			continue
		}
		for i := range o.Nodes {
			p := cn.Peer{Home: HomeAddress(i), Auth: cn.Auth(r.Auth), Key: r.Key, Proto: r.Protect}
			if r.Protect != 0 {
				p.Auth, p.Identity = cn.IPsec, nodeID(i).Fold().String()
				serves[p.Identity] = true
			}
			if p.Auth != cn.ReturnRoutability {
				c.Peers = append(c.Peers, p)
			}
		}
	}
	if o.CN != nil {
		o.CN(&c)
	}
	m, err := cn.New(c, h.source(), rand.New(h.source()).Uint64())
	if err != nil {
		panic(fmt.Errorf("%w: %w", errBuild, err))
	}
	h.CN = m
	return &couple.CN{Machine: m, Conns: []string{"cn"}, Serves: func(id string) bool { return serves[id] }}
}

func correspondentID() message.Identity { return message.FQDN("cn.example.org") }

// pathConn is the connection between a node and the correspondent; without a remote a template.
func pathConn(local, remote message.Identity) ike.Conn {
	c := ike.Conn{Name: "cn", LocalID: local, RemoteID: ike.IDMatch{Any: true}, LocalAuth: pki.PSK, RemoteAuth: pki.PSK,
		DPD: 30 * time.Second, AH: []transform.Offer{{Integ: []transform.Integ{transform.IntegHMACSHA256}}}}
	if remote != (message.Identity{}) {
		c.RemoteID = ike.IDMatch{Exact: []message.Identity{remote}}
	}
	return c
}

func (h *Host) dropRoute(home, remote netip.Addr) {
	h.optRecs = slices.DeleteFunc(h.optRecs, func(r optimise.Record) bool { return r.Home == home && r.Remote == remote })
}

// usage answers how much a path was used.
func (h *Host) usage(a couple.Usage) {
	done := couple.UsageDone{Token: a.Token, Local: a.Local, Remote: a.Remote, Counted: h.counting[[2]netip.Addr{a.Local, a.Remote}]}
	for _, s := range h.db().SAs {
		if slices.Contains(a.IDs, s.ID()) {
			done.Stats = append(done.Stats, s.Stats)
		}
	}
	h.post(0, done)
}

// Peer is the correspondent that stays where it is; nil without one.
func (w *World) Peer() *Host {
	for _, h := range w.Hosts {
		if h.fixed {
			return h
		}
	}
	return nil
}

// Say sends packets between two hosts, one each way every so often, until the world ends.
func (w *World) Say(a, b *Host, every time.Duration) {
	send := func(from, to *Host) {
		src, dst := from.address(), to.address()
		if from.local(src) {
			if _, ok := from.counting[[2]netip.Addr{src, dst}]; ok {
				from.counting[[2]netip.Addr{src, dst}]++
			}
			from.send(flow{src: src, dst: dst, proto: protoUDP})
		}
	}
	w.After(every, func() {
		send(a, b)
		send(b, a)
		w.Say(a, b, every)
	})
}

// address is the one that others speak to.
func (h *Host) address() netip.Addr {
	if h.Home.IsValid() {
		return h.Home
	}
	return h.ifaces[1].addrs[0].Prefix.Addr()
}

// send sends a packet of payload.
func (h *Host) send(f flow) {
	p, v := h.emit(plain(f), f)
	if v != nil {
		if v.miss != nil {
			v.miss()
		}
		return
	}
	h.travel(Payload, p, h.Name+" data", func(at *Host, _ packet, v *verdict) {
		if v == nil {
			h.w.Count.Delivered++
			return
		}
		h.w.Count.LostData++
		h.w.logf("%s: data to %v: %v", h.Name, f.dst, v)
		if at != nil && v.report != nil {
			at.post(kernelLag, couple.FromXfrm{Event: *v.report})
		}
	})
}

// Direct tells whether packets go directly both ways between two hosts, or why they do not pass at all.
func (w *World) Direct(a, b *Host) (direct bool, err error) {
	direct = true
	for _, e := range [][2]*Host{{a, b}, {b, a}} {
		f := flow{src: e[0].address(), dst: e[1].address(), proto: protoUDP}
		first, crossed, v := w.Way(e[0], f)
		if v != nil {
			return false, fmt.Errorf("%s to %s: %w", e[0].Name, e[1].Name, v)
		}
		if e[0].Home.IsValid() && first.tunnel == nil && !first.hao {
			if l := e[0].egress(first.wireSrc, first.wireDst); l == nil || !l.Home {
				return false, fmt.Errorf("%s to %s: in the clear from abroad", e[0].Name, e[1].Name)
			}
		}
		direct = direct && len(crossed) == 0
	}
	return direct, nil
}
