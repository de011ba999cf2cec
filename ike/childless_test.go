package ike

import (
	"testing"
	"time"

	"github.com/mip6/mip6/ike/message"
	"github.com/mip6/mip6/ike/pki"
)

// childless has the node ask for an IKE SA without a child: what its machine would send is made anew.
func childless(t *testing.T, seed uint64, drop ...message.PayloadType) (w *world, mn, ha *node, s *sa) {
	w, mn, ha = pair(t, seed, nil)
	asked := false
	w.drop = func(from *node, d Send) bool {
		h, err := message.ParseHeader(d.Data)
		return from == mn && err == nil && h.Exchange == message.IKEAuth && !asked
	}
	mn.initiate(mhWant())
	w.run(200*time.Millisecond, nil)
	for _, s = range mn.m.sas {
	}
	if s == nil || s.state != stateAuth || s.req.data == nil {
		t.Fatal("no IKE_AUTH")
	}
	proof, err := mn.keys.Prove(pki.ProveRequest{Conn: "mip6", Method: pki.PSK, Local: mnID, Peer: haID,
		PRF: s.suite.PRF, Octets: s.octets(true, mnID.Raw())})
	if err != nil {
		t.Fatal(err)
	}
	all := []message.Body{{Type: message.TypeIDi, Data: mnID.Raw()}, message.Auth{Method: proof.AuthMethod, Data: proof.Data}.Body()}
	for _, b := range []message.Body{espSA(9, 9, 9, 9), tsiBody, tsrBody} {
		keep := true
		for _, x := range drop {
			keep = keep && b.Type != x
		}
		if keep {
			all = append(all, b)
		}
	}
	asked = true
	ha.step(Datagram{Local: ap(haA), Remote: ap(coa1), Data: s.seal(message.IKEAuth, 1, false, all)})
	w.run(50*time.Millisecond, nil)
	return w, mn, ha, s
}

// TestChildless: an IKE SA without a child (RFC 6023) comes up, and its peer makes one later.
func TestChildless(t *testing.T) {
	w, mn, ha, s := childless(t, 3, message.TypeSA, message.TypeTSi, message.TypeTSr)
	up := one[SAUp](ha)
	if up.Peer.ID != mnID || len(find[ChildRefused](ha))+len(find[Authorise](ha)) != 0 {
		t.Fatalf("%+v%s", up, ha.dump())
	}
	p := authentic(mn, ha, s.id, message.CreateChildSA, []message.Body{espSA(9, 9, 9, 9), nonceBody, tsiBody, tsrBody})
	w.run(50*time.Millisecond, nil)
	if len(find[ChildUp](ha)) != 1 {
		t.Errorf("no child afterwards: %+v%s", p, ha.dump())
	}
	for i := 1; i < 8; i++ { // a part of a child is a broken one
		var drop []message.PayloadType
		for n, x := range []message.PayloadType{message.TypeSA, message.TypeTSi, message.TypeTSr} {
			if i>>n&1 == 1 {
				drop = append(drop, x)
			}
		}
		if i == 7 {
			continue
		}
		_, _, ha, _ := childless(t, 3, drop...)
		if len(find[SAUp](ha)) != 0 || one[Refused](ha).Notify != message.InvalidSyntax {
			t.Errorf("without %v%s", drop, ha.dump())
		}
	}
	h, err := message.ParseHeader(w.sent[1].Data)
	if err != nil {
		t.Fatal(err)
	}
	if init, err := message.Parse(h, w.sent[1].Data); err != nil || init.Notify(message.ChildlessSupported) == nil {
		t.Error("not said in IKE_SA_INIT", err)
	}
}
