package kernel

import (
	"net/netip"
	"sync"

	"github.com/mip6/mip6/xfrm"
)

// index is what this process knows of the SAs: those that it put, reserved,
// copied or saw in a dump. It saves system calls and never decides alone: the
// kernel may have dropped an SA at its hard limit, and others may add some.
// Addresses are arrays, not netip.Addr, for the garbage collector's sake: a home
// agent has a million SAs.
type index struct {
	mu      sync.Mutex
	sas     map[saKey]known
	groups  map[group][]saKey
	polMark map[xfrm.PolicyID]uint32 // policies with a mark only
}

type saKey struct {
	dst, src [16]byte // src for route optimization states only
	spi      uint32
	proto    uint8
}

// group is what MIGRATE finds states by.
type group struct {
	src, dst    [16]byte
	reqid       uint32
	proto, mode uint8
}

type known struct {
	group    group
	window   uint32 // of replay protection, in packets
	mark     uint32
	reserved bool // by AllocSPI, no keys yet
	v4       bool
}

func as16(a netip.Addr) [16]byte {
	if !a.IsValid() {
		return [16]byte{}
	}
	return a.As16()
}

func keyOf(id xfrm.ID) saKey {
	k := saKey{dst: as16(id.Dst), spi: uint32(id.SPI), proto: uint8(id.Proto)}
	if byAddress(id.Proto) {
		k.src = as16(id.Src)
	}
	return k
}

func (k saKey) id(v4 bool) xfrm.ID {
	dst, src := netip.AddrFrom16(k.dst), netip.Addr{}
	if v4 {
		dst = dst.Unmap()
	}
	if byAddress(xfrm.Proto(k.proto)) {
		src = netip.AddrFrom16(k.src)
	}
	return xfrm.ID{Dst: dst, Src: src, SPI: xfrm.SPI(k.spi), Proto: xfrm.Proto(k.proto)}
}

func groupOf(s xfrm.SA) group {
	return group{src: as16(s.Src), dst: as16(s.Dst), reqid: uint32(s.ReqID), proto: uint8(s.Proto), mode: uint8(s.Mode)}
}

// oldGroup and newGroup are where a move finds its states and leaves them.
func oldGroup(m xfrm.Move) group {
	return group{src: as16(m.OldSrc), dst: as16(m.OldDst), reqid: uint32(m.ReqID), proto: uint8(m.Proto), mode: uint8(m.Mode)}
}

func newGroup(m xfrm.Move) group {
	return group{src: as16(m.NewSrc), dst: as16(m.NewDst), reqid: uint32(m.ReqID), proto: uint8(m.Proto), mode: uint8(m.Mode)}
}

func (x *index) init() {
	x.sas, x.groups, x.polMark = map[saKey]known{}, map[group][]saKey{}, map[xfrm.PolicyID]uint32{}
}

func (x *index) put(s xfrm.SA, reserved bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.set(keyOf(s.ID()), known{
		group: groupOf(s), window: s.Replay.Packets(), mark: s.Mark, reserved: reserved, v4: s.Dst.Is4(),
	})
}

func (x *index) set(k saKey, v known) {
	x.unset(k)
	x.sas[k] = v
	x.groups[v.group] = append(x.groups[v.group], k)
}

func (x *index) unset(k saKey) {
	old, ok := x.sas[k]
	if !ok {
		return
	}
	delete(x.sas, k)
	list := x.groups[old.group]
	for i := range list {
		if list[i] == k {
			list = append(list[:i], list[i+1:]...)
			break
		}
	}
	if len(list) == 0 {
		delete(x.groups, old.group)
	} else {
		x.groups[old.group] = list
	}
}

func (x *index) drop(id xfrm.ID) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.unset(keyOf(id))
}

func (x *index) get(id xfrm.ID) (known, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	v, ok := x.sas[keyOf(id)]
	return v, ok
}

// members gives the IDs of a group's SAs that have keys.
func (x *index) members(g group) []xfrm.ID {
	x.mu.Lock()
	defer x.mu.Unlock()
	var ids []xfrm.ID
	for _, k := range x.groups[g] {
		if v := x.sas[k]; !v.reserved {
			ids = append(ids, k.id(v.v4))
		}
	}
	return ids
}

// move renames an SA that changed its addresses.
func (x *index) move(from, to xfrm.ID, g group) {
	x.mu.Lock()
	defer x.mu.Unlock()
	v, ok := x.sas[keyOf(from)]
	if !ok {
		return
	}
	x.unset(keyOf(from))
	v.group, v.v4 = g, to.Dst.Is4()
	x.set(keyOf(to), v)
}

func (x *index) policyMark(id xfrm.PolicyID, mark uint32) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if id = id.Canonical(); mark != 0 {
		x.polMark[id] = mark
	} else {
		delete(x.polMark, id)
	}
}

func (x *index) markOf(id xfrm.PolicyID) uint32 {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.polMark[id.Canonical()]
}
