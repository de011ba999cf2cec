package xfrm

import "net/netip"

// Dir is the direction of a policy.
type Dir uint8

// The directions, numbered as Linux does.
const (
	In  Dir = 0
	Out Dir = 1
	Fwd Dir = 2
)

func (d Dir) String() string {
	return [...]string{"in", "out", "fwd", "?"}[min(d, 3)]
}

// PolicyType tells the two databases of Linux apart, which it resolves together.
type PolicyType uint8

// Main holds IPsec's policies, Sub is meant for Mobile IPv6's own.
const (
	Main PolicyType = 0
	Sub  PolicyType = 1
)

// Policy is an entry of the SPD.
type Policy struct {
	Sel       Selector
	Dir       Dir
	Type      PolicyType
	Priority  uint32 // the lowest number is looked at first
	Block     bool   // discard; otherwise allow, protected by Templates or bypassed with none
	Templates []Template
	Index     uint32 // filled by Dump only
	Stats     Stats  // filled by Dump only
	Mark      uint32
}

// PolicyID is the key of a policy: two with the same key replace each other.
type PolicyID struct {
	Sel  Selector
	Dir  Dir
	Type PolicyType
}

// ID returns the key.
func (p Policy) ID() PolicyID { return PolicyID{Sel: p.Sel, Dir: p.Dir, Type: p.Type} }

// Template says which state a policy wants. Transport templates of the Mobility
// Header have the home address and the home agent; tunnel templates the outer
// addresses, which MIGRATE moves. The order is innermost first: ESP, then the
// header of Mobile IPv6.
type Template struct {
	Src, Dst netip.Addr
	Proto    Proto
	Mode     Mode
	ReqID    ReqID
	SPI      SPI  // 0: any
	Optional bool // "level use": take the state where there is one
}
