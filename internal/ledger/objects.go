package ledger

import (
	"encoding/json"
	"fmt"
	"net/netip"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/xfrm"
)

// StateInfo is what the ledger holds of a state: enough to find, to judge and to
// remove it; never keys.
type StateInfo struct {
	ID     xfrm.ID
	Mode   xfrm.Mode
	ReqID  xfrm.ReqID
	CareOf netip.Addr
}

// FromXfrm says what op changes in the ledger; Split says what of it before op is
// applied and what after.
//
// An SA carries its owner's mark in the host itself, a request id of our block
// (see protect.Owned), and it keeps that when a migration gives it another address, where
// a record would be left behind. So records are for what has no such mark:
// ro states, and all policies.
func FromXfrm(op xfrm.Op) []Change {
	switch op := op.(type) {
	case xfrm.PutSA:
		if op.SA.ReqID != 0 && op.SA.Mode != xfrm.RouteOpt {
			return nil
		}
		return []Change{{Kind: KindSA, Key: StateKey(op.SA.ID()), Value: encode(StateInfo{
			ID: op.SA.ID(), Mode: op.SA.Mode, ReqID: op.SA.ReqID, CareOf: op.SA.CareOf,
		})}}
	case xfrm.DelSA:
		return []Change{{Kind: KindSA, Key: StateKey(op.ID), Del: true}}
	case xfrm.PutPolicy:
		return []Change{{Kind: KindPolicy, Key: PolicyKey(op.Policy.ID()), Value: encode(op.Policy.ID())}}
	case xfrm.DelPolicy:
		return []Change{{Kind: KindPolicy, Key: PolicyKey(op.ID), Del: true}}
	}
	return nil
}

// Split parts the changes of operations that are applied together. What is put must
// be in the ledger before it is in the host; what is removed must stay there until it
// is out of the host. After has the removals that no later change takes back. Write
// before, apply, then write of after what was applied without error.
func Split(changes []Change) (before, after []Change) {
	last := make(map[id]int, len(changes))
	for i, c := range changes {
		last[id{c.Kind, c.Key}] = i
	}
	for i, c := range changes {
		switch {
		case !c.Del:
			before = append(before, c)
		case last[id{c.Kind, c.Key}] == i:
			after = append(after, c)
		}
	}
	return before, after
}

// StateKey is the key of an SA in the ledger.
func StateKey(id xfrm.ID) string {
	return fmt.Sprintf("%v %v %v %v", id.Proto, id.SPI, id.Src, id.Dst)
}

// PolicyKey is the key of a policy in the ledger. All of the selector counts.
func PolicyKey(id xfrm.PolicyID) string {
	s := id.Sel
	return fmt.Sprintf("%v %d %v %v proto %d sport %d/%d dport %d/%d if %d", id.Dir, id.Type, s.Src, s.Dst, s.Proto,
		s.SrcPort, s.SrcPortMask, s.DstPort, s.DstPortMask, s.IfIndex)
}

// State reads a KindSA record.
func (r Record) State() (StateInfo, error) {
	var v StateInfo
	return v, r.decode(KindSA, &v)
}

// Policy reads a KindPolicy record.
func (r Record) Policy() (xfrm.PolicyID, error) {
	var v xfrm.PolicyID
	return v, r.decode(KindPolicy, &v)
}

// hostOp is an operation with its type beside it: exactly one field is set.
type hostOp struct {
	Addr  *host.PutAddr  `json:",omitempty"`
	Route *host.PutRoute `json:",omitempty"`
	Rule  *host.PutRule  `json:",omitempty"`
	Proxy *host.PutProxy `json:",omitempty"`
}

// FromHost says what op changes in the ledger, as FromXfrm does: nothing for
// operations that leave nothing behind, and for SetSysctl, whose found value only
// the host knows (see Sysctl).
func FromHost(op host.Op) []Change {
	var key string
	var v hostOp
	del := false
	switch op := op.(type) {
	case host.PutAddr:
		key, v.Addr = addrKey(op.IfIndex, op.Prefix), &op
	case host.DelAddr:
		key, del = addrKey(op.IfIndex, op.Prefix), true
	case host.PutRoute:
		key, v.Route = routeKey(op.Route), &op
	case host.DelRoute:
		key, del = routeKey(op.Route), true
	case host.PutRule:
		key, v.Rule = ruleKey(op.Rule), &op
	case host.DelRule:
		key, del = ruleKey(op.Rule), true
	case host.PutProxy:
		key, v.Proxy = proxyKey(op.IfIndex, op.Addr), &op
	case host.DelProxy:
		key, del = proxyKey(op.IfIndex, op.Addr), true
	default:
		return nil
	}
	if del {
		return []Change{{Kind: KindHost, Key: key, Del: true}}
	}
	return []Change{{Kind: KindHost, Key: key, Value: encode(v)}}
}

func addrKey(ifIndex int, p netip.Prefix) string { return fmt.Sprintf("addr %d %v", ifIndex, p) }
func proxyKey(ifIndex int, a netip.Addr) string  { return fmt.Sprintf("proxy %d %v", ifIndex, a) }

// routeKey has what tells routes apart in Linux: destination, table and metric.
func routeKey(r host.Route) string {
	return fmt.Sprintf("route %v table %d metric %d", r.Dst, r.Table, r.Metric)
}

func ruleKey(r host.Rule) string {
	return fmt.Sprintf("rule %v table %d prio %d", r.Src, r.Table, r.Priority)
}

// Undo reads a KindHost record and gives the operation that removes what it tells of.
func (r Record) Undo() (host.Op, error) {
	var v hostOp
	if err := r.decode(KindHost, &v); err != nil {
		return nil, err
	}
	switch {
	case v.Addr != nil:
		return host.DelAddr{IfIndex: v.Addr.IfIndex, Prefix: v.Addr.Prefix}, nil
	case v.Route != nil:
		return host.DelRoute{Route: v.Route.Route}, nil
	case v.Rule != nil:
		return host.DelRule{Rule: v.Rule.Rule}, nil
	case v.Proxy != nil:
		return host.DelProxy{IfIndex: v.Proxy.IfIndex, Addr: v.Proxy.Addr}, nil
	}
	return nil, fmt.Errorf("%w: host record %q is empty", ErrFormat, r.Key)
}

// Sysctl is the record of a sysctl's value as it was found. Write it once: what a
// later start finds is our own value.
func Sysctl(key, found string) Change {
	return Change{Kind: KindSysctl, Key: key, Value: []byte(found)}
}

// SPDThresholds are the SPD hash thresholds as they were found.
type SPDThresholds struct {
	Local4, Remote4, Local6, Remote6 uint8
}

// SPD is the record of the thresholds found.
func SPD(t SPDThresholds) Change { return Change{Kind: KindSPD, Key: "spd", Value: encode(t)} }

// SPD reads a KindSPD record.
func (r Record) SPD() (SPDThresholds, error) {
	var v SPDThresholds
	return v, r.decode(KindSPD, &v)
}

func (r Record) decode(want Kind, v any) error {
	if r.Kind != want {
		return fmt.Errorf("%w: record %q is of kind %d, wanted %d", ErrFormat, r.Key, r.Kind, want)
	}
	if err := json.Unmarshal(r.Value, v); err != nil {
		return fmt.Errorf("%w: record %q: %v", ErrFormat, r.Key, err)
	}
	return nil
}

// encode gives JSON of types that always have one.
func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("ledger: %T has no JSON: %v", v, err))
	}
	return b
}
