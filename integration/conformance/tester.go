package conformance

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

const (
	// answerLimit is how long an answer may take: many daemons share one processor here.
	answerLimit = 15 * time.Second
	// silence is how long nothing must come; a node that is only slow is found out by
	// Tester.settled, which asks for an answer behind it.
	silence = time.Second
)

// Tester sends to the node under test and judges what comes back.
type Tester struct {
	testing.TB
	Wire  Wire
	Node  Node
	got   []View
	taken []bool
	since time.Time
	lines []string
}

// Node are the addresses of the node under test.
type Node struct{ First, Second netip.Addr }

// NewTester begins a case. At its end every answer of the node must have been asked
// for; after a failure the record of all packets and the node's log are shown.
func NewTester(t testing.TB, w Wire) *Tester {
	x := &Tester{TB: t, Wire: w, since: w.Now()}
	x.Node.First = w.Nodes()[0]
	if n := w.Nodes(); len(n) > 1 {
		x.Node.Second = n[1]
	}
	t.Cleanup(x.end)
	return x
}

func (x *Tester) end() {
	x.collect(0)
	for i, v := range x.got {
		if !x.taken[i] && (v.Is(typeHoT, typeCoT, typeBA, typeBE) || v.icmp(4)) {
			x.Errorf("the node sent what nothing had asked for: %v", v)
		}
	}
	if x.Failed() {
		x.Log("packets (> to the node, < from it):")
		for _, l := range x.lines {
			x.Log(l)
		}
		x.Log(x.Wire.Log())
	}
}

// step records what the case is about to do.
func (x *Tester) step(format string, a ...any) { x.note("-- "+format, a...) }

func (x *Tester) note(format string, a ...any) {
	x.lines = append(x.lines, fmt.Sprintf("%8.3f ", x.Wire.Now().Sub(x.since).Seconds())+fmt.Sprintf(format, a...))
}

// Send sends a packet.
func (x *Tester) Send(p Packet) []byte {
	x.Helper()
	b := p.Bytes()
	v, _ := look(b)
	x.note("> %v", v)
	if err := x.Wire.Send(b); err != nil {
		x.Fatalf("the wire is broken: %v", err)
	}
	return b
}

// collect takes what the node sent until the limit is over or something came.
func (x *Tester) collect(limit time.Duration) bool {
	x.Helper()
	some := false
	for {
		raw, ok := x.Wire.Next(limit)
		if !ok {
			return some
		}
		v, err := look(raw)
		x.note("< %v", v)
		if err != nil {
			x.Errorf("the node sent a wrong packet: %v: %v: %x", v, err, raw)
		}
		x.got, x.taken = append(x.got, v), append(x.taken, false)
		some, limit = true, 0
	}
}

// Expect waits for a packet that matches and takes it.
func (x *Tester) Expect(what string, match func(View) bool) View {
	x.Helper()
	v, ok := x.wait(answerLimit, match)
	if !ok {
		x.Fatalf("no %s came", what)
	}
	return v
}

// wait looks for a packet that nothing has taken yet.
func (x *Tester) wait(limit time.Duration, match func(View) bool) (View, bool) {
	x.Helper()
	end := x.Wire.Now().Add(limit)
	for i := 0; ; {
		for ; i < len(x.got); i++ {
			if !x.taken[i] && match(x.got[i]) {
				x.taken[i] = true
				return x.got[i], true
			}
		}
		left := end.Sub(x.Wire.Now())
		if left <= 0 || !x.collect(left) {
			return View{}, false
		}
	}
}

// mark is the place in the record before a packet whose answer must not come.
func (x *Tester) mark() int {
	x.collect(0)
	return len(x.got)
}

// Silent fails the case where something that matches came since the mark, or comes
// within the time that silence takes. settled makes the node answer behind it.
func (x *Tester) Silent(mark int, what string, settled func(), match func(View) bool) {
	x.Helper()
	for end := x.Wire.Now().Add(silence); x.Wire.Now().Before(end); {
		if left := end.Sub(x.Wire.Now()); !x.collect(left) {
			break
		}
	}
	if settled != nil {
		settled()
	}
	for i, v := range x.got[mark:] {
		if !x.taken[mark+i] && match(v) {
			x.taken[mark+i] = true
			x.Errorf("%s came: %v", what, v)
		}
	}
}

// must fails the case, with the packet, where a judgement does not hold.
func (x *Tester) must(v View, ok bool, format string, a ...any) {
	x.Helper()
	if !ok {
		x.Errorf("%s: %v", fmt.Sprintf(format, a...), v)
	}
}
