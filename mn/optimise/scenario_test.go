package optimise

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/mobility"
	"github.com/mip6/mip6/mobility/rr"
	"github.com/mip6/mip6/xfrm"
)

var rewrite = flag.Bool("update", false, "write the scenarios' traces anew")

// rig drives one machine by the commands of a scenario and writes down what it does.
type rig struct {
	t       *testing.T
	cfg     Config
	random  io.Reader
	m       *Machine
	now     time.Time
	out     strings.Builder
	hold    bool // answers to Route are kept back
	fail    bool // the next Route fails
	copies  bool // the state is copied before each step
	held    []Event
	at      Placed
	peers   map[netip.Addr]*correspondent
	sent    map[netip.Addr]map[mobility.Type]host.MH // the last of each
	traffic map[netip.Addr]func() (time.Time, uint64)
	records map[netip.Addr]Record
	updates int
}

func newRig(t *testing.T) *rig {
	r := &rig{t: t, now: epoch, random: chance(7), peers: map[netip.Addr]*correspondent{}, records: map[netip.Addr]Record{},
		sent: map[netip.Addr]map[mobility.Type]host.MH{}, traffic: map[netip.Addr]func() (time.Time, uint64){},
		cfg: Config{Home: hoa, HomeAgent: ha}}
	for i, n := range []string{"CN1", "CN2", "CN3"} {
		r.peers[addrs[n]] = newCorrespondent(addrs[n], uint64(i))
		r.sent[addrs[n]] = map[mobility.Type]host.MH{}
	}
	return r
}

func (r *rig) start() {
	m, err := New(r.cfg, r.random)
	if err != nil {
		r.t.Fatal(err)
	}
	r.m = m
	var recs []Record
	for _, n := range []string{"CN1", "CN2", "CN3"} {
		if rec, ok := r.records[addrs[n]]; ok {
			b, _ := json.Marshal(rec)
			var back Record
			if err := json.Unmarshal(b, &back); err != nil {
				r.t.Fatal(err)
			}
			recs = append(recs, back)
		}
	}
	r.step(Restored{Records: recs})
}

// step gives an event and everything that follows from answers to it.
func (r *rig) step(ev Event) {
	if r.copies {
		r.m = copyMachine(r.t, r.m)
	}
	r.do(r.m.Step(r.now, ev, nil))
}

// copyMachine is the same machine with a copy of the state.
func copyMachine(t *testing.T, m *Machine) *Machine {
	b, err := json.Marshal(m.s)
	if err != nil {
		t.Fatal(err)
	}
	c := &Machine{cfg: m.cfg, random: m.random}
	if err := json.Unmarshal(b, &c.s); err != nil {
		t.Fatal(err)
	}
	return c
}

func (r *rig) do(actions []Action) {
	var answers []Event
	for _, a := range actions {
		for line := range strings.SplitSeq(strings.TrimSuffix(actionText(a), "\n"), "\n") {
			fmt.Fprintf(&r.out, "%s  %s\n", stamp(r.now), line)
		}
		switch x := a.(type) {
		case Host:
			for _, op := range x.Ops {
				mh := op.(host.SendMH).MH
				var m mobility.Message
				if err := m.Decode(mh.Data); err != nil {
					r.t.Fatal(err)
				}
				r.sent[mh.Dst][m.Type()] = mh
				if m.Type() == mobility.TypeBU {
					r.updates++
				}
			}
		case Route:
			if x.ID == 0 {
				continue
			}
			e := RouteDone{ID: x.ID}
			if r.fail {
				e.Err, r.fail = errors.New("busy"), false
			}
			answers = append(answers, e)
		case AskUse:
			e := Used{ID: x.ID, Last: r.now}
			if f := r.traffic[x.Remote]; f != nil {
				e.Last, e.Packets = f()
			}
			answers = append(answers, e)
		case Save:
			r.records[x.Record.Remote] = x.Record
		case Forget:
			delete(r.records, x.Remote)
		}
	}
	for _, e := range answers {
		if _, route := e.(RouteDone); route && r.hold {
			r.held = append(r.held, e)
			continue
		}
		r.step(e)
	}
}

// wait lets time pass.
func (r *rig) wait(d time.Duration) {
	end := r.now.Add(d)
	for range 100000 {
		dl := r.m.Deadline()
		if dl.IsZero() || dl.After(end) {
			r.now = end
			return
		}
		r.now = latest(r.now, dl)
		r.do(r.m.Tick(r.now, nil))
		if dl := r.m.Deadline(); !dl.IsZero() && !dl.After(r.now) {
			r.t.Fatalf("after Tick at %s the deadline is %s\n%s", stamp(r.now), stamp(dl), r.out.String())
		}
	}
	r.t.Fatalf("no progress\n%s", r.out.String())
}

// words are a command's words: name, arguments, and options as key=value.
func words(cmd string) (args []string, opt map[string]string) {
	opt = map[string]string{}
	for _, w := range strings.Fields(cmd) {
		if k, v, ok := strings.Cut(w, "="); ok {
			opt[k] = v
		} else {
			args = append(args, w)
		}
	}
	return args, opt
}

func has(list []string, w string) bool {
	for _, x := range list {
		if x == w {
			return true
		}
	}
	return false
}

func num(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic(err)
	}
	return n
}

func (r *rig) duration(s string) time.Duration {
	d, err := time.ParseDuration(s)
	if err != nil {
		r.t.Fatal(err)
	}
	return d
}

func (r *rig) run(cmd string) {
	a, opt := words(cmd)
	switch a[0] {
	case "rule":
		r.cfg.Rules = append(r.cfg.Rules, r.rule(a[1:], opt))
	case "norules":
		r.cfg.Rules = nil
	case "set":
		r.set(opt)
	case "start":
		r.start()
	case "config":
		r.step(SetConfig{r.cfg})
	case "at":
		r.place(a[1:], opt)
	case "met":
		e := Met{Remote: addrs[a[1]], Proto: 6, Port: 80}
		if p, ok := opt["port"]; ok {
			e.Port = uint16(num(p))
		}
		r.step(e)
	case "wait":
		r.wait(r.duration(a[1]))
	case "hot", "cot", "ba", "brr", "be":
		r.message(a, opt)
	case "optimise": // the whole procedure
		for _, c := range []string{"met", "hot", "cot", "ba"} {
			r.run(c + " " + a[1])
		}
	case "traffic":
		r.setTraffic(addrs[a[1]], a[2], opt)
	case "keys":
		if a[1] == "up" {
			r.step(KeysUp{addrs[a[2]]})
		} else {
			r.step(KeysDown{addrs[a[2]], "no answer"})
		}
	case "icmp":
		r.icmp(addrs[a[1]], a[2:], opt)
	case "hold":
		r.hold = true
	case "release":
		r.hold = false
		held := r.held
		r.held = nil
		for _, e := range held {
			r.step(e)
		}
	case "fail":
		r.fail = true
	case "restart": // of a correspondent
		r.peers[addrs[a[1]]].restart()
	case "stop":
		r.step(Stop{})
	case "crash":
		r.m, r.held, r.random = nil, nil, chance(8)
		r.start()
	case "show":
		for _, i := range r.m.Info() {
			fmt.Fprintf(&r.out, "           %s %v %q auth %s seq %d failures %d status %d moves %d packets %d\n", name(i.Remote), i.State, i.Why, i.Auth, i.Seq,
				i.Failures, i.LastStatus, i.Moves, i.Packets)
		}
	default:
		r.t.Fatalf("unknown command %q", cmd)
	}
}

func (r *rig) rule(a []string, opt map[string]string) Rule {
	var err error
	u := Rule{Never: has(a, "never")}
	if x, ok := addrs[a[0]]; ok {
		u.To = netip.PrefixFrom(x, 128)
	} else if u.To, err = netip.ParsePrefix(a[0]); err != nil {
		r.t.Fatal(err)
	}
	if p, ok := opt["port"]; ok {
		u.Proto, u.Port = 6, uint16(num(p))
	}
	if p, ok := opt["packets"]; ok {
		u.Packets = uint64(num(p))
	}
	c := r.peers[u.To.Addr()]
	switch {
	case has(a, "static"):
		u.Auth, u.Key = StaticKey, rr.Kbm{1, 2, 3}
		c.static = &u.Key
	case has(a, "ipsec"):
		u.Auth = IPsec
		c.ipsec = true
	}
	if has(a, "esp") {
		u.Protect, u.Conn, u.ReqID = xfrm.ESP, "cn", 77
	}
	return u
}

func (r *rig) set(opt map[string]string) {
	for k, v := range opt {
		switch k {
		case "lifetime":
			r.cfg.Lifetime = r.duration(v)
		case "idle":
			r.cfg.Idle = r.duration(v)
		case "max":
			r.cfg.Max = num(v)
		default:
			r.t.Fatalf("unknown setting %q", k)
		}
	}
}

func (r *rig) place(a []string, opt map[string]string) {
	var p Placed
	switch a[0] {
	case "home":
		p.Place = AtHome
	case "nowhere":
	default:
		p = Placed{Place: Abroad, CareOf: addrs[a[0]], Sent: has(a, "sent") || has(a, "bound"), Bound: has(a, "bound")}
	}
	if p.Bound {
		p.Until = r.now.Add(time.Hour)
		if l, ok := opt["for"]; ok {
			p.Until = r.now.Add(r.duration(l))
		}
	}
	r.at = p
	r.step(p)
}

func (r *rig) setTraffic(a netip.Addr, what string, opt map[string]string) {
	last, n := r.now, uint64(0)
	if p, ok := opt["packets"]; ok {
		n = uint64(num(p))
	}
	switch what {
	case "on":
		r.traffic[a] = func() (time.Time, uint64) { return r.now, n }
	case "off":
		r.traffic[a] = func() (time.Time, uint64) { return last, n }
	}
}

// message gives an answer of a correspondent to what was sent to it last.
func (r *rig) message(a []string, opt map[string]string) {
	c := r.peers[addrs[a[1]]]
	var mh host.MH
	switch a[0] {
	case "brr":
		mh = host.MH{Src: c.addr, Dst: hoa, Data: encode(mobility.BindingRefreshRequest{})}
	case "be":
		mh = host.MH{Src: c.addr, Dst: r.at.CareOf, Data: encode(mobility.BindingError{Status: mobility.ErrorStatus(num(a[2])), HomeAddr: hoa})}
	default:
		t := map[string]mobility.Type{"hot": mobility.TypeHoTI, "cot": mobility.TypeCoTI, "ba": mobility.TypeBU}[a[0]]
		asked, ok := r.sent[c.addr][t]
		if !ok {
			r.t.Fatalf("%v: nothing was sent\n%s", a, r.out.String())
		}
		var m mobility.Message
		if err := m.Decode(asked.Data); err != nil {
			r.t.Fatal(err)
		}
		if s, ok := opt["status"]; ok {
			mh = r.status(c, asked, &m, mobility.Status(num(s)), opt)
		} else if mh, ok = c.take(r.now, asked); !ok {
			r.t.Fatalf("the correspondent does not answer %s\n%s", mhText(asked), r.out.String())
		}
	}
	r.spoil(&mh, a)
	r.step(MHReceived{mh})
}

// status is an acknowledgement with a status of the scenario's choice.
func (r *rig) status(c *correspondent, asked host.MH, m *mobility.Message, s mobility.Status, opt map[string]string) host.MH {
	b := m.Body.(mobility.BindingUpdate)
	signed := asked.CareOf
	if alt, ok := m.Options.AlternateCareOf(); ok {
		signed = alt
	}
	if b.Lifetime == 0 {
		signed = asked.Src
	}
	key, _, _ := c.key(r.now, asked.Src, signed, m, b.Lifetime == 0)
	ack := mobility.BindingAck{Status: s, Seq: b.Seq, Lifetime: b.Lifetime}
	if v, ok := opt["seq"]; ok {
		ack.Seq = uint16(num(v))
	}
	if v, ok := opt["life"]; ok {
		ack.Lifetime = mobility.UnitsOf(r.duration(v))
	}
	return c.answer(asked, ack, key, signed)
}

// spoil makes a message wrong in the ways that are named.
func (r *rig) spoil(mh *host.MH, how []string) {
	flip := func(at int) { mh.Data[at] ^= 1 }
	for _, h := range how[2:] {
		switch h {
		case "badcookie":
			flip(8)
		case "badauth":
			flip(len(mh.Data) - 1)
		case "otherheader":
			mh.RouteHeader = !mh.RouteHeader
		case "option":
			mh.CareOf = addrs["COA3"]
		case "elsewhere":
			mh.Dst = addrs["COA3"]
		case "other":
			mh.Src = addrs["CN3"]
		}
	}
}

func (r *rig) icmp(cn netip.Addr, a []string, opt map[string]string) {
	e := host.ICMPError{Type: 4, Code: 1, From: cn, Src: hoa, Dst: cn, MH: true, Refuses: true}
	if has(a, "option") {
		e.Code, e.Src, e.Home, e.MH = 2, r.at.CareOf, hoa, false
	}
	if has(a, "other") {
		e.Refuses = false
	}
	if s, ok := opt["src"]; ok {
		e.Src = addrs[s]
	}
	if s, ok := opt["from"]; ok {
		e.From = addrs[s]
	}
	if e.MH {
		e.Data = r.quote(e, cn)
	}
	r.step(ICMPError{e})
}

// play runs a scenario and gives it back with the traces that it had.
func play(t *testing.T, text string, copies bool) (got string, r *rig) {
	r = newRig(t)
	r.copies = copies
	var b strings.Builder
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.HasPrefix(line, "> "):
			b.WriteString(line + "\n")
			for cmd := range strings.SplitSeq(line[2:], ";") {
				r.run(strings.TrimSpace(cmd))
			}
			b.WriteString(r.out.String())
			r.out.Reset()
		case strings.HasPrefix(line, "#") || line == "":
			b.WriteString(line + "\n")
		}
	}
	return b.String(), r
}

// TestScenarios plays testdata; with -update the traces are written anew, to be read.
// Each is played a second time with a copy of the state before each step.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) < 5 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txt"), func(t *testing.T) {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			got, _ := play(t, string(b), false)
			if again, _ := play(t, string(b), true); again != got {
				t.Errorf("with a copied state:\n%s\nwithout:\n%s", again, got)
			}
			if *rewrite {
				if err := os.WriteFile(f, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(b) {
				t.Errorf("got:\n%s\nwant:\n%s", got, b)
			}
		})
	}
}
