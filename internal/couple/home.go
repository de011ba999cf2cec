package couple

import (
	"net/netip"
	"slices"

	"github.com/mip6/mip6/ike"
	"github.com/mip6/mip6/ike/message"
	"github.com/mip6/mip6/mn"
	"github.com/mip6/mip6/mn/optimise"
	"github.com/mip6/mip6/xfrm"
)

// know notes a mobile node, which stays where it is.
func (n *Node) know(m *MN) {
	h := n.home(m.Home)
	h.mn = m
	for _, c := range m.Children {
		h.know(c.ReqID)
	}
}

// home is what the coupling knows of one home address.
type home struct {
	addr netip.Addr
	mn   *MN // nil at the home agent
	// pair is set where the entry is for the keys between two addresses, and no home address; via is
	// the mobile node whose address local is, nil at its correspondent. path is what it asked for,
	// at where IKE was last begun, met whether it was ever up.
	pair *pair
	via  *MN
	path optimise.KeyUp
	at   netip.Addr
	met  bool
	// over: its correspondent is given up.
	over bool
	// place and placed are what was last told of a mobile node's place.
	place  place
	placed optimise.Placed
	// asked are the correspondents for which the databases have asked for a path.
	asked []netip.Addr
	// reqids of its children, as far as they are known.
	reqids []xfrm.ReqID
	// sas are the IKE SAs that stand, the newest last.
	sas []*keySA
	// pending is the Initiate whose result counts, 0 for none, and want what asked for it.
	pending uint64
	want    mn.KeyUp
	// asking holds the reqids for which a CreateChild is under way.
	asking map[xfrm.ReqID]bool
	// acquires are those that no SA has answered yet, the last of each reqid.
	acquires map[xfrm.ReqID]uint32
	// installed are the SAs of children that are in the databases, with the
	// addresses that they have there now: IKE's own go on to the home address
	// when a node is at home, the states do not.
	installed []installed
	// dying are SAs that have a while to go.
	dying []dying
	// stale are SAs that an earlier run of the program left.
	stale []xfrm.SA
}

// keySA is an IKE SA that stands or comes about.
type keySA struct {
	id        ike.SAID
	handle    uint64 // the name that the roles know it by; it outlives a rekey
	home      *home  // nil until the peer's home address is known
	up        bool
	initiator bool
	conn      string
	peer      message.Identity
	remote    netip.Addr
	// granted: a child was authorised that is not up yet.
	granted bool
	// children that stand.
	children []ike.Child
}

// home returns the entry of a home address and makes one where there is none.
func (n *Node) home(addr netip.Addr) *home {
	h := n.homes[addr]
	if h == nil {
		h = newHome(addr)
		n.homes[addr] = h
		n.order = append(n.order, h)
	}
	return h
}

func newHome(addr netip.Addr) *home {
	return &home{addr: addr, asking: make(map[xfrm.ReqID]bool), acquires: make(map[xfrm.ReqID]uint32)}
}

// nodes tells whether our end is the mobile node's: it asks for children, and ends those that are replaced.
func (h *home) nodes() bool { return h.mn != nil || h.via != nil }

// know notes that a request id is of this home address.
func (h *home) know(id xfrm.ReqID) {
	if !slices.Contains(h.reqids, id) {
		h.reqids = append(h.reqids, id)
	}
}
