package optimise

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"net/netip"
	"testing"
	"time"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/internal/vectors"
	"github.com/mip6/mip6/mobility"
)

// oracle is a return routability vector that others computed.
type oracle struct {
	ID            string     `json:"id"`
	Home          netip.Addr `json:"hoa"`
	CareOf        netip.Addr `json:"coa"`
	Correspondent netip.Addr `json:"cn"`
	HomeNonce     uint16     `json:"home_nonce_index"`
	CareNonce     uint16     `json:"careof_nonce_index"`
	HomeToken     string     `json:"home_keygen_token"`
	CareToken     string     `json:"careof_keygen_token"`
	Deletes       bool       `json:"dereg"`
	AltCareOf     bool       `json:"alt_coa"`
	Seq           uint16     `json:"seq"`
	Lifetime      int        `json:"lifetime_units"`
	Update        string     `json:"bu_packet"`
	Ack           string     `json:"ba_packet"`
}

// TestOracle has the machine do what the vectors did: given the same tokens it sends the same Binding
// Update, octet for octet, and takes the same Binding Acknowledgement.
func TestOracle(t *testing.T) {
	var all []oracle
	if err := json.Unmarshal(vectors.Read(t, "oracle/rr_vectors.json"), &all); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, v := range all {
		if v.AltCareOf {
			continue // ours has the care-of address in the source only
		}
		n++
		t.Run(v.ID, func(t *testing.T) { v.run(t) })
	}
	if n < 5 {
		t.Errorf("only %d vectors", n)
	}
}

func (v oracle) run(t *testing.T) {
	life := time.Duration(v.Lifetime) * 4 * time.Second
	if v.Deletes {
		life = 100 * time.Second
	}
	m, err := New(Config{Home: v.Home, HomeAgent: ha, Lifetime: life, Rules: []Rule{{To: netip.MustParsePrefix("::/0")}}}, chance(1))
	if err != nil {
		t.Fatal(err)
	}
	now := epoch
	var mhs []host.MH
	step := func(ev Event) {
		queue := []Event{ev}
		for len(queue) > 0 {
			out := m.Step(now, queue[0], nil)
			queue = queue[1:]
			for _, a := range out {
				switch a := a.(type) {
				case Host:
					mhs = append(mhs, a.Ops[0].(host.SendMH).MH)
				case Route:
					queue = append(queue, RouteDone{ID: a.ID})
				}
			}
		}
	}
	step(Restored{})
	step(Placed{Place: Abroad, CareOf: v.CareOf, Sent: true, Bound: true, Until: now.Add(24 * time.Hour)})
	step(Met{Remote: v.Correspondent})
	token := func(s string) (k mobility.Token) {
		b, err := hex.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		copy(k[:], b)
		return k
	}
	var cookies []mobility.Cookie
	for _, mh := range mhs {
		var msg mobility.Message
		if err := msg.Decode(mh.Data); err != nil {
			t.Fatal(err)
		}
		switch b := msg.Body.(type) {
		case mobility.HomeTestInit:
			cookies = append(cookies, b.Cookie)
		case mobility.CareOfTestInit:
			cookies = append(cookies, b.Cookie)
		}
	}
	m.s.Peers[0].Seq = v.Seq - 1
	if v.Deletes {
		m.s.Peers[0].Seq = v.Seq - 2
	}
	mhs = nil
	step(MHReceived{host.MH{Src: v.Correspondent, Dst: v.Home, Data: encode(mobility.HomeTest{NonceIndex: v.HomeNonce, Cookie: cookies[0], Token: token(v.HomeToken)})}})
	step(MHReceived{host.MH{Src: v.Correspondent, Dst: v.CareOf, Data: encode(mobility.CareOfTest{NonceIndex: v.CareNonce, Cookie: cookies[1], Token: token(v.CareToken)})}})
	if v.Deletes {
		step(Placed{Place: AtHome})
	}
	v.compare(t, m, mhs[len(mhs)-1], step)
}

func (v oracle) compare(t *testing.T, m *Machine, got host.MH, step func(Event)) {
	packet := func(s string) (p mobility.Packet) {
		b, err := hex.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Walk(b); err != nil {
			t.Fatal(err)
		}
		return p
	}
	want := packet(v.Update)
	data := bytes.Clone(want.Payload)
	copy(data[mobility.ChecksumOffset:], []byte{0, 0}) // the kernel fills it in
	if !bytes.Equal(got.Data, data) {
		t.Errorf("binding update\n%x, want\n%x", got.Data, data)
	}
	if got.Src != want.TransportSrc() || got.Dst != want.Dst || want.HomeAddr.IsValid() && got.CareOf != want.Src {
		t.Errorf("from %v, care-of %v, to %v", got.Src, got.CareOf, got.Dst)
	}
	ack := packet(v.Ack)
	step(MHReceived{host.MH{Src: ack.Src, Dst: ack.TransportDst(), RouteHeader: ack.RoutingAddr.IsValid(), Data: ack.Payload}})
	if c := m.Counters(); c.AcksAccepted != 1 || c.AcksIgnored != 0 {
		t.Errorf("the acknowledgement was not taken: %+v", c)
	}
}
