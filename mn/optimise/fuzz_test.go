package optimise

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/mobility"
)

// FuzzReceived gives a machine whatever may come from outside, in whatever state it is: it must not
// panic, believe nothing that is not proved, and stay within its bounds.
func FuzzReceived(f *testing.F) {
	for i, s := range []string{tested, bound, "rule ::/0; start; at COA1 bound; met CN1", bound + "; at COA2", bound + "; at home", bound + "; stop"} {
		r := newRig(&testing.T{})
		r.runAll(s)
		for _, mh := range r.sent[cn1] {
			if a, ok := r.peers[cn1].take(r.now, mh); ok {
				f.Add(byte(i), byte(0), a.Data)
			}
		}
	}
	f.Add(byte(1), byte(4), encode(mobility.BindingError{Status: 1, HomeAddr: hoa}))
	f.Add(byte(0), byte(1), encode(mobility.BindingAck{Status: 138}))
	f.Add(byte(2), byte(0x40), []byte{4, 1, 3})
	f.Fuzz(func(t *testing.T, state, how byte, data []byte) {
		states := []string{tested, bound, "rule ::/0; start; at COA1 bound; met CN1", bound + "; at COA2", bound + "; at home", bound + "; stop"}
		r := newRig(t)
		r.random = chance(9) // other cookies than those of the seeds
		for c := range strings.SplitSeq(states[int(state)%len(states)], ";") {
			r.run(strings.TrimSpace(c))
		}
		var was Info
		if l := r.m.Info(); len(l) > 0 {
			was = l[0]
		}
		if how&0x40 != 0 {
			r.step(ICMPError{fuzzedError(data)})
		} else {
			dst := []netip.Addr{hoa, coa1, coa2, cn2}[how>>2&3]
			r.step(MHReceived{host.MH{Src: cn1, Dst: dst, RouteHeader: how&1 != 0, Data: data}})
		}
		for _, i := range r.m.Info() {
			if i.State == Optimised && was.State != Optimised {
				t.Fatal("it believed an acknowledgement")
			}
			if !i.HomeToken.Equal(was.HomeToken) && !i.HomeToken.IsZero() || !i.CareToken.Equal(was.CareToken) && !i.CareToken.IsZero() {
				t.Fatal("it believed a test")
			}
		}
		r.wait(3 * time.Second)
		if len(r.m.Info()) > 1 || r.updates > 20 {
			t.Fatalf("%d entries, %d updates", len(r.m.Info()), r.updates)
		}
	})
}

// fuzzedError is an ICMPv6 error made of a few octets.
func fuzzedError(b []byte) host.ICMPError {
	at := func(i int) byte {
		if i < len(b) {
			return b[i]
		}
		return 0
	}
	some := []netip.Addr{hoa, coa1, coa2, cn1, cn2, ha, {}}
	return host.ICMPError{Type: at(0), Code: at(1), Refuses: at(2)&1 != 0, MH: at(2)&2 != 0, From: some[at(3)%7], Src: some[at(4)%7],
		Dst: some[at(5)%7], Home: some[at(6)%7], Final: some[at(7)%7], Data: b}
}
