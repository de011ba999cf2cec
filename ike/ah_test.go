package ike

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"testing"
	"time"

	"github.com/mip6/mip6/ike/message"
	"github.com/mip6/mip6/ike/transform"
)

const cnA = "2001:db8:c::1"

func offersAH(t testing.TB, texts ...string) []transform.Offer {
	t.Helper()
	var out []transform.Offer
	for _, s := range texts {
		o, err := transform.ParseAHOffer(s)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, o)
	}
	return out
}

// withAH gives both sides offers for AH.
func withAH(t testing.TB, mn, ha string) func(*setup) {
	return func(s *setup) {
		s.mnCfg.Conns[0].AH, s.haCfg.Conns[0].AH = offersAH(t, mn), offersAH(t, ha)
	}
}

// pathWant is the child between home address and correspondent, whose addresses are not IKE's.
func pathWant(name string, proto uint8, home string, reqid uint32) ChildWant {
	return ChildWant{Name: name, Proto: proto, Mode: Transport, ReqID: reqid, Local: pfx(home+"/128", 0), Remote: pfx(cnA+"/128", 0)}
}

// byPath is a policy owner that tells children apart by home address and protocol.
func byPath(a Authorise) Authorised {
	r := Authorised{Name: "esp " + a.Remote[0].Start.String(), ReqID: 20 + uint32(a.Remote[0].Start.As16()[14]), Local: a.Local, Remote: a.Remote}
	switch {
	case !a.Transport:
		r.Name = "payload"
	case a.Proto == AH:
		r.Name, r.ReqID = "ah "+a.Remote[0].Start.String(), r.ReqID+100
	}
	return r
}

const hoaB = "2001:db8::200"

// paths is a node with AH and ESP for two home addresses at one correspondent, on one IKE SA.
func paths(t testing.TB, seed uint64) (w *world, mn, cn *node, a, b SAID) {
	w, mn, cn = pair(t, seed, withAH(t, "sha256-sha512", "sha512-sha256"))
	cn.narrow = byPath
	mn.initiate(pathWant("ah "+hoaA, AH, hoaA, 11), pathWant("esp "+hoaA, 0, hoaA, 12),
		pathWant("ah "+hoaB, AH, hoaB, 13), pathWant("esp "+hoaB, ESP, hoaB, 14))
	if !w.run(time.Minute, func() bool { return len(find[ChildUp](mn)) == 4 && len(find[ChildUp](cn)) == 4 }) {
		t.Fatal(mn.dump(), cn.dump())
	}
	agree(t, mn, cn, 4)
	return w, mn, cn, one[SAUp](mn).SA, one[SAUp](cn).SA
}

var pathNames = []string{"ah " + hoaA, "esp " + hoaA, "ah " + hoaB, "esp " + hoaB}

func TestPathsWithAH(t *testing.T) {
	_, mn, cn, _, _ := paths(t, 1)
	for i, name := range pathNames {
		c, d := mn.byName(name), cn.byName(name)
		home := []string{hoaA, hoaA, hoaB, hoaB}[i]
		if c.LocalAddr.String() != home || c.RemoteAddr.String() != cnA || !c.Proxy || c.Mode != Transport || c.ReqID != uint32(11+i) {
			t.Errorf("%+v", c)
		}
		if d.LocalAddr.String() != cnA || d.RemoteAddr.String() != home || !d.Proxy || d.Local[0].Protocol != 0 || !d.Local[0].AnyPort() {
			t.Errorf("%+v", d)
		}
		if proto := []uint8{AH, ESP}[i%2]; c.Proto != proto || d.Proto != proto {
			t.Errorf("%s: protocol %d %d", name, c.Proto, d.Proto)
		}
		if c.Proto == AH && (c.Integ != transform.IntegHMACSHA512 || len(mn.kernel[c.SPIIn].AuthIn) != 64) { // the responder's order
			t.Errorf("%+v", c)
		}
	}
	for i, a := range find[Authorise](cn) {
		if a.Proto != []uint8{AH, ESP}[i%2] || !a.Transport {
			t.Errorf("%+v", a)
		}
	}
}

// TestKeymatOfAH computes the keys of a child of IKE_AUTH a second time, from SK_d and the nonces.
func TestKeymatOfAH(t *testing.T) {
	_, mn, _, a, _ := paths(t, 1)
	s := mn.m.sas[a]
	m := hmac.New(sha256.New, s.keys.D)
	var keymat, last []byte
	for n := byte(1); len(keymat) < 128; n++ {
		m.Reset()
		m.Write(last)
		m.Write(s.ni)
		m.Write(s.nr)
		m.Write([]byte{n})
		last = m.Sum(nil)
		keymat = append(keymat, last...)
	}
	if c := mn.kernel[mn.byName("ah "+hoaA).SPIIn]; !bytes.Equal(c.AuthOut, keymat[:64]) || !bytes.Equal(c.AuthIn, keymat[64:128]) {
		t.Errorf("%x %x", c.AuthOut, c.AuthIn)
	}
}

func TestRekeyAndDeleteOfAH(t *testing.T) {
	for _, by := range []string{"mn", "cn"} {
		w, mn, cn, a, b := paths(t, 2)
		n, sa := mn, a
		if by == "cn" {
			n, sa = cn, b
		}
		before := map[string]Child{}
		for _, name := range pathNames {
			before[name] = n.byName(name)
		}
		name := "ah " + hoaB
		n.step(RekeyChild{SA: sa, SPIIn: before[name].SPIIn})
		w.run(time.Second, nil)
		agree(t, mn, cn, 4)
		for _, x := range pathNames {
			if same := n.byName(x).SPIIn == before[x].SPIIn; same != (x != name) {
				t.Errorf("%s: %s has the same SPI: %v", by, x, same)
			}
		}
		for _, n := range []*node{mn, cn} {
			if r := one[ChildRekeyed](n); r.Child.Name != name || r.Child.Proto != AH || len(find[ChildDown](n)) != 0 {
				t.Error(n.dump())
			}
		}
		c := n.byName(name)
		n.step(Expire{SPI: c.SPIIn, Proto: ESP, Dst: c.LocalAddr, Hard: true}) // not this one
		n.step(Expire{SPI: c.SPIOut, Proto: AH, Dst: c.RemoteAddr})
		w.run(time.Second, nil)
		agree(t, mn, cn, 4)
		if len(find[ChildRekeyed](n)) != 2 {
			t.Error("the kernel's alarm was not heard")
		}
		n.step(CloseChild{sa, n.byName(name).SPIIn})
		w.run(time.Second, nil)
		agree(t, mn, cn, 3)
		for _, n := range []*node{mn, cn} {
			if d := one[ChildDown](n); d.Child.Name != name || d.Child.Proto != AH {
				t.Errorf("%+v", d)
			}
		}
		mn.step(RekeySA{a})
		w.run(time.Second, nil)
		agree(t, mn, cn, 3)
		mn.step(Close{SA: one[SARekeyed](mn).New})
		w.run(time.Minute, nil)
		agree(t, mn, cn, 0)
		if len(mn.m.sas)+len(cn.m.sas)+len(mn.m.spis)+len(cn.m.spis)+len(mn.m.tasks)+len(cn.m.tasks) != 0 {
			t.Error("state left")
		}
	}
}

// TestRekeyOfAHCrossing: as TestRekeyCrossing, with both sides' Deletes of AH.
func TestRekeyOfAHCrossing(t *testing.T) {
	for seed := range uint64(20) {
		w, mn, cn, a, b := paths(t, seed)
		w.jitter = 60 * time.Millisecond
		w.loss = float64(seed%3) * 0.1
		name := pathNames[seed%4]
		mn.step(RekeyChild{a, mn.byName(name).SPIIn})
		cn.step(RekeyChild{b, cn.byName(name).SPIIn})
		w.run(3*time.Minute, nil)
		agree(t, mn, cn, 4)
		if mn.byName(name).SPIIn != cn.byName(name).SPIOut {
			t.Fatalf("seed %d: the sides use different pairs", seed)
		}
	}
}

// TestSecrecyOfAH: a key exchange of its own, of which the peer wants another method.
func TestSecrecyOfAH(t *testing.T) {
	w, mn, cn := pair(t, 12, withAH(t, "sha384-x25519-ecp256-esn", "sha384-ecp256-esn"))
	cn.narrow = byPath
	mn.initiate(pathWant("ah "+hoaA, AH, hoaA, 11))
	w.run(time.Second, nil)
	agree(t, mn, cn, 1)
	mn.step(RekeyChild{one[SAUp](mn).SA, mn.byName("ah " + hoaA).SPIIn})
	w.run(time.Second, nil)
	cn.step(RekeyChild{one[SAUp](cn).SA, cn.byName("ah " + hoaA).SPIIn})
	w.run(time.Second, nil)
	agree(t, mn, cn, 1)
	if c := mn.byName("ah " + hoaA); !c.ESN || c.Integ != transform.IntegHMACSHA384 || len(find[ChildRekeyed](mn)) != 2 {
		t.Errorf("%+v", c)
	}
	if s := mn.m.Stats(); s.InvalidKE == 0 {
		t.Error("the responder's method was not asked for")
	}
}

// TestNoOffersOfAH: who has no proposals for AH neither asks nor agrees; the IKE SA stands.
func TestNoOffersOfAH(t *testing.T) {
	w, mn, cn := pair(t, 3, func(s *setup) { s.mnCfg.Conns[0].AH = offersAH(t, "sha256") })
	mn.initiate(pathWant("first", AH, hoaA, 11), pathWant("second", AH, hoaB, 12), payloadWant())
	w.run(time.Second, nil)
	agree(t, mn, cn, 1)
	for _, r := range find[ChildRefused](mn) {
		if r.Notify != message.NoProposalChosen || !r.ByPeer {
			t.Errorf("%+v", r)
		}
	}
	if len(find[ChildRefused](mn)) != 2 || len(find[ChildRefused](cn)) != 2 || len(find[Authorise](cn)) != 1 {
		t.Error(mn.dump(), cn.dump())
	}
	from := len(w.sent)
	cn.step(CreateChild{Req: 5, SA: one[SAUp](cn).SA, Want: ChildWant{Name: "third", Proto: AH, Mode: Transport, ReqID: 3}})
	mn.step(CreateChild{Req: 6, SA: one[SAUp](mn).SA, Want: ChildWant{Name: "fourth", Proto: 17, Mode: Transport, ReqID: 3}})
	cn.step(Initiate{Req: 7, Conn: "mip6", Local: ap(haA), Remote: ap(coa1), Children: []ChildWant{pathWant("x", AH, hoaA, 1)}})
	w.run(time.Second, nil)
	if r := find[ChildRefused](cn); len(r) != 3 || r[2].Req != 5 || r[2].ByPeer || r[2].Reason != noOffers {
		t.Error(cn.dump())
	}
	if r := find[ChildRefused](mn); len(r) != 3 || r[2].Req != 6 || r[2].Reason != noOffers {
		t.Error(mn.dump())
	}
	if r := one[Refused](cn); r.Req != 7 || r.Reason != noOffers || len(w.sent) != from {
		t.Errorf("%+v", r)
	}
	if s := cn.m.Stats(); s.StaleTaskAnswer != 0 || len(cn.m.tasks)+len(mn.m.tasks) != 0 {
		t.Error("a task is left")
	}
}

// TestOtherOffersOfAH: no common algorithm.
func TestOtherOffersOfAH(t *testing.T) {
	w, mn, cn := pair(t, 3, withAH(t, "sha256", "sha512"))
	mn.initiate(pathWant("first", AH, hoaA, 11))
	w.run(time.Second, nil)
	agree(t, mn, cn, 0)
	if r := one[ChildRefused](mn); r.Notify != message.NoProposalChosen || len(find[SAUp](mn)) != 1 {
		t.Errorf("%+v", r)
	}
}

// TestOffersGone: children with AH live on where the configuration has no AH any more, and are
// refused a rekey, from either side, until their hard lifetime.
func TestOffersGone(t *testing.T) {
	for _, by := range []string{"mn", "cn"} {
		w, mn, cn, a, b := paths(t, 2)
		cfg := Config{Conns: []Conn{mnConn()}}
		mn.step(SetConfig{cfg})
		if by == "mn" {
			mn.step(RekeyChild{a, mn.byName("ah " + hoaA).SPIIn})
		} else {
			cn.step(RekeyChild{b, cn.byName("ah " + hoaA).SPIIn})
		}
		w.run(5*time.Second, nil)
		agree(t, mn, cn, 4)
		if len(find[ChildRekeyed](mn))+len(find[SADown](mn))+len(find[ChildDown](mn)) != 0 {
			t.Error(mn.dump())
		}
		w.run(2*time.Hour, nil)
		agree(t, mn, cn, 2)
	}
	// Gone while IKE_AUTH is prepared.
	w, mn, _ := pair(t, 2, withAH(t, "sha256", "sha256"))
	mn.initiate(pathWant("first", AH, hoaA, 11))
	w.run(20*time.Millisecond, func() bool { return len(mn.larval) == 1 })
	mn.step(SetConfig{Config{Conns: []Conn{mnConn()}}})
	w.run(time.Minute, nil)
	if r := one[Refused](mn); r.Reason != noOffers || len(mn.larval)+len(mn.m.sas)+len(mn.m.tasks) != 0 {
		t.Errorf("%+v", r)
	}
}

func TestFailuresOfTheKernelForAH(t *testing.T) {
	for _, who := range []string{"mn", "cn"} {
		w, mn, cn := pair(t, 2, withAH(t, "sha256", "sha256"))
		n := map[string]*node{"mn": mn, "cn": cn}[who]
		n.failIn = true
		mn.initiate(pathWant("first", AH, hoaA, 11))
		w.run(time.Second, nil)
		agree(t, mn, cn, 0)
		n.failIn = false
		mn.step(CreateChild{Req: 2, SA: one[SAUp](mn).SA, Want: pathWant("first", AH, hoaA, 11)})
		w.run(time.Second, nil)
		agree(t, mn, cn, 1)
	}
	w, mn, cn := pair(t, 2, withAH(t, "sha256", "sha256"))
	cn.narrow = func(a Authorise) Authorised { return Authorised{Err: errors.New("no AH for you")} }
	mn.initiate(pathWant("first", AH, hoaA, 11))
	w.run(time.Second, nil)
	agree(t, mn, cn, 0)
	if r := one[ChildRefused](mn); r.Notify != message.NoProposalChosen {
		t.Errorf("%+v", r)
	}
}

// TestSPIOfBothProtocols: the kernel gave the same SPI for ESP and AH: another is asked for, on
// either side, and what was given is given back.
func TestSPIOfBothProtocols(t *testing.T) {
	w, mn, cn := pair(t, 2, withAH(t, "sha256", "sha256"))
	cn.narrow = byPath
	mn.give, cn.give = []uint32{0x1000, 0x1000, 0x1000, 0x2000}, []uint32{0x1000, 0x1000, 0x3000}
	mn.initiate(pathWant("esp "+hoaA, ESP, hoaA, 11), pathWant("ah "+hoaA, AH, hoaA, 12))
	w.run(time.Second, nil)
	agree(t, mn, cn, 2)
	if mn.byName("esp "+hoaA).SPIIn != 0x1000 || mn.byName("ah "+hoaA).SPIIn != 0x2000 || cn.byName("ah "+hoaA).SPIIn != 0x3000 {
		t.Error(mn.dump(), cn.dump())
	}
	for range 2 * maxSPITries {
		cn.give = append(cn.give, 0x1000)
	}
	mn.step(CreateChild{Req: 3, SA: one[SAUp](mn).SA, Want: pathWant("ah "+hoaB, AH, hoaB, 13)})
	w.run(time.Second, nil)
	agree(t, mn, cn, 2)
	if r := one[ChildRefused](mn); r.Req != 3 || !r.ByPeer {
		t.Errorf("%+v", r)
	}
}
