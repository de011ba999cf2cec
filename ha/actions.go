package ha

import (
	"errors"
	"net/netip"
	"time"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/mobility"
	"github.com/mip6/mip6/xfrm"
)

// Action is what a Machine wants done: the types below, and no others.
type Action interface{ action() }

// Errors of Authorised; test with errors.Is. The text says which node and why.
var (
	// ErrTSUnacceptable: the selectors are not those of the identity's home address.
	ErrTSUnacceptable = errors.New("ha: selectors are not acceptable")
	// ErrAddressFailure: no address could be assigned (INTERNAL_ADDRESS_FAILURE).
	ErrAddressFailure = errors.New("ha: no home address to assign")
	// ErrDenied: the access list knows no home address for the identity, or refuses it.
	ErrDenied = errors.New("ha: identity is not served here")
	// ErrNotServing: nobody is served at the moment; it is worth another try.
	ErrNotServing = errors.New("ha: the service is not running")
)

// Host asks for operations on the host; answered by HostDone.
type Host struct {
	ID   uint64
	Home netip.Addr
	Ops  []host.Op
}

// Xfrm asks for operations on the IPsec databases; answered by XfrmDone.
type Xfrm struct {
	ID   uint64
	Home netip.Addr
	Ops  []xfrm.Op
}

// ProbeDAD asks for duplicate address detection of Addr, which is the home
// address or the link-local one that belongs to it; answered by DADDone.
type ProbeDAD struct {
	ID      uint64
	Home    netip.Addr
	IfIndex int
	Addr    netip.Addr
}

// Authorised answers Authorise. Local and Remote are the narrowed selectors,
// subsets of what was asked. Assigned is set where an address was asked for.
type Authorised struct {
	ID        uint64
	Home      netip.Addr
	Kind      Kind
	Mode      xfrm.Mode
	ReqID     xfrm.ReqID
	Local     []Selector
	Remote    []Selector
	Assigned  netip.Addr
	PrefixLen int // of the home prefix that Assigned is of
	Err       error
}

// Child is a child SA that KeyUp asks for.
type Child struct {
	Kind          Kind
	Mode          xfrm.Mode
	ReqID         xfrm.ReqID
	Local, Remote Selector // Local is the agent's side
}

// KeyUp asks for an IKE SA to a node, after a restart of the agent only:
// answered by KeysUp and ChildUp, or by KeysRefused.
type KeyUp struct {
	Home      netip.Addr
	Identity  string
	HomeAgent netip.Addr
	CareOf    netip.Addr
	Children  []Child
	// InitialContact would tell the node to drop what it had with this agent at
	// once. It is never set at present: payload goes on by the old children.
	InitialContact bool
}

// KeyMoved tells that the IKE SAs of this home address have a new remote
// address (RFC 6275 §10.3.1, K = 1). No message is sent for it.
type KeyMoved struct {
	Home      netip.Addr
	HomeAgent netip.Addr
	CareOf    netip.Addr
}

// KeyDown discards the IKE SAs of this home address. Silent: without a Delete,
// and their children stay in until others take their place (K = 0).
type KeyDown struct {
	Home   netip.Addr
	Silent bool
	Reason string
}

// Save puts a record into the ledger, before what follows it is carried out;
// Forget takes the one of Home out.
type Save struct{ Record Record }
type Forget struct{ Home netip.Addr }

// Level is how much a Note matters.
type Level uint8

// Levels of a Note.
const (
	Debug Level = 0
	Info  Level = 1
	Warn  Level = 2
)

// Note is a line for the log. Attrs are keys and values in turn.
type Note struct {
	Level Level
	Home  netip.Addr // zero: of no home address
	Msg   string
	Attrs []any
}

// What names a change of a registration.
type What string

// The changes that Changed tells.
const (
	UpdateReceived What = "bu received"
	DADStarted     What = "dad started"
	DADPassed      What = "dad passed"
	Migrated       What = "migrated" // payload states and policies end at the new care-of address
	AckSent        What = "ba sent"
	Registered     What = "registered"
	Refreshed      What = "refreshed"
	Moved          What = "moved"
	Deregistered   What = "deregistered"
	Expired        What = "expired"
	Refused        What = "refused"
	Dropped        What = "dropped" // removed by configuration or by the end of its prefix
)

// Changed tells of a registration, for those who watch.
type Changed struct {
	At       time.Time
	Home     netip.Addr
	What     What
	CareOf   netip.Addr
	Old      netip.Addr // the care-of address before, where there was one
	Seq      uint16
	Lifetime mobility.Units
	Status   mobility.Status
	AtHome   bool
}

// Stopped says that all is taken down: no action follows.
type Stopped struct{}

func (Host) action()       {}
func (Xfrm) action()       {}
func (ProbeDAD) action()   {}
func (Authorised) action() {}
func (KeyUp) action()      {}
func (KeyMoved) action()   {}
func (KeyDown) action()    {}
func (Save) action()       {}
func (Forget) action()     {}
func (Note) action()       {}
func (Changed) action()    {}
func (Stopped) action()    {}
