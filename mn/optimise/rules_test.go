package optimise

import (
	"testing"
	"time"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/mobility"
	"github.com/mip6/mip6/mobility/rr"
)

// last decodes the last message of a type to the first correspondent.
func (r *rig) last(t mobility.Type) (host.MH, mobility.Message) {
	mh, ok := r.sent[cn1][t]
	var m mobility.Message
	if !ok || m.Decode(mh.Data) != nil {
		r.t.Fatalf("no %v was sent\n%s", t, r.out.String())
	}
	return mh, m
}

// TestTokenLifetime: a token is used for MAX_TOKEN_LIFETIME and no longer (MN-5.2.7-1).
func TestTokenLifetime(t *testing.T) {
	for _, c := range []struct {
		age          time.Duration
		home, direct bool
	}{{208 * time.Second, false, true}, {211 * time.Second, true, false}} {
		r := newRig(t)
		r.runAll("rule ::/0; start; at COA1 bound; optimise CN1; traffic CN1 off; at COA2; cot CN1; ba CN1")
		before := r.m.Counters()
		r.wait(c.age)
		r.runAll("at COA1 bound")
		after := r.m.Counters()
		if (after.HomeTestInits > before.HomeTestInits) != c.home || (after.CareOfTestInits > before.CareOfTestInits) == c.direct ||
			(after.Updates > before.Updates) != c.direct {
			t.Errorf("after %v: %+v, before %+v", c.age, after, before)
		}
	}
}

// TestCookies: each transmission has a cookie of its own, and the answer to any of the last ones will
// do (MN-11.6.1-1, MN-11.8-1).
func TestCookies(t *testing.T) {
	r := newRig(t)
	r.runAll("rule ::/0; start; at COA1 bound; met CN1")
	seen := map[mobility.Cookie]bool{}
	var first host.MH
	for i := range 4 {
		mh, home := r.last(mobility.TypeHoTI)
		_, care := r.last(mobility.TypeCoTI)
		if i == 0 {
			first = mh
		}
		h, c := home.Body.(mobility.HomeTestInit).Cookie, care.Body.(mobility.CareOfTestInit).Cookie
		if seen[h] || seen[c] || h == c {
			t.Fatalf("transmission %d: cookies %x, %x again", i+1, h, c)
		}
		seen[h], seen[c] = true, true
		r.wait(200 * time.Millisecond << i)
	}
	a, _ := r.peers[cn1].take(r.now, first)
	r.step(MHReceived{a})
	if r.m.Counters().HomeTests != 0 {
		t.Error("the answer to the fifth last was taken")
	}
	mh, _ := r.last(mobility.TypeHoTI)
	r.wait(time.Second)
	a, _ = r.peers[cn1].take(r.now, mh)
	r.step(MHReceived{a})
	if r.m.Counters().HomeTests != 1 {
		t.Error("the answer to the last was not taken")
	}
}

// TestUpdate looks at what an update has, abroad and at home (MN-11.7.2-2 to -4).
func TestUpdate(t *testing.T) {
	r := newRig(t)
	r.runAll("rule ::/0; start; at COA1 bound for=100s; met CN1; hot CN1; cot CN1")
	mh, m := r.last(mobility.TypeBU)
	b := m.Body.(mobility.BindingUpdate)
	n, indices := m.Options.NonceIndices()
	auth, signed := m.Options.Authenticator()
	if mh.Src != hoa || mh.CareOf != coa1 || mh.RouteHeader || b.Flags != mobility.FlagAck || b.Lifetime != 25 || !indices || n.CareOf == 0 ||
		!signed || len(auth) != rr.AuthenticatorLen || len(m.Options) != 2 {
		t.Errorf("abroad: %+v %+v", mh, m)
	}
	r.runAll("ba CN1; at home")
	mh, m = r.last(mobility.TypeBU)
	b = m.Body.(mobility.BindingUpdate)
	if n, _ = m.Options.NonceIndices(); mh.Src != hoa || mh.CareOf.IsValid() || b.Lifetime != 0 || n.CareOf != 0 || n.Home == 0 {
		t.Errorf("at home: %+v %+v", mh, m)
	}
}

// TestLongest: MAX_RR_BINDING_LIFETIME bounds what is asked for, and what is granted cannot be more (§5.2.6).
func TestLongest(t *testing.T) {
	r := newRig(t)
	r.cfg.Lifetime = time.Hour
	r.runAll(tested)
	if _, m := r.last(mobility.TypeBU); m.Body.(mobility.BindingUpdate).Lifetime.Duration() != 420*time.Second {
		t.Errorf("%+v", m.Body)
	}
	r.runAll("ba CN1 status=0 life=2h")
	if i := r.m.Info()[0]; i.Expires != r.now.Add(420*time.Second) {
		t.Errorf("until %s", stamp(i.Expires))
	}
}

// ack makes an acknowledgement of the last update with options of the test's choice, signed last.
func (r *rig) ack(o ...mobility.Option) host.MH {
	asked, m := r.last(mobility.TypeBU)
	key, _, _ := r.peers[cn1].key(r.now, hoa, asked.CareOf, &m, false)
	o = append(o, mobility.Authorization{Authenticator: make([]byte, rr.AuthenticatorLen)})
	b := m.Body.(mobility.BindingUpdate)
	mh := host.MH{Src: cn1, Dst: hoa, RouteHeader: true, Data: encode(mobility.BindingAck{Seq: b.Seq, Lifetime: b.Lifetime}, o...)}
	if err := key.Sign(asked.CareOf, cn1, mh.Data); err != nil {
		r.t.Fatal(err)
	}
	return mh
}

// TestRefreshAdvice: a correspondent's is ignored (MN-11.7.3-5), and so are options that are not known.
func TestRefreshAdvice(t *testing.T) {
	r := newRig(t)
	r.runAll(tested)
	r.step(MHReceived{r.ack(mobility.RefreshAdvice{Interval: 2}, mobility.RawOption{Type: 200, Data: []byte{1}})})
	if i := r.m.Info()[0]; i.State != Optimised || i.RefreshAt != r.now.Add(390*time.Second) {
		t.Errorf("%+v", i)
	}
}

// TestTrailing: nothing may follow the authenticator, not even padding (MN-11.7.3-1).
func TestTrailing(t *testing.T) {
	r := newRig(t)
	r.runAll(tested)
	mh := r.ack()
	mh.Data = append(mh.Data, 1, 6, 0, 0, 0, 0, 0, 0)
	mh.Data[1]++
	r.step(MHReceived{mh})
	if i := r.m.Info()[0]; i.State != Binding || r.m.Counters().AcksIgnored != 1 {
		t.Errorf("%+v", i)
	}
}

// TestNoTime: an acceptance that grants no time is a refusal for now.
func TestNoTime(t *testing.T) {
	r := newRig(t)
	r.runAll(tested + "; ba CN1 status=0 life=0s")
	if i := r.m.Info()[0]; i.State != Refused || r.m.Routes()[0].Direct {
		t.Errorf("%+v", i)
	}
}

// TestWhoIsNone: with whom there can be no direct path.
func TestWhoIsNone(t *testing.T) {
	r := newRig(t)
	r.runAll("rule ::/0; start; at COA1 bound")
	for _, a := range []string{"HOA", "HA", "COA1"} {
		r.runAll("met " + a)
	}
	for _, a := range []string{"::", "::1", "fe80::1", "ff02::1", "::ffff:192.0.2.1", "192.0.2.1", "fe80::1%1"} {
		r.step(Met{Remote: parse(a)})
	}
	if len(r.m.Info()) > 0 {
		t.Errorf("%+v", r.m.Info())
	}
}

// TestAnswersOnce: an answer that was not asked for, or comes twice, changes nothing.
func TestAnswersOnce(t *testing.T) {
	r := newRig(t)
	r.runAll(bound)
	r.out.Reset()
	for id := range uint64(10) {
		r.step(RouteDone{ID: id})
		r.step(Used{ID: id, Last: r.now, Packets: 9})
	}
	r.step(KeysUp{cn1})
	r.step(KeysDown{Remote: cn1})
	r.step(KeysDown{Remote: cn2})
	r.step(Restored{Records: []Record{{Home: hoa, Remote: cn2, Expires: r.now.Add(time.Hour)}}})
	if r.out.Len() > 0 || len(r.m.Info()) != 1 {
		t.Error(r.out.String())
	}
}
