package ike

import (
	"net/netip"
	"testing"
	"time"

	"github.com/mip6/mip6/ike/message"
	"github.com/mip6/mip6/ike/pki"
	"github.com/mip6/mip6/ike/transform"
)

var cnID = message.FQDN("cn.example.org")

func psk(conn string, local, peer message.Identity) Conn {
	c := Conn{Name: conn, LocalID: local, RemoteID: IDMatch{Exact: []message.Identity{peer}}, LocalAuth: pki.PSK, RemoteAuth: pki.PSK}
	if peer.IsZero() {
		c.RemoteID = IDMatch{Any: true}
	}
	return c
}

func ring(t testing.TB, local message.Identity, conns ...string) *pki.Keyring {
	t.Helper()
	var creds []pki.Credentials
	for _, c := range conns {
		x := pki.Credentials{Conn: c}
		for _, peer := range []message.Identity{mnID, haID, cnID} {
			x.Secrets = append(x.Secrets, pki.Secret{Local: local, Peer: peer, Key: []byte("a secret of all")})
		}
		creds = append(creds, x)
	}
	k, err := pki.NewKeyring(creds)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// three is a mobile node with its home agent and a correspondent, each by a connection of its own.
func three(t testing.TB, seed uint64) (w *world, mn, ha, cn *node) {
	w = newWorld(t, seed)
	path := psk("path", mnID, cnID)
	path.AH = offersAH(t, "sha256")
	mn = w.node("mn", Config{Conns: []Conn{psk("home", mnID, haID), path}}, ring(t, mnID, "home", "path"), coa1, coa2)
	ha = w.node("ha", Config{Conns: []Conn{psk("nodes", haID, message.Identity{})}}, ring(t, haID, "nodes"), haA)
	serve := psk("serve", cnID, message.Identity{})
	serve.AH = offersAH(t, "sha256")
	cn = w.node("cn", Config{Conns: []Conn{serve}}, ring(t, cnID, "serve"), cnA)
	cn.narrow = byPath
	return w, mn, ha, cn
}

func (n *node) both(t testing.TB) {
	n.step(Initiate{Req: 1, Conn: "home", Local: ap(coa1), Remote: ap(haA), Children: []ChildWant{mhWant(), payloadWant()}, InitialContact: true})
	n.step(Initiate{Req: 2, Conn: "path", Local: ap(coa1), Remote: ap(cnA), Children: []ChildWant{pathWant("path", AH, hoaA, 9)}, InitialContact: true})
}

// established are the IKE SAs that are up, by connection.
func (n *node) established() map[string]SAInfo {
	out := map[string]SAInfo{}
	for _, s := range n.m.Snapshot() {
		if s.State == "established" {
			out[s.Conn] = s
		}
	}
	return out
}

// TestAgentAndCorrespondent: IKE SAs to both do not know of each other: moves, restarts, first
// contacts and orphans.
func TestAgentAndCorrespondent(t *testing.T) {
	w, mn, ha, cn := three(t, 5)
	mn.both(t)
	w.run(time.Second, nil)
	sas := mn.established()
	if len(sas) != 2 || len(mn.kernel) != 3 || len(ha.kernel) != 2 || len(cn.kernel) != 1 ||
		len(find[InitialContact](ha)) != 1 || len(find[InitialContact](cn)) != 1 {
		t.Fatal(mn.dump(), ha.dump(), cn.dump())
	}
	from := len(w.sent)
	mn.step(Moved{SA: sas["home"].SA, Local: ap(coa2)})
	if now := mn.established(); now["home"].Local != ap(coa2) || now["path"].Local != ap(coa1) || now["path"].Moves != 0 {
		t.Errorf("%+v", now)
	}
	mn.step(Moved{SA: sas["path"].SA, Local: ap(coa2)})
	cn.step(Moved{SA: cn.established()["serve"].SA, Remote: ap(coa2)})
	w.run(time.Second, nil)
	if len(w.sent) != from {
		t.Error("a move sends something")
	}
	for n, want := range map[*node][2]string{mn: {hoaA, cnA}, cn: {cnA, hoaA}} {
		for _, c := range n.kernel {
			if c.Proto == AH && (c.LocalAddr.String() != want[0] || c.RemoteAddr.String() != want[1] || !c.Proxy) {
				t.Errorf("%+v", c)
			}
		}
		for _, c := range n.established()[map[*node]string{mn: "path", cn: "serve"}[n]].Children {
			if c.Child.LocalAddr.String() != want[0] || c.Child.RemoteAddr.String() != want[1] {
				t.Errorf("%s: a transport SA moved: %+v", n.name, c)
			}
		}
	}
	// A rekey by either side goes between the new addresses and gives SAs for the same ones.
	cn.step(RekeyChild{SA: cn.established()["serve"].SA, SPIIn: cn.established()["serve"].Children[0].Child.SPIIn})
	w.run(time.Second, nil)
	if r := one[ChildRekeyed](mn); r.Child.LocalAddr.String() != hoaA || r.Child.ReqID != 9 || r.Child.Name != "path" || r.Child.Proto != AH {
		t.Errorf("%+v", r)
	}
	for _, s := range w.sent[from:] {
		if s.Local.Addr().String() == coa1 || s.Remote.Addr().String() == coa1 {
			t.Errorf("%v → %v", s.Local, s.Remote)
		}
	}
	// The correspondent forgets: nothing of it touches the home agent's.
	mn.step(ForgetPeer{Conn: "path", Peer: cnID})
	w.run(time.Minute, nil)
	if now := mn.established(); len(now) != 1 || now["home"].SA != sas["home"].SA || len(mn.kernel) != 2 {
		t.Errorf("%+v", now)
	}
	mn.step(ForgetPeer{Conn: "path", Peer: haID})
	mn.step(DropOrphans{Conn: "path", Peer: haID})
	if now := mn.established(); len(now) != 1 || len(mn.kernel) != 2 {
		t.Errorf("%+v", now)
	}
}

// TestAgentIsCorrespondent: one host with one identity is home agent and correspondent, so that
// the node has two IKE SAs with it, by two connections; it restarts and begins both at once. Only
// the first says INITIAL_CONTACT, whatever is lost or overtaken, and both stay.
func TestAgentIsCorrespondent(t *testing.T) {
	both := 0
	defer func() {
		if both < 60 {
			t.Errorf("only %d times were both up", both)
		}
	}()
	for seed := range uint64(40) {
		w := newWorld(t, seed)
		path := psk("path", mnID, haID)
		path.AH = offersAH(t, "sha256")
		cfg := Config{Conns: []Conn{psk("home", mnID, haID), path}}
		mn := w.node("mn", cfg, ring(t, mnID, "home", "path"), coa1)
		serve := psk("serve", haID, message.Identity{})
		serve.AH = offersAH(t, "sha256")
		agent := Config{Conns: []Conn{serve}}
		if seed%2 == 1 { // and it may have two connections, of which the child decides
			agent.Conns = []Conn{psk("nodes", haID, message.Identity{}), serve}
		}
		ha := w.node("ha", agent, ring(t, haID, "nodes", "serve"), haA, cnA)
		ha.narrow = func(a Authorise) Authorised {
			if r := byPath(a); a.Proto == AH {
				return r
			}
			return Authorised{Name: map[bool]string{true: "mh", false: "payload"}[a.Transport], ReqID: 7, Local: a.Local, Remote: a.Remote}
		}
		had := 0
		for life := range 3 {
			w.loss, w.jitter, w.dup = 0.2, 400*time.Millisecond, 0.1
			mn.both(t)
			w.run(20*time.Second, nil)
			w.loss = 0
			w.run(2*orphanGrace, nil)
			up := mn.established()
			if len(up) != len(find[SAUp](mn)) {
				t.Fatalf("seed %d, life %d: an IKE SA is gone%s", seed, life, mn.dump())
			}
			if len(up) == 2 && (ha.m.Stats().Established != 2 || len(ha.kernel) != 3 || len(mn.kernel) != 3) {
				t.Fatalf("seed %d, life %d: the peer dropped one%s", seed, life, ha.dump())
			}
			if len(up) == 2 {
				both++
				contacts := map[string]bool{}
				for _, c := range find[InitialContact](ha) {
					contacts[c.Conn] = true
				}
				if len(contacts) == 0 || life > 0 && had == 2 && len(contacts) != len(agent.Conns) {
					t.Errorf("seed %d, life %d: first contact by %v", seed, life, contacts)
				}
			}
			had = len(up)
			if len(mn.m.contact) != 0 {
				t.Error("a contact is left")
			}
			mn.m = New(cfg, seeded(seed+200+uint64(life)))
			mn.kernel, mn.log, ha.log = map[uint32]Child{}, nil, nil
		}
	}
}

// TestFirstContactAfterFailure: who said it and failed leaves it to the next.
func TestFirstContactAfterFailure(t *testing.T) {
	w, mn, ha, _ := three(t, 5)
	lost := true
	w.drop = func(*node, Send) bool { return lost }
	start := func(req uint64) {
		mn.step(Initiate{Req: req, Conn: "home", Local: ap(coa1), Remote: ap(haA), Children: []ChildWant{mhWant()}, InitialContact: true})
	}
	for req := range uint64(4) {
		start(req + 1)
	}
	mn.step(Initiate{Req: 9, Conn: "path", Local: ap(coa1), Remote: ap(cnA), Children: []ChildWant{pathWant("path", AH, hoaA, 9)}})
	if n := len(mn.m.sas); n != 2 { // one with either peer
		t.Errorf("%d IKE SAs begun", n)
	}
	w.run(time.Second, nil)
	mn.step(Cancel{Req: 3}) // which waits
	mn.step(Cancel{Req: 1}) // which is under way: the next begins
	lost = false
	w.run(5*time.Second, nil)
	if len(find[SAUp](ha)) != 2 || len(find[InitialContact](ha)) != 1 || ha.m.Stats().Established != 2 || len(mn.m.contact) != 0 {
		t.Error(ha.dump())
	}
	if r := find[Refused](mn); len(r) != 2 || r[0].Req != 3 || r[1].Req != 1 {
		t.Errorf("%+v", r)
	}
	start(5)
	w.run(time.Second, nil)
	if len(find[InitialContact](ha)) != 1 || ha.m.Stats().Established != 3 {
		t.Error("it is not the first contact any more")
	}
}

// TestConnByProposals: of two connections that know the peer the one is taken that has proposals
// for the child; where none has, the IKE SA stands without it.
func TestConnByProposals(t *testing.T) {
	for _, c := range []struct {
		offer, conn string
		want        ChildWant
		children    int
	}{
		{"sha256", "second", pathWant("path", AH, hoaA, 9), 1},
		{"sha256", "first", pathWant("path", ESP, hoaA, 9), 1},
		{"sha512", "first", pathWant("path", AH, hoaA, 9), 0},
	} {
		w := newWorld(t, 1)
		mine := psk("path", mnID, cnID)
		mine.AH = offersAH(t, c.offer)
		mn := w.node("mn", Config{Conns: []Conn{mine}}, ring(t, mnID, "path"), coa1)
		first, second := psk("first", cnID, message.Identity{}), psk("second", cnID, mnID)
		second.AH = offersAH(t, "sha256")
		cn := w.node("cn", Config{Conns: []Conn{first, second}}, ring(t, cnID, "first", "second"), cnA)
		mn.step(Initiate{Conn: "path", Local: ap(coa1), Remote: ap(cnA), Children: []ChildWant{c.want}})
		w.run(time.Second, nil)
		if up := one[SAUp](cn); up.Conn != c.conn || len(cn.kernel) != c.children {
			t.Errorf("%s: %s, %d children", c.offer, up.Conn, len(cn.kernel))
		}
	}
}

// TestOrphansByNumber: children of one name for two home addresses; each orphan stays until the
// child of its number is in.
func TestOrphansByNumber(t *testing.T) {
	w, mn, cn := pair(t, 6, withAH(t, "sha256", "sha256"))
	cn.narrow = func(a Authorise) Authorised {
		r := byPath(a)
		r.Name = "path"
		return r
	}
	wants := []ChildWant{pathWant("path", AH, hoaA, 1), pathWant("path", AH, hoaB, 2)}
	mn.initiate(wants...)
	w.run(time.Second, nil)
	agree(t, mn, cn, 2)
	mn.m = New(Config{Conns: []Conn{mnConn()}}, seeded(98)) // it restarts
	mn.step(SetConfig{func() Config { c := Config{Conns: []Conn{mnConn()}}; c.Conns[0].AH = offersAH(t, "sha256"); return c }()})
	mn.kernel, cn.log = map[uint32]Child{}, nil
	mn.step(Initiate{Conn: "mip6", Local: ap(coa1), Remote: ap(haA), Children: wants[1:], InitialContact: true})
	w.run(time.Second, nil)
	if len(cn.kernel) != 2 || one[ChildDown](cn).Child.RemoteAddr.String() != hoaB {
		t.Fatal(cn.dump())
	}
	mn.step(CreateChild{SA: mn.established()["mip6"].SA, Want: wants[0]})
	w.run(time.Second, nil)
	agree(t, mn, cn, 2)
	if len(find[ChildDown](cn)) != 2 {
		t.Error(cn.dump())
	}
}

// TestNarrowedTransport: a correspondent that narrows by protocol is followed; one that would
// change the addresses, for which no SPI was asked, is not.
func TestNarrowedTransport(t *testing.T) {
	w, mn, cn := pair(t, 6, withAH(t, "sha256", "sha256"))
	cn.narrow = func(a Authorise) Authorised {
		r := byPath(a)
		r.Local, r.Remote = pfx(cnA+"/128", 6), pfx(hoaA+"/128", 6)
		return r
	}
	mn.initiate(pathWant("path", AH, hoaA, 1))
	w.run(time.Second, nil)
	agree(t, mn, cn, 1)
	if c := mn.byName("path"); c.Local[0].Protocol != 6 || c.LocalAddr.String() != hoaA {
		t.Errorf("%+v", c)
	}
	wide := pathWant("wide", AH, hoaA, 2)
	wide.Remote = pfx("2001:db8:c::/64", 0)
	mn.step(CreateChild{Req: 3, SA: mn.established()["mip6"].SA, Want: wide})
	w.run(time.Second, nil)
	agree(t, mn, cn, 1)
	if r := one[ChildRefused](mn); r.Req != 3 || r.ByPeer {
		t.Errorf("%+v", r)
	}
}

// TestMoveFromHome: a path that was made at home, by IKE from the home address, keeps its
// addresses when the node goes abroad and comes back.
func TestMoveFromHome(t *testing.T) {
	w, mn, cn := pair(t, 6, withAH(t, "sha256", "sha256"))
	mn.addrs = append(mn.addrs, netip.MustParseAddr(hoaA))
	want := pathWant("path", AH, hoaA, 1)
	want.Remote = pfx(haA+"/128", 0)
	mn.step(Initiate{Conn: "mip6", Local: ap(hoaA), Remote: ap(haA), Children: []ChildWant{want}})
	w.run(time.Second, nil)
	agree(t, mn, cn, 1)
	for _, at := range []string{hoaA, coa1, coa2, hoaA} {
		mn.step(Moved{SA: mn.established()["mip6"].SA, Local: ap(at)})
		cn.step(Moved{SA: cn.established()["mip6"].SA, Remote: ap(at)})
		for range 2 { // as it stands, and as a rekey makes it anew
			for _, n := range []*node{mn, cn} {
				c := n.established()["mip6"].Children[0].Child
				if n == cn {
					c.LocalAddr, c.RemoteAddr = c.RemoteAddr, c.LocalAddr
				}
				if c.LocalAddr.String() != hoaA || c.RemoteAddr.String() != haA || c.Proxy != (at != hoaA) {
					t.Errorf("%s at %s: %+v", n.name, at, c)
				}
			}
			mn.step(RekeyChild{mn.established()["mip6"].SA, mn.established()["mip6"].Children[0].Child.SPIIn})
			w.run(time.Second, nil)
			agree(t, mn, cn, 1)
		}
	}
}

// TestPathByCorrespondent: the correspondent may ask as well: initiator and responder in turn.
func TestPathByCorrespondent(t *testing.T) {
	w, mn, cn := pair(t, 6, withAH(t, "sha256", "sha256"))
	mn.narrow = func(a Authorise) Authorised {
		return Authorised{Name: "path", ReqID: 5, Local: a.Local, Remote: a.Remote}
	}
	want := pathWant("path", AH, hoaA, 4)
	want.Local, want.Remote = want.Remote, want.Local
	mn.initiate(payloadWant())
	w.run(time.Second, nil)
	cn.step(CreateChild{Req: 3, SA: cn.established()["mip6"].SA, Want: want})
	w.run(time.Second, nil)
	agree(t, mn, cn, 2)
	if c, d := mn.byName("path"), cn.byName("path"); c.LocalAddr != netip.MustParseAddr(hoaA) || !c.Proxy || !d.Proxy || c.Initiator || !d.Initiator ||
		c.Integ != transform.IntegHMACSHA256 || d.ReqID != 4 || c.ReqID != 5 {
		t.Errorf("%+v %+v", c, d)
	}
}
