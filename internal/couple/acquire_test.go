package couple

import (
	"errors"
	"testing"

	"github.com/mip6/mip6/ha"
	"github.com/mip6/mip6/ike"
	"github.com/mip6/mip6/xfrm"
)

// TestAcquireIsAnswered: the outbound SA that a packet waits for says so, it and no other.
func TestAcquireIsAnswered(t *testing.T) {
	r := newRig(t)
	miss := func(seq uint32, id xfrm.ReqID) {
		r.step(FromXfrm{xfrm.Acquire{Seq: seq, Proto: xfrm.ESP, Template: xfrm.Template{Proto: xfrm.ESP, ReqID: id}}})
	}
	for _, seq := range []uint32{7, 8} { // the first one's larval SA is over
		miss(seq, ids.Payload)
	}
	for id := range xfrm.ReqID(100) {
		miss(9, id) // of nobody here
	}
	if n := len(r.n.homes[hoa].acquires); n != 1 {
		t.Errorf("%d acquires are kept", n)
	}
	r.up()
	r.want("the first packet's child", `
		note IKE SA established
		put src HA dst HOA spi a01 reqid MH mode transport
		put src HOA dst HA spi b01 reqid MH mode transport
		note child SA established
		put src HA dst COA1 spi a02 reqid PAYLOAD mode tunnel
		put src COA1 dst HA spi b02 reqid PAYLOAD mode tunnel acquire 8
		note child SA established`)
	r.n.tellIKE(ike.CloseChild{SA: r.n.homes[hoa].newest().id, SPIIn: 0xa02})
	r.wish()
	r.log = nil
	from := r.sent
	miss(9, ids.Payload)
	r.want("a packet asks for the child that lacks", `
		put src HA dst COA1 spi a03 reqid PAYLOAD mode tunnel
		put src COA1 dst HA spi b03 reqid PAYLOAD mode tunnel acquire 9
		note child SA established`)
	if r.sent-from != 2 || len(r.n.homes[hoa].acquires) != 0 {
		t.Errorf("%d messages, acquires %v", r.sent-from, r.n.homes[hoa].acquires)
	}
	spi := r.role.Info().Children[1].InSPI
	r.n.tellIKE(ike.RekeyChild{SA: r.n.homes[hoa].newest().id, SPIIn: uint32(spi)})
	r.wish()
	r.want("answered once", `
		put src HA dst COA1 spi a04 reqid PAYLOAD mode tunnel
		put src COA1 dst HA spi b04 reqid PAYLOAD mode tunnel
		note child SA rekeyed
		del dst HA spi b03`)
}

// TestRefusals: what a home agent's refusal is in IKE's words.
func TestRefusals(t *testing.T) {
	for err, want := range map[error]error{ha.ErrNotServing: ike.ErrTemporary, ha.ErrDenied: ike.ErrTSUnacceptable,
		ha.ErrTSUnacceptable: ike.ErrTSUnacceptable, ha.ErrAddressFailure: ike.ErrAddressFailure} {
		if got := ikeError(err); !errors.Is(got, want) || !errors.Is(got, err) {
			t.Errorf("%v: %v, want %v", err, got, want)
		}
	}
}
