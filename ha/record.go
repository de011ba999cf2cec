package ha

import (
	"net/netip"
	"time"

	"github.com/mip6/mip6/mobility"
	"github.com/mip6/mip6/mobility/protect"
)

// Record is what has to survive a crash of the program.
type Record struct {
	Home     netip.Addr
	Identity string
	Agent    netip.Addr // our address that the node is registered with
	Slot     uint32     // the place of the node in its instance; ReqIDs follow from it
	ReqIDs   protect.ReqIDs
	Assigned bool       // taken from the pool
	KeysAt   netip.Addr // IKE's remote address
	// TunnelAt is where the payload states end; it differs from CareOf while they
	// move, and outlives a binding.
	TunnelAt netip.Addr
	Phase    protect.Phase // what the databases hold for the home address

	State    State
	CareOf   netip.Addr
	Seq      uint16 // last accepted sequence number
	Flags    mobility.UpdateFlags
	Lifetime mobility.Units // granted
	Expires  time.Time      // of the binding; of the entry when it is Invalid
}

// State is what a home address is in.
type State uint8

// The states of a home address.
const (
	Unbound State = 0 // keys only
	Probing State = 1 // duplicate address detection runs for its first binding
	Bound   State = 2
	Invalid State = 3 // deregistered; kept for MAX_DELETE_BCE_TIMEOUT (RFC 6275 §10.3.2)
)

func (s State) String() string {
	return [...]string{"unbound", "probing", "bound", "deleted", "unknown"}[min(s, 4)]
}
