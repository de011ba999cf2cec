package ha

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
	"github.com/mip6/mip6/xfrm"
)

var epoch = time.Unix(1_700_000_000, 0)

// testConfig is a home agent for hoa (mn1) and hoa2 (mn2).
func testConfig() Config {
	return Config{
		Agents:   []netip.Addr{cast["ha"]},
		HomeLink: HomeLink{Name: "home0", Index: 3},
		Prefixes: []HomePrefix{{Prefix: netip.MustParsePrefix("2001:db8:1::/64")}},
		Nodes: []Node{{Identity: "mn1", Home: cast["hoa"]}, {Identity: "mn2", Home: cast["hoa2"]},
			{Identity: "bad", Deny: true}},
		Caps: xfrm.Caps{Migrate: true, MIP6: true, ESP6: true},
	}
}

// rig drives a machine by words.
type rig struct {
	t       testing.TB
	m       *Machine
	cfg     Config
	now     time.Time
	waiting []Action // Xfrm and Host not answered yet, in order
	dads    []uint64
	records map[netip.Addr]Record
	out     []Action
	auto    bool // answer all at once
	asks    uint64
}

func newRig(t testing.TB, cfg Config) *rig {
	m, err := New(cfg, 1)
	if err != nil {
		t.Fatal(err)
	}
	return &rig{t: t, m: m, cfg: cfg, now: epoch, records: map[netip.Addr]Record{}}
}

func (r *rig) step(ev Event) {
	r.took(r.m.Step(r.now, ev, nil))
}

func (r *rig) took(acts []Action) {
	r.out = append(r.out, acts...)
	for _, a := range acts {
		switch a := a.(type) {
		case Xfrm, Host:
			r.waiting = append(r.waiting, a)
		case ProbeDAD:
			r.dads = append(r.dads, a.ID)
		case Save:
			r.records[a.Record.Home] = a.Record
		case Forget:
			delete(r.records, a.Home)
		}
	}
	if r.auto {
		r.done(nil)
	}
}

// done answers all that waits; fail gives the error of an operation.
func (r *rig) done(fail func(op any) error) {
	for len(r.waiting) > 0 {
		a := r.waiting[0]
		r.waiting = r.waiting[1:]
		switch a := a.(type) {
		case Xfrm:
			errs := make([]error, len(a.Ops))
			for i, op := range a.Ops {
				if fail != nil {
					errs[i] = fail(op)
				}
			}
			r.step(XfrmDone{ID: a.ID, Errs: errs})
		case Host:
			r.step(HostDone{ID: a.ID, Errs: make([]error, len(a.Ops))})
		}
	}
}

func (r *rig) advance(d time.Duration) {
	end := r.now.Add(d)
	for {
		at := r.m.Deadline()
		if at.IsZero() || at.After(end) {
			break
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

func (w words) addr(k string) netip.Addr {
	if w[k] == "" {
		return netip.Addr{}
	}
	if a, ok := cast[w[k]]; ok {
		return a
	}
	return netip.MustParseAddr(w[k])
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

// bu makes a Binding Update. Without from it came from home.
func bu(w words) MHReceived {
	flags := mobility.FlagAck | mobility.FlagHome | mobility.FlagKey
	if w.has("flags") {
		flags = 0
		for _, c := range w["flags"] {
			flags |= mobility.UpdateFlags(0x8000 >> strings.IndexRune("AHLKMRPF", c))
		}
	}
	msg := mobility.Message{Body: mobility.BindingUpdate{Seq: uint16(w.num("seq", 1)), Flags: flags,
		Lifetime: mobility.Units(w.num("life", 100))}}
	if w.has("alt") {
		msg.Options = append(msg.Options, mobility.AlternateCareOf{Addr: w.addr("alt")})
	}
	if w.has("nonces") {
		msg.Options = append(msg.Options, mobility.NonceIndices{Home: 1, CareOf: 2})
	}
	data, err := msg.AppendTo(nil)
	if err != nil {
		panic(err)
	}
	home := cast["hoa"]
	if w.has("home") {
		home = w.addr("home")
	}
	to := cast["ha"]
	if w.has("to") {
		to = w.addr("to")
	}
	return MHReceived{MH: host.MH{Src: home, Dst: to, CareOf: w.addr("from"), Data: data, IfIndex: 7}}
}

func one(a netip.Addr, proto uint8) Selector {
	return Selector{Proto: proto, EndPort: anyPort, Start: a, End: a}
}

func everything(proto uint8) Selector {
	return Selector{Proto: proto, EndPort: anyPort, Start: firstAddr, End: lastAddr}
}

// ask makes an Authorise: mh or payload, by identity mn1 for hoa.
func (r *rig) ask(w words) Authorise {
	r.asks++
	home := cast["hoa"]
	if w.has("home") {
		home = w.addr("home")
	}
	ev := Authorise{ID: 1000 + r.asks, Identity: "mn1", Agent: cast["ha"], CareOf: cast["coa1"]}
	if w.has("id") {
		ev.Identity = w["id"]
	}
	if w.has("from") {
		ev.CareOf = w.addr("from")
	}
	if w.has("san") {
		ev.Addresses = []netip.Addr{w.addr("san")}
	}
	ev.WantAddress, ev.Suggested = w.has("want"), w.addr("want")
	if w.has("mh") {
		ev.Transport = true
		ev.Local, ev.Remote = []Selector{one(cast["ha"], 135)}, []Selector{one(home, 135)}
	} else {
		ev.Local, ev.Remote = []Selector{everything(0)}, []Selector{one(home, 0)}
	}
	if w.has("wide") {
		ev.Remote = []Selector{everything(ev.Remote[0].Proto)}
	}
	return ev
}

// keyed gives a node all its keys, over a care-of address.
func (r *rig) keyed(id string, home, careOf netip.Addr, handle uint64) {
	old := r.auto
	r.auto = true
	for _, kind := range []string{"mh", "payload"} {
		r.step(r.ask(words{"id": id, "home": home.String(), "from": careOf.String(), kind: ""}))
	}
	r.step(KeysUp{Home: home, Handle: handle, CareOf: careOf})
	r.step(ChildUp{Home: home, Kind: MH, InSPI: xfrm.SPI(handle<<8 | 1), Handle: handle, CareOf: careOf})
	r.step(ChildUp{Home: home, Kind: Payload, InSPI: xfrm.SPI(handle<<8 | 2), Handle: handle, CareOf: careOf})
	r.auto = old
}

// command carries one line of a scenario out.
func (r *rig) command(line string) error {
	fields := strings.Fields(line)
	w := parse(fields[1:])
	switch fields[0] {
	case "start":
		r.step(Start{})
	case "auto":
		r.auto = true
		r.done(nil)
	case "manual":
		r.auto = false
	case "ask":
		r.step(r.ask(w))
	case "keyed":
		r.keyed("mn1", cast["hoa"], w.addr("from"), uint64(w.num("handle", 1)))
	case "keysup":
		r.step(KeysUp{Home: cast["hoa"], Handle: uint64(w.num("handle", 1)), CareOf: w.addr("from")})
	case "keysdown":
		r.step(KeysDown{Home: cast["hoa"], Handle: uint64(w.num("handle", 1)), Reason: "gone"})
	case "keysrefused":
		r.step(KeysRefused{Home: cast["hoa"], Reason: "silence"})
	case "childup":
		r.step(ChildUp{Home: cast["hoa"], Kind: kindOf(w), InSPI: xfrm.SPI(w.num("spi", 1)), CareOf: w.addr("from")})
	case "childdown":
		r.step(ChildDown{Home: cast["hoa"], Kind: kindOf(w), InSPI: xfrm.SPI(w.num("spi", 1))})
	case "bu":
		r.step(bu(w))
	case "done":
		r.done(nil)
	case "fail": // operations of a kind fail: fail migrate, fail policy
		r.done(func(op any) error {
			if strings.Contains(strings.ToLower(opName(op)), fields[1]) {
				return errors.New("no")
			}
			return nil
		})
	case "dad":
		ids := r.dads
		r.dads = nil
		for i, id := range ids {
			ev := DADDone{ID: id}
			if i == len(ids)-1 {
				ev.Duplicate = w.has("dup")
				if w.has("err") {
					ev.Err = errors.New("no link")
				}
			}
			r.step(ev)
		}
	case "advance":
		d, err := time.ParseDuration(fields[1])
		if err != nil {
			return err
		}
		r.advance(d)
	case "stop":
		r.step(Stop{Keep: w.has("keep")})
	case "crash": // a new machine with what the ledger holds
		m, err := New(r.cfg, 2)
		if err != nil {
			return err
		}
		r.m, r.waiting, r.dads = m, nil, nil
		var recs []Record
		for _, name := range []string{"hoa", "hoa2"} {
			if rec, ok := r.records[cast[name]]; ok {
				recs = append(recs, rec)
			}
		}
		r.step(Restored{Records: recs})
		r.step(Start{})
	case "unknown": // a Mobility Header of type 127
		r.step(MHReceived{MH: host.MH{Src: w.addr("src"), CareOf: w.addr("from"), Dst: cast["ha"],
			Data: []byte{59, 0, 127, 0, 0, 0, 0, 0}, IfIndex: 7}})
	case "report":
		r.step(Report{Report: xfrm.Report{Proto: xfrm.HAO, CareOf: w.addr("from"),
			Sel: xfrm.Selector{Src: netip.PrefixFrom(cast["hoa"], 128), Dst: netip.PrefixFrom(w.addr("dst"), 128)}}})
	default:
		return fmt.Errorf("what is %q?", fields[0])
	}
	return nil
}

func kindOf(w words) Kind {
	if w.has("payload") {
		return Payload
	}
	return MH
}
