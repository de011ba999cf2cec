package conformance

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/mip6/mip6/cn"
	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/mobility"
	"github.com/mip6/mip6/xfrm"
)

// model is a Wire to the correspondent's machine in this process. What a kernel with
// MIP6 does with headers and data packets is done here in a few lines, and time
// passes at will: the cases of minutes take none. It proves the machine and the
// cases; how daemon and kernel work together is for TestCN.
type model struct {
	machine *cn.Machine
	now     time.Time
	nodes   []netip.Addr
	routes  map[[2]netip.Addr]*modelRoute
	sent    [][]byte
	log     []string
}

// modelRoute is what the kernel would hold for a pair of addresses.
type modelRoute struct {
	cn.Route
	last    time.Time
	packets uint64
}

var _ Wire = (*model)(nil)

func newModel(t *testing.T, prefixes ...netip.Prefix) *model {
	t.Helper()
	machine, err := cn.New(cn.Config{}, rand.NewChaCha8([32]byte{1}), 1)
	if err != nil {
		t.Fatal(err)
	}
	w := &model{machine: machine, now: time.Unix(1_700_000_000, 0), routes: map[[2]netip.Addr]*modelRoute{}}
	for _, p := range prefixes {
		w.nodes = append(w.nodes, eui64(p, nodeMAC))
	}
	w.step(cn.Start{})
	return w
}

// TestCNModel runs the correspondent's cases, and our own, against its machine.
func TestCNModel(t *testing.T) {
	for _, c := range all(cnCases, cnRules) {
		t.Run(c.ID, func(t *testing.T) { c.Run(t, NewTester(t, newModel(t, link0, link0b))) })
	}
}

func (w *model) Now() time.Time      { return w.now }
func (w *model) Nodes() []netip.Addr { return w.nodes }
func (w *model) Log() string         { return strings.Join(w.log, "\n") }
func (w *model) Sleep(d time.Duration) {
	if d > 0 {
		w.pass(w.now.Add(d), false)
	}
}

// Next is of Wire.
func (w *model) Next(limit time.Duration) ([]byte, bool) {
	if len(w.sent) == 0 && limit > 0 {
		w.pass(w.now.Add(limit), true)
	}
	if len(w.sent) == 0 {
		return nil, false
	}
	p := w.sent[0]
	w.sent = w.sent[1:]
	return p, true
}

// pass lets time pass, until something is sent if asked so.
func (w *model) pass(until time.Time, sent bool) {
	for {
		d := w.machine.Deadline()
		if d.IsZero() || d.After(until) {
			w.now = until
			return
		}
		if d.After(w.now) {
			w.now = d
		}
		w.do(w.machine.Tick(w.now, nil))
		if sent && len(w.sent) > 0 {
			return
		}
	}
}

func (w *model) step(e cn.Event) { w.do(w.machine.Step(w.now, e, nil)) }

// do carries out what the machine wants.
func (w *model) do(actions []cn.Action) {
	for _, a := range actions {
		switch a := a.(type) {
		case cn.Host:
			for _, op := range a.Ops {
				if send, ok := op.(host.SendMH); ok {
					w.sendMH(send.MH)
				}
			}
		case cn.Route:
			pair := [2]netip.Addr{a.Local, a.Home}
			if a.CareOf.IsValid() {
				w.routes[pair] = &modelRoute{Route: a}
			} else {
				delete(w.routes, pair)
			}
			if a.ID != 0 {
				w.step(cn.RouteDone{ID: a.ID})
			}
		case cn.AskUse:
			used := cn.Used{ID: a.ID}
			if r := w.routes[[2]netip.Addr{a.Local, a.Home}]; r != nil {
				used.Last, used.Packets = r.last, r.packets
			}
			w.step(used)
		case cn.Note:
			w.log = append(w.log, fmt.Sprintln(a.Msg, a.Home, a.Attrs))
		}
	}
}

// sendMH puts a message on the wire with the headers that it asks for.
func (w *model) sendMH(mh host.MH) {
	data := append([]byte(nil), mh.Data...)
	putSum(mh.Src, mh.Dst, protoMH, data, 4)
	if mh.CareOf.IsValid() && mh.RouteHeader {
		w.routed(mh.Src, mh.CareOf, mh.Dst, protoMH, data)
		return
	}
	w.sent = append(w.sent, Packet{Src: mh.Src, Dst: mh.Dst, Proto: protoMH, Payload: data, Sum: -1}.Bytes())
}

// routed sends a packet to a care-of address with a type 2 routing header.
func (w *model) routed(src, careOf, home netip.Addr, proto byte, payload []byte) {
	w.sent = append(w.sent, Packet{Src: src, Dst: careOf, Route: home, Proto: proto, Payload: payload, Sum: -1}.Bytes())
}

// Send is of Wire: what the kernel does with a packet.
func (w *model) Send(b []byte) error {
	w.now = w.now.Add(time.Millisecond)
	var p mobility.Packet
	if p.Walk(b) != nil || p.Src.IsMulticast() || p.RoutingAddr.IsValid() {
		return nil // a routing header is for a mobile node (RFC 6275 §8.2)
	}
	switch p.Proto {
	case protoMH:
		w.mobility(b, &p)
	case protoICMP:
		w.icmp(b, &p)
	}
	return nil
}

// mobility is the kernel's filter for Mobility Headers (RFC 6275 §9.2), and its socket.
func (w *model) mobility(b []byte, p *mobility.Packet) {
	mh := p.Payload
	least := map[byte]byte{typeHoTI: 1, typeCoTI: 1, typeHoT: 2, typeCoT: 2, typeBU: 1, typeBA: 1, typeBE: 2}[mh[2]]
	switch {
	case mh[1] < least:
		w.problem(b, p, p.Offset+1)
	case mh[0] != protoNone:
		w.problem(b, p, p.Offset)
	case p.ChecksumOK():
		got := host.MH{Src: p.TransportSrc(), Dst: p.Dst, IfIndex: 2, Data: append([]byte(nil), mh...)}
		if p.HomeAddr.IsValid() {
			got.CareOf = p.Src
		}
		w.step(cn.MHReceived{MH: got})
	}
}

func (w *model) problem(b []byte, p *mobility.Packet, pointer int) {
	body := binary.BigEndian.AppendUint32([]byte{4, 0, 0, 0}, uint32(pointer))
	w.sent = append(w.sent, Packet{Src: p.Dst, Dst: p.Src, Proto: protoICMP, Payload: append(body, b...), Sum: 2}.Bytes())
}

// icmp is the kernel's echo, behind its home address options, and its ICMPv6 errors.
func (w *model) icmp(b []byte, p *mobility.Packet) {
	home := p.TransportSrc()
	r := w.routes[[2]netip.Addr{p.Dst, home}]
	if p.HomeAddr.IsValid() && (r == nil || r.CareOf != p.Src) {
		w.step(cn.Report{Report: xfrm.Report{Proto: protoDestOpts, Sel: xfrm.Selector{
			Src: netip.PrefixFrom(home, 128), Dst: netip.PrefixFrom(p.Dst, 128)}, CareOf: p.Src}})
		return
	}
	if !p.ChecksumOK() {
		return
	}
	if r != nil {
		r.last, r.packets = w.now, r.packets+1
	}
	switch body := append([]byte(nil), p.Payload...); body[0] {
	case 1, 4:
		var q mobility.Packet
		q.Walk(body[8:])
		w.step(cn.ICMPError{Error: host.ICMPError{Type: body[0], Code: body[1], From: p.Src,
			Src: q.Src, Dst: q.Dst, Final: q.RoutingAddr, MH: q.Proto == protoMH, Data: body[8:]}})
	case 128:
		body[0] = 129
		putSum(p.Dst, home, protoICMP, body, 2)
		if r != nil {
			w.routed(p.Dst, r.CareOf, home, protoICMP, body)
			return
		}
		w.sent = append(w.sent, Packet{Src: p.Dst, Dst: home, Proto: protoICMP, Payload: body, Sum: -1}.Bytes())
	}
}
