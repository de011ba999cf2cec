package cn

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/mobility"
	"github.com/mip6/mip6/mobility/rr"
	"github.com/mip6/mip6/xfrm"
)

var epoch = time.Unix(1_700_000_000, 0)

// counter is a source of octets that can be copied.
type counter uint64

func (c *counter) Read(b []byte) (int, error) {
	for i := range b {
		*c++
		b[i] = byte(mix(uint64(*c)))
	}
	return len(b), nil
}

var staticKey = rr.Kbm{1, 2, 3}

// testConfig has an own way for hoas (a static key) and hoai (SAs).
func testConfig() Config {
	return Config{
		Locals: []netip.Prefix{netip.PrefixFrom(cast["cn"], 128), netip.PrefixFrom(cast["cn2"], 128)},
		Rules:  []Rule{{Home: netip.MustParsePrefix("2001:db8:9::/64"), Policy: Deny}},
		Peers: []Peer{{Home: cast["hoas"], Auth: StaticKey, Key: staticKey},
			{Home: cast["hoai"], Auth: IPsec, Identity: "mn", Proto: xfrm.ESP}},
		FirstReqID: 100,
	}
}

// token is a keygen token with its nonce index.
type token struct {
	index uint16
	value mobility.Token
}

// rig drives a machine by words.
type rig struct {
	t      testing.TB
	m      *Machine
	cfg    Config
	now    time.Time
	random *counter
	routes []Route  // not answered
	asks   []AskUse // not answered
	saved  map[netip.Addr]Record
	tokens map[string]token // the newest of each pair and kind
	out    []Action
	auto   bool // answer routes at once
}

func newRig(t testing.TB, cfg Config) *rig {
	r := &rig{t: t, cfg: cfg, now: epoch, saved: map[netip.Addr]Record{}, tokens: map[string]token{}}
	r.boot()
	return r
}

func (r *rig) boot() {
	if r.random == nil {
		r.random = new(counter)
	}
	m, err := New(r.cfg, r.random, 1)
	if err != nil {
		r.t.Fatal(err)
	}
	r.m, r.routes, r.asks = m, nil, nil
}

func (r *rig) step(ev Event) []Action {
	acts := r.m.Step(r.now, ev, nil)
	r.took(acts)
	return acts
}

func (r *rig) took(acts []Action) {
	r.out = append(r.out, acts...)
	for _, a := range acts {
		switch a := a.(type) {
		case Route:
			if a.ID != 0 {
				r.routes = append(r.routes, a)
			}
		case AskUse:
			r.asks = append(r.asks, a)
		case Save:
			r.saved[a.Record.Home] = a.Record
		case Host:
			r.sent(a)
		}
	}
	if r.auto {
		r.routed(nil)
	}
}

// sent keeps the tokens, as the nodes do.
func (r *rig) sent(h Host) {
	mh := h.Ops[0].(host.SendMH).MH
	var msg mobility.Message
	if err := msg.Decode(mh.Data); err != nil {
		r.t.Fatal(err)
	}
	switch body := msg.Body.(type) {
	case mobility.HomeTest:
		r.tokens[key("home", mh.Src, mh.Dst)] = token{body.NonceIndex, body.Token}
	case mobility.CareOfTest:
		r.tokens[key("careof", mh.Src, mh.Dst)] = token{body.NonceIndex, body.Token}
	}
}

func key(kind string, local, remote netip.Addr) string { return fmt.Sprint(kind, local, remote) }

// routed answers all routes that wait.
func (r *rig) routed(err error) {
	for len(r.routes) > 0 {
		id := r.routes[0].ID
		r.routes = r.routes[1:]
		r.step(RouteDone{ID: id, Err: err})
	}
}

func (r *rig) advance(d time.Duration) {
	end := r.now.Add(d)
	for n := 0; ; n++ {
		at := r.m.Deadline()
		if at.IsZero() || at.After(end) {
			break
		}
		if n > 100_000 {
			r.t.Fatal("a deadline that does not go on")
		}
		if at.After(r.now) {
			r.now = at
		}
		r.took(r.m.Tick(r.now, nil))
	}
	r.now = end
}

// words are the arguments of a command: key=value, and bare words.
type words map[string]string

func parse(fields []string) words {
	w := words{}
	for _, f := range fields {
		k, v, _ := strings.Cut(f, "=")
		w[k] = v
	}
	return w
}

func (w words) has(k string) bool { _, ok := w[k]; return ok }

func (w words) addr(k, def string) netip.Addr {
	name := def
	if w.has(k) {
		name = w[k]
	}
	if name == "" {
		return netip.Addr{}
	}
	if a, ok := cast[name]; ok {
		return a
	}
	return netip.MustParseAddr(name)
}

func (w words) num(k string, def int) int {
	if !w.has(k) {
		return def
	}
	n, err := strconv.ParseInt(w[k], 0, 64)
	if err != nil {
		panic(err)
	}
	return int(n)
}

func encode(msg mobility.Message) []byte {
	data, err := msg.AppendTo(nil)
	if err != nil {
		panic(err)
	}
	return data
}

// test makes a test init; with hao it came with a home address option.
func test(w words, body mobility.Body, src string) MHReceived {
	return MHReceived{MH: host.MH{Src: w.addr("src", src), Dst: w.addr("to", "cn"), CareOf: w.addr("hao", ""),
		Data: encode(mobility.Message{Body: body}), IfIndex: 7}}
}

func hoti(w words) MHReceived {
	return test(w, mobility.HomeTestInit{Cookie: mobility.Cookie{1}}, "hoa")
}

func coti(w words) MHReceived {
	return test(w, mobility.CareOfTestInit{Cookie: mobility.Cookie{2}}, "coa1")
}

// bu makes a Binding Update as a node would that has the newest tokens. from: the source on the
// wire, with a home address option; without it came from home. nonces=none, auth=none, auth=bad
// and home+=n, careof+=n spoil it; nodes with another way are told by their names.
func (r *rig) bu(w words) MHReceived {
	home, local, from := w.addr("home", "hoa"), w.addr("to", "cn"), w.addr("from", "")
	careOf := home
	if from.IsValid() {
		careOf = from
	}
	body := mobility.BindingUpdate{Seq: uint16(w.num("seq", 1)), Flags: flags(w), Lifetime: mobility.Units(w.num("life", 10))}
	msg := mobility.Message{Body: body}
	if w.has("alt") {
		careOf = w.addr("alt", "")
		msg.Options = append(msg.Options, mobility.AlternateCareOf{Addr: careOf})
	}
	own := home == cast["hoas"] || home == cast["hoai"]
	homeToken, careOfToken := r.tokens[key("home", local, home)], r.tokens[key("careof", local, careOf)]
	if !own && w["nonces"] != "none" {
		msg.Options = append(msg.Options, mobility.NonceIndices{
			Home: homeToken.index + uint16(w.num("home+", 0)), CareOf: careOfToken.index + uint16(w.num("careof+", 0))})
	}
	signed := w["auth"] != "none" && home != cast["hoai"]
	if signed {
		msg.Options = append(msg.Options, mobility.Authorization{Authenticator: make([]byte, 12)})
	}
	data := encode(msg)
	deletion := body.Lifetime == 0 || careOf == home
	kbm := rr.Key(homeToken.value, careOfToken.value)
	switch {
	case own:
		kbm = staticKey
	case deletion:
		kbm = rr.DeleteKey(homeToken.value)
	}
	if deletion {
		careOf = home
	}
	if signed {
		if err := kbm.Sign(careOf, local, data); err != nil {
			r.t.Fatal(err)
		}
	}
	if w["auth"] == "bad" {
		data[len(data)-1] ^= 1
	}
	return MHReceived{MH: host.MH{Src: home, Dst: local, CareOf: from, Data: data, IfIndex: 7}}
}

func flags(w words) (out mobility.UpdateFlags) {
	set := "A"
	if w.has("flags") {
		set = w["flags"]
	}
	for _, c := range set {
		out |= mobility.UpdateFlags(0x8000 >> strings.IndexRune("AHLKMRPF", c))
	}
	return out
}

// tests runs return routability for a home and a care-of address.
func (r *rig) tests(w words) {
	to := words{"to": local(w)}
	to["src"] = w.addr("home", "hoa").String()
	r.step(hoti(to))
	to["src"] = w.addr("from", "coa1").String()
	r.step(coti(to))
}

func local(w words) string { return w.addr("to", "cn").String() }

// ask makes an Authorise for the node with SAs.
func ask(w words) Authorise {
	one := func(a netip.Addr) []Selector { return []Selector{whole(a)} }
	ev := Authorise{ID: uint64(w.num("id", 1)), Identity: "mn", CareOf: w.addr("from", "coa1"), Transport: !w.has("tunnel"),
		Proto: xfrm.ESP, Local: one(w.addr("to", "cn")), Remote: one(w.addr("home", "hoai"))}
	if w.has("who") {
		ev.Identity = w["who"]
	}
	if w.has("ah") {
		ev.Proto = xfrm.AH
	}
	if w.has("wide") {
		ev.Remote = []Selector{{EndPort: anyPort, Start: cast["any"], End: cast["last"]}}
		ev.Local = ev.Remote
	}
	if w.has("proto") {
		ev.Remote[0].Proto = uint8(w.num("proto", 0))
	}
	return ev
}

// command carries one line of a scenario out.
func (r *rig) command(line string) error {
	fields := strings.Fields(line)
	w := parse(fields[1:])
	switch fields[0] {
	case "start":
		r.step(Start{})
	case "stop":
		r.step(Stop{})
	case "auto":
		r.auto = true
		r.routed(nil)
	case "manual":
		r.auto = false
	case "hoti":
		r.step(hoti(w))
	case "coti":
		r.step(coti(w))
	case "tests":
		r.tests(w)
	case "bu":
		r.step(r.bu(w))
	case "routed":
		if len(r.routes) == 0 {
			return errors.New("no route waits")
		}
		if w.has("fail") {
			r.routed(errors.New("no"))
		} else {
			r.routed(nil)
		}
	case "used":
		if len(r.asks) == 0 {
			return errors.New("nobody asked")
		}
		ev := Used{ID: r.asks[0].ID}
		r.asks = r.asks[1:]
		if w.has("ago") {
			ev.Last = r.now.Add(-time.Duration(w.num("ago", 0)) * time.Second)
		}
		r.step(ev)
	case "report":
		r.step(Report{Report: xfrm.Report{Proto: xfrm.HAO, CareOf: w.addr("from", "coa1"),
			Sel: xfrm.Selector{Src: netip.PrefixFrom(w.addr("home", "hoa"), 128), Dst: netip.PrefixFrom(w.addr("to", "cn"), 128)}}})
	case "unreachable":
		r.step(ICMPError{Error: host.ICMPError{Type: 1, Code: uint8(w.num("code", 3)), From: cast["router"],
			Src: w.addr("to", "cn"), Dst: w.addr("from", "coa1"), Final: w.addr("home", "hoa")}})
	case "unknown": // a Mobility Header of type 127
		r.step(MHReceived{MH: host.MH{Src: w.addr("src", "hoa"), CareOf: w.addr("from", ""), Dst: w.addr("to", "cn"),
			Data: []byte{59, 0, 127, 0, 0, 0, 0, 0}, IfIndex: 7}})
	case "ask":
		r.step(ask(w))
	case "keysdown":
		r.step(KeysDown{Local: cast["cn"], Home: cast["hoai"]})
	case "deny": // from now on
		r.cfg.Rules = append([]Rule{{Home: netip.PrefixFrom(w.addr("home", "hoa"), 128), Policy: Deny}}, r.cfg.Rules...)
		r.step(SetConfig{Config: r.cfg})
	case "nopeers":
		r.cfg.Peers = nil
		r.step(SetConfig{Config: r.cfg})
	case "advance":
		d, err := time.ParseDuration(fields[1])
		if err != nil {
			return err
		}
		r.advance(d)
	case "crash": // a new machine with what the ledger holds
		r.boot()
		if rec, ok := r.saved[cast["hoas"]]; ok {
			r.step(Restored{Records: []Record{rec}})
		}
		r.step(Start{})
	default:
		return fmt.Errorf("what is %q?", fields[0])
	}
	return nil
}
