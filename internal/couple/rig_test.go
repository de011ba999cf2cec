package couple

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/mip6/mip6/ike"
	"github.com/mip6/mip6/ike/message"
	"github.com/mip6/mip6/ike/pki"
	"github.com/mip6/mip6/mn"
	"github.com/mip6/mip6/mobility/protect"
	"github.com/mip6/mip6/xfrm"
)

var (
	hoa   = netip.MustParseAddr("2001:db8:1::10")
	agent = netip.MustParseAddr("2001:db8:1::1")
	coa1  = netip.MustParseAddr("2001:db8:2::10")
	coa2  = netip.MustParseAddr("2001:db8:3::10")
	ids   = protect.ReqIDsFor(protect.Node, 0)
	epoch = time.Unix(1_800_000_000, 0)

	words = strings.NewReplacer("2001:db8:1::10", "HOA", "2001:db8:1::1", "HA", "2001:db8:2::10", "COA1", "2001:db8:3::10", "COA2",
		fmt.Sprintf("%#x", uint32(ids.MH)), "MH", fmt.Sprintf("%#x", uint32(ids.Payload)), "PAYLOAD", " proto esp", "", " state", "", "0x00000", "")
)

// rig is the coupling of a mobile node, whose role's wishes a test makes up, with a real IKE machine
// as the peer's. Everything is carried out at once, in order; what is done is written down.
type rig struct {
	t     *testing.T
	now   time.Time
	n     *Node
	role  *mn.Machine
	peer  *ike.Machine
	keys  map[bool]*pki.Keyring // true: the peer's
	queue []func()
	spi   [2]uint32
	log   []string
	sent  int  // messages of IKE
	cut   bool // they get lost
	last  []ike.Action
}

func newRig(t *testing.T) *rig {
	role, err := mn.New(mn.Config{Home: netip.PrefixFrom(hoa, 64), HomeAgent: agent, ReqIDs: ids},
		xfrm.Caps{Migrate: true, MIP6: true, ESP6: true}, rand.NewChaCha8([32]byte{1}))
	if err != nil {
		t.Fatal(err)
	}
	ring := func() *pki.Keyring {
		k, err := pki.NewKeyring([]pki.Credentials{{Conn: "c", Secrets: []pki.Secret{{Key: []byte("a secret of the test only")}}}})
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	r := &rig{t: t, now: epoch, role: role, keys: map[bool]*pki.Keyring{false: ring(), true: ring()}, spi: [2]uint32{0xa00, 0xb00}}
	r.n = New(Config{IKE: ike.New(config("mn", "ha"), rand.NewChaCha8([32]byte{2})), Port: 500, ReplayWindow: 64,
		MNs: []MN{{Machine: role, Home: hoa, HomeAgent: agent, Conn: "c", Children: children()}}})
	r.restartPeer()
	return r
}

func config(local, remote string) ike.Config {
	return ike.Config{Conns: []ike.Conn{{Name: "c", LocalID: message.FQDN(local), LocalAuth: pki.PSK, RemoteAuth: pki.PSK,
		RemoteID: ike.IDMatch{Exact: []message.Identity{message.FQDN(remote)}}}}}
}

func children() []mn.Child {
	return []mn.Child{{Kind: mn.ChildMH, ReqID: ids.MH, Mode: xfrm.Transport}, {Kind: mn.ChildPayload, ReqID: ids.Payload, Mode: xfrm.Tunnel}}
}

// restartPeer lets the peer forget everything.
func (r *rig) restartPeer() {
	r.peer = ike.New(config("ha", "mn"), rand.NewChaCha8([32]byte{3, byte(r.spi[1])}))
}

// wish is what the mobile node's role wants.
func (r *rig) wish(acts ...mn.Action) {
	r.n.now = r.now
	r.n.fromMN(acts)
	r.do(r.n.pump(nil))
	r.settle()
}

func (r *rig) step(ev Event) {
	r.do(r.n.Step(r.now, ev, nil))
	r.settle()
}

func (r *rig) peerDoes(ev ike.Event) {
	r.doPeer(r.peer.Step(r.now, ev, nil))
	r.settle()
}

func (r *rig) later(do func()) { r.queue = append(r.queue, do) }

func (r *rig) settle() {
	for len(r.queue) > 0 {
		do := r.queue[0]
		r.queue = r.queue[1:]
		do()
	}
}

// wait lets time pass for the node.
func (r *rig) wait(d time.Duration) {
	end := r.now.Add(d)
	for at := r.n.Deadline(); !at.IsZero() && !at.After(end); at = r.n.Deadline() {
		if at.After(r.now) {
			r.now = at
		}
		r.do(r.n.Tick(r.now, nil))
		r.settle()
	}
	r.now = end
}

func (r *rig) say(format string, a ...any) {
	r.log = append(r.log, words.Replace(fmt.Sprintf(format, a...)))
}

func (r *rig) do(acts []Action) {
	for _, a := range acts {
		switch a := a.(type) {
		case Xfrm:
			for _, op := range a.Ops {
				text := protect.Text(op)
				if put, ok := op.(xfrm.PutSA); ok && put.SA.Acquire != 0 {
					text += fmt.Sprintf(" acquire %d", put.SA.Acquire)
				}
				r.say("%s", text)
			}
			r.answer(a.Token, XfrmDone, len(a.Ops))
		case Host:
			r.answer(a.Token, HostDone, len(a.Ops))
		case AllocSPI:
			r.spi[0]++
			spi := r.spi[0]
			r.later(func() { r.do(r.n.Step(r.now, SPIDone{Token: a.Token, SPI: xfrm.SPI(spi)}, nil)) })
		case IKE:
			if ev := r.think(a.Action, false); ev != nil {
				r.later(func() { r.do(r.n.Step(r.now, FromIKE{ev}, nil)) })
			}
		case Note:
			if a.Level > Debug {
				r.say("note %s", a.Msg)
			}
		case Stopped:
			r.say("stopped")
		}
	}
}

func (r *rig) answer(t Token, kind DoneKind, n int) {
	if t.Owner != Nobody {
		r.later(func() { r.do(r.n.Step(r.now, Done{Token: t, Kind: kind, Errs: make([]error, n)}, nil)) })
	}
}

// think does what an executor does for an IKE machine.
func (r *rig) think(a ike.Action, peer bool) ike.Event {
	switch a := a.(type) {
	case ike.Prove:
		p, err := r.keys[peer].Prove(a.Request)
		return ike.Proved{ID: a.ID, Proof: p, Err: err}
	case ike.VerifyPeer:
		p, err := r.keys[peer].Verify(a.Request)
		return ike.PeerVerified{ID: a.ID, Peer: p, Err: err}
	case ike.Encapsulate:
		ct, shared, err := a.Method.Encapsulate(a.Public)
		return ike.Encapsulated{ID: a.ID, Ciphertext: ct, Shared: shared, Err: err}
	case ike.Send:
		r.sent++
		if r.cut {
			return nil
		}
		ev := ike.Datagram{Local: a.Remote, Remote: a.Local, Data: a.Data}
		if peer {
			r.later(func() { r.do(r.n.Step(r.now, FromIKE{ev}, nil)) })
		} else {
			r.later(func() { r.doPeer(r.peer.Step(r.now, ev, nil)) })
		}
	}
	return nil
}

func (r *rig) doPeer(acts []ike.Action) {
	for _, a := range acts {
		ev := r.think(a, true)
		switch a := a.(type) {
		case ike.Authorise:
			ev = ike.Authorised{ID: a.ID, Name: map[bool]string{true: nameMH, false: namePayload}[a.Transport], ReqID: 7, Local: a.Local, Remote: a.Remote}
		case ike.AllocSPI:
			r.spi[1]++
			ev = ike.SPIAllocated{ID: a.ID, SPI: r.spi[1]}
		case ike.Install:
			ev = ike.Installed{ID: a.ID}
		case ike.Send:
		default:
			r.last = append(r.last, a)
		}
		if ev != nil {
			r.later(func() { r.doPeer(r.peer.Step(r.now, ev, nil)) })
		}
	}
}

// want compares what was done since the last time, line by line.
func (r *rig) want(what, text string) {
	r.t.Helper()
	var lines []string
	for _, l := range strings.Split(text, "\n") {
		if l = strings.TrimSpace(l); l != "" {
			lines = append(lines, l)
		}
	}
	if got, want := strings.Join(r.log, "\n"), strings.Join(lines, "\n"); got != want {
		r.t.Errorf("%s: done is\n%s\nwant\n%s", what, got, want)
	}
	r.log = nil
}

// ends are those of the node's IKE SAs that stand, by age.
func (r *rig) ends() string {
	var out []string
	for _, s := range r.n.homes[hoa].sas {
		for _, i := range r.n.cfg.IKE.Snapshot() {
			if i.SA == s.id {
				out = append(out, words.Replace(i.Local.Addr().String()+"-"+i.Remote.Addr().String()))
			}
		}
	}
	return strings.Join(out, " ")
}

func (r *rig) up() {
	r.wish(mn.KeyUp{Home: hoa, HomeAgent: agent, CareOf: coa1, Children: children(), InitialContact: true})
}
