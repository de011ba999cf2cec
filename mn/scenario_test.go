package mn

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/mobility"
	"github.com/mip6/mip6/mobility/protect"
	"github.com/mip6/mip6/xfrm"
)

var update = flag.Bool("update", false, "write the scenarios' traces anew")

// rig drives one machine by the commands of a scenario and writes down what it does.
type rig struct {
	t       *testing.T
	cfg     Config
	caps    xfrm.Caps
	m       *Machine
	now     time.Time
	out     strings.Builder
	verbose bool
	hold    bool // answers to Host and Xfrm are kept back
	copies  bool // the state is copied before each step
	failX   bool // the next Xfrm fails
	failH   bool // the next Host fails
	held    []Event
	links   map[string]host.Link
	bu      mobility.BindingUpdate
	record  *Record
	spi     xfrm.SPI
	handle  uint64
	open    uint64 // id of the last Xfrm that was not answered; 0: none
	late    bool   // a Binding Update left before its Xfrm was done
}

func newRig(t *testing.T) *rig {
	return &rig{t: t, now: epoch, links: map[string]host.Link{}, spi: 0xc0000000,
		caps: xfrm.Caps{Migrate: true, MIP6: true, ESP6: true},
		cfg: Config{Home: netip.PrefixFrom(hoa, 64), HomeAgent: ha, ReqIDs: protect.ReqIDsFor(protect.Node, 0),
			Lifetime: 100 * time.Second}}
}

func (r *rig) start(rec []Record) {
	m, err := New(r.cfg, r.caps, bytes.NewReader([]byte{0, 99}))
	if err != nil {
		r.t.Fatal(err)
	}
	r.m = m
	r.step(Restored{Records: rec})
}

// step gives an event and everything that follows from answers to it.
func (r *rig) step(ev Event) {
	if r.copies {
		r.copyState()
	}
	r.do(r.m.Step(r.now, ev, nil))
}

func (r *rig) copyState() {
	b, err := json.Marshal(r.m.s)
	if err != nil {
		r.t.Fatal(err)
	}
	m := &Machine{cfg: r.m.cfg, plan: r.m.plan}
	if err := json.Unmarshal(b, &m.s); err != nil {
		r.t.Fatal(err)
	}
	r.m = m
}

func (r *rig) do(actions []Action) {
	var answers []Event
	for _, a := range actions {
		for _, line := range strings.Split(strings.TrimSuffix(actionText(a, r.verbose), "\n"), "\n") {
			if line != "" {
				fmt.Fprintf(&r.out, "%s  %s\n", stamp(r.now), line)
			}
		}
		switch x := a.(type) {
		case Host:
			for _, op := range x.Ops {
				if s, ok := op.(host.SendMH); ok {
					var m mobility.Message
					if m.Decode(s.MH.Data) == nil {
						if bu, ok := m.Body.(mobility.BindingUpdate); ok {
							r.bu = bu
							r.late = r.late || r.open != 0
						}
					}
				}
			}
			if x.ID != 0 {
				e := HostDone{ID: x.ID, Errs: make([]error, len(x.Ops))}
				if r.failH {
					e.Errs[0], r.failH = errors.New("busy"), false
				}
				answers = append(answers, e)
			}
		case Xfrm:
			if x.ID != 0 {
				for _, op := range x.Ops {
					switch op.(type) {
					case xfrm.PutSA, xfrm.PutPolicy, xfrm.Migrate:
						r.open = x.ID
					}
				}
				e := XfrmDone{ID: x.ID, Errs: make([]error, len(x.Ops))}
				if r.failX {
					e.Errs[0], r.failX = xfrm.ErrNotFound, false
				}
				answers = append(answers, e)
			}
		case Save:
			rec := x.Record
			r.record = &rec
		case Forget:
			r.record = nil
		}
	}
	if r.hold {
		r.held = append(r.held, answers...)
		return
	}
	r.answer(answers)
}

func (r *rig) answer(answers []Event) {
	for _, e := range answers {
		if d, ok := e.(XfrmDone); ok && d.ID == r.open {
			r.open = 0
		}
		r.step(e)
	}
}

// advance lets time pass, deadlines and all.
func (r *rig) advance(d time.Duration) {
	end := r.now.Add(d)
	for n := 0; ; n++ {
		dl := r.m.Deadline()
		if dl.IsZero() || dl.After(end) {
			break
		}
		if n > 1000 {
			r.t.Fatalf("deadline %v does not move on", dl)
		}
		if dl.After(r.now) {
			r.now = dl
		}
		if r.copies {
			r.copyState()
		}
		r.do(r.m.Tick(r.now, nil))
		if dl := r.m.Deadline(); !dl.IsZero() && !dl.After(r.now) {
			r.t.Fatalf("after Tick at %s the deadline is %s", stamp(r.now), stamp(dl))
		}
	}
	r.now = end
}

func (r *rig) ip(s string) netip.Addr { return netip.MustParseAddr(values.Replace(s)) }

// opts reads key=value words.
func opts(words []string) map[string]string {
	out := map[string]string{}
	for _, w := range words {
		k, v, _ := strings.Cut(w, "=")
		out[k] = v
	}
	return out
}

func (r *rig) dur(s string, def time.Duration) time.Duration {
	if s == "" {
		return def
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		r.t.Fatal(err)
	}
	return d
}

// run carries one command out.
func (r *rig) run(line string) {
	w := strings.Fields(line)
	o := opts(w[1:])
	_, gone := o["gone"]
	switch w[0] {
	case "config":
		r.configure(o)
	case "start":
		r.start(nil)
	case "crash": // and start again, with what was saved
		var recs []Record
		if r.record != nil {
			b, _ := json.Marshal(*r.record)
			var rec Record
			if err := json.Unmarshal(b, &rec); err != nil {
				r.t.Fatal(err)
			}
			recs = append(recs, rec)
		}
		r.held, r.open = nil, 0
		r.start(recs)
	case "link":
		l := host.Link{Index: len(r.links) + 1, Name: w[1], Up: w[2] == "up"}
		if have, ok := r.links[w[1]]; ok {
			l.Index, l.LinkLocal = have.Index, have.LinkLocal
		}
		_, l.Tunnel = o["tunnel"]
		if o["ll"] != "" {
			l.LinkLocal = netip.MustParseAddr(o["ll"])
		}
		r.links[w[1]] = l
		r.step(HostEvent{host.LinkChanged{Link: l, Gone: gone}})
	case "addr":
		r.addr(w, o, gone)
	case "ra":
		r.ra(w, o)
	case "wait":
		r.advance(r.dur(w[1], 0))
	case "hold":
		r.hold = true
	case "release":
		r.hold = false
		held := r.held
		r.held = nil
		r.answer(held)
	case "failx":
		r.failX = true
	case "failh":
		r.failH = true
	case "verbose":
		r.verbose = w[1] == "on"
	case "keys":
		r.keys(w, o)
	case "ba":
		r.ba(o)
	case "be":
		r.mh(mobility.Message{Body: mobility.BindingError{Status: 1, HomeAddr: hoa}}, host.MH{Src: ha, Dst: r.m.s.Bind.CareOf})
	case "brr":
		r.mh(mobility.Message{Body: mobility.BindingRefreshRequest{}}, host.MH{Src: ha, Dst: hoa})
	case "mhtype":
		r.step(HostEvent{host.MHReceived{MH: host.MH{Src: r.ip("HA"), Dst: r.to(o), Data: []byte{59, 0, 99, 0, 0, 0, 0, 0}}}})
	case "bu": // a stranger takes us for a home agent
		bu := mobility.BindingUpdate{Seq: 7, Flags: mobility.FlagAck, Lifetime: 9}
		if _, ok := o["home"]; ok {
			bu.Flags |= mobility.FlagHome
		}
		r.mh(mobility.Message{Body: bu}, host.MH{Src: netip.MustParseAddr(o["from"]), Dst: r.to(o), IfIndex: 1})
	case "icmp":
		r.step(HostEvent{host.ICMPError{Type: 4, Code: 2, Refuses: true, From: r.ip("R1"), Dst: ha}})
	case "flood":
		r.flood(w, o)
	case "refresh":
		r.step(Refresh{})
	case "stop":
		_, keep := o["keep"]
		r.step(Stop{Keep: keep})
	case "lost":
		r.step(HostEvent{host.Lost{}})
	case "show":
		r.show(w[1])
	default:
		r.t.Fatalf("unknown command %q", line)
	}
}

func (r *rig) configure(o map[string]string) {
	if v := o["interfaces"]; v != "" {
		r.cfg.Interfaces = strings.Split(v, ",")
	}
	_, r.cfg.NoKeyMobility = o["nokey"]
	if _, ok := o["nomigrate"]; ok {
		r.caps.Migrate = false
	}
	r.cfg.Lifetime = r.dur(o["lifetime"], r.cfg.Lifetime)
	switch o["dad"] {
	case "optimistic":
		r.cfg.DAD = DADOptimistic
	case "off":
		r.cfg.DAD = DADOff
	}
	if _, ok := o["mhonly"]; ok {
		r.cfg.Protection = protect.MHOnly
	}
	if r.m != nil {
		r.step(SetConfig{r.cfg})
	}
}

func (r *rig) addr(w []string, o map[string]string, gone bool) {
	has := func(k string) bool { _, ok := o[k]; return ok }
	p := values.Replace(w[2])
	if !strings.Contains(p, "/") {
		p += "/64"
	}
	a := host.Addr{IfIndex: r.links[w[1]].Index, Prefix: netip.MustParsePrefix(p),
		Tentative: has("tentative"), Optimistic: has("optimistic"), Deprecated: has("deprecated"),
		Temporary: has("temporary"), DADFailed: has("dadfailed"), Permanent: has("permanent")}
	if !a.Permanent {
		a.Valid = r.dur(o["valid"], time.Hour)
	}
	r.step(HostEvent{host.AddrChanged{Addr: a, Gone: gone}})
}

func (r *rig) ra(w []string, o map[string]string) {
	p := host.RouterPrefix{Prefix: netip.MustParsePrefix(values.Replace(o["prefix"])), OnLink: true, Auto: true,
		Valid: r.dur(o["valid"], 24*time.Hour), Preferred: time.Hour}
	router := host.Router{IfIndex: r.links[w[1]].Index, Addr: r.ip(o["from"]),
		Lifetime: r.dur(o["lifetime"], 30*time.Minute), Interval: r.dur(o["interval"], 0), Prefixes: []host.RouterPrefix{p}}
	_, router.HomeAgent = o["agent"]
	if v, ok := o["own"]; ok {
		router.Prefixes[0].RouterAddr = r.ip(v)
	}
	if v, ok := o["hard"]; ok {
		router.HardAddr = []byte{2, 0, 0, 0, 0, v[0]}
	}
	if _, ok := o["none"]; ok {
		router.Prefixes = nil
	}
	r.step(HostEvent{host.RouterSeen{Router: router}})
}

// to is the address that a stranger's message came to.
func (r *rig) to(o map[string]string) netip.Addr {
	if v, ok := o["to"]; ok {
		return r.ip(v)
	}
	return hoa
}

// flood advertises from many forged addresses, each many prefixes that never end.
func (r *rig) flood(w []string, o map[string]string) {
	n, _ := strconv.Atoi(o["n"])
	for i := range n {
		router := host.Router{IfIndex: r.links[w[1]].Index, Lifetime: 18 * time.Hour,
			Addr: netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 8: 0xbb, 14: byte(i >> 8), 15: byte(i)})}
		for j := range 40 {
			a := netip.AddrFrom16([16]byte{0: 0x20, 1: 1, 2: 0xd, 3: 0xb9, 4: byte(i >> 8), 5: byte(i), 6: byte(j)})
			router.Prefixes = append(router.Prefixes, host.RouterPrefix{Prefix: netip.PrefixFrom(a, 64), Valid: 18 * time.Hour})
		}
		r.step(HostEvent{host.RouterSeen{Router: router}})
	}
}

func (r *rig) keys(w []string, o map[string]string) {
	switch w[1] {
	case "up":
		r.handle++
		r.step(KeysUp{Handle: r.handle})
	case "down":
		r.step(KeysDown{Handle: r.handle, Reason: "the peer does not answer"})
	case "refused":
		r.step(KeysRefused{Reason: "authentication failed"})
	case "mh", "payload":
		kind, id := ChildMH, r.cfg.ReqIDs.MH
		if w[1] == "payload" {
			kind, id = ChildPayload, r.cfg.ReqIDs.Payload
		}
		r.spi += 2
		r.step(ChildUp{Kind: kind, ReqID: id, InSPI: r.spi, OutSPI: r.spi + 1, Handle: r.handle})
	case "end": // a hard lifetime is over
		for _, c := range r.m.s.Keys.Children {
			if c.Kind.String() == w[2] {
				r.step(ChildDown{Kind: c.Kind, InSPI: c.InSPI})
				return
			}
		}
		r.t.Fatalf("no child %s", w[2])
	case "all":
		r.keys([]string{"", "up"}, o)
		r.keys([]string{"", "mh"}, o)
		r.keys([]string{"", "payload"}, o)
	}
}

// ba acknowledges the last Binding Update: what is not told is as it should be.
func (r *rig) ba(o map[string]string) {
	ba := mobility.BindingAck{Seq: r.bu.Seq, Lifetime: r.bu.Lifetime}
	if r.bu.Flags.Has(mobility.FlagKey) {
		ba.Flags = mobility.AckKey
	}
	if _, ok := o["nokey"]; ok {
		ba.Flags = 0
	}
	if v, ok := o["status"]; ok {
		n, _ := strconv.Atoi(v)
		ba.Status = mobility.Status(n)
	}
	if v, ok := o["seq"]; ok {
		n, _ := strconv.Atoi(v)
		ba.Seq = uint16(n)
	}
	if v, ok := o["lifetime"]; ok {
		ba.Lifetime = mobility.UnitsOf(r.dur(v, 0))
	}
	m := mobility.Message{Body: ba}
	if v, ok := o["advice"]; ok {
		m.Options = append(m.Options, mobility.RefreshAdvice{Interval: mobility.UnitsOf(r.dur(v, 0))})
	}
	h := host.MH{Src: ha, Dst: hoa, RouteHeader: r.m.s.Bind.Phase == protect.Away}
	if _, ok := o["noheader"]; ok {
		h.RouteHeader = false
	}
	if v, ok := o["from"]; ok {
		h.Src = r.ip(v)
	}
	r.mh(m, h)
}

func (r *rig) mh(m mobility.Message, h host.MH) {
	data, err := m.AppendTo(nil)
	if err != nil {
		r.t.Fatal(err)
	}
	h.Data = data
	r.step(HostEvent{host.MHReceived{MH: h}})
}

func (r *rig) show(what string) {
	i := r.m.Info()
	switch what {
	case "move":
		since := func(t time.Time) string {
			if t.IsZero() {
				return "-"
			}
			return fmt.Sprintf("%.3f", t.Sub(epoch).Seconds())
		}
		mv := i.LastMove
		fmt.Fprintf(&r.out, "           move %v→%v link %s router %s care-of %s migrated %s update %s ack %s\n",
			names.Replace(mv.From.String()), names.Replace(mv.To.String()), since(mv.LinkUp), since(mv.RouterAt),
			since(mv.CareOfAt), since(mv.Migrated), since(mv.UpdateAt), since(mv.AckAt))
	case "routers":
		for _, l := range r.m.s.Links {
			prefixes, inUse := 0, false
			for _, e := range l.Routers {
				prefixes = max(prefixes, len(e.Router.Prefixes))
				inUse = inUse || e.Router.Addr == i.Router
			}
			fmt.Fprintf(&r.out, "           %s: %d routers, %d prefixes at most, that in use: %v\n", l.Link.Name, len(l.Routers), prefixes, inUse)
		}
	case "state":
		fmt.Fprintf(&r.out, "           state %v care-of %v seq %d status %d expires %v refresh %v\n", i.State,
			names.Replace(i.CareOf.String()), i.Seq, i.Status, stampOrNone(i.Expires), stampOrNone(i.RefreshAt))
	}
}

func stampOrNone(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return strings.TrimSpace(stamp(t))
}

// trace runs a scenario: lines that begin with ">" are commands, "#" comments, the rest is what
// the machine did, which is left out and written anew.
func trace(t *testing.T, text string, copies bool) string {
	r := newRig(t)
	r.copies = copies
	var b strings.Builder
	for _, line := range strings.Split(text, "\n") {
		switch {
		case strings.HasPrefix(line, "#") || line == "":
			if line != "" || !strings.HasSuffix(b.String(), "\n\n") {
				b.WriteString(line + "\n")
			}
		case strings.HasPrefix(line, ">"):
			b.WriteString(line + "\n")
			for _, cmd := range strings.Split(line[1:], ";") {
				r.run(strings.TrimSpace(cmd))
			}
			b.WriteString(r.out.String())
			r.out.Reset()
		}
	}
	if r.late {
		t.Error("a binding update left before its migration was done")
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

// TestScenarios plays every scenario of testdata, once as it is and once with the state copied
// before each step.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scenarios", err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txt"), func(t *testing.T) {
			raw, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			got := trace(t, string(raw), false)
			if *update {
				if err := os.WriteFile(f, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				raw = []byte(got)
			}
			if got != string(raw) {
				t.Errorf("the trace differs; it is now:\n%s", got)
			}
			if copied := trace(t, string(raw), true); copied != got {
				t.Errorf("with the state copied between the steps the trace is:\n%s", copied)
			}
		})
	}
}
