package mn

import (
	"log/slog"
	"net/netip"
	"time"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/mobility/protect"
	"github.com/mip6/mip6/xfrm"
)

// Event is what happens to a Machine: the types below, and no others.
type Event interface{ event() }

// Action is what a Machine wants done: the types below, and no others. Every
// action carries the home address, which is the key of its order.
type Action interface{ action() }

// ChildKind tells the two child SAs of a home address apart.
type ChildKind uint8

// The kinds.
const (
	ChildMH      ChildKind = iota // transport, home address to home agent, protocol 135
	ChildPayload                  // tunnel, home address to anywhere
)

func (k ChildKind) String() string {
	if k == ChildPayload {
		return "payload"
	}
	return "mh"
}

// ---- events ----

// Restored starts the machine: it is the first event, with what the ledger held for
// this home address (no records after an orderly end).
type Restored struct{ Records []Record }

// HostEvent is something that the host tells. Every machine is given all of them.
type HostEvent struct{ Event host.Event }

// HostDone answers Host, XfrmDone answers Xfrm: one error (or nil) for each operation.
type HostDone struct {
	ID   uint64
	Errs []error
}
type XfrmDone struct {
	ID   uint64
	Errs []error
}

// KeysUp says that an IKE SA with the home agent stands.
type KeysUp struct{ Handle uint64 }

// KeysDown says that the IKE SA with this handle is gone, and its children with
// it; their ChildDown need not be told apart.
type KeysDown struct {
	Handle uint64
	Reason string
}

// KeysRefused says that a KeyUp came to nothing, or that one of its children was refused.
type KeysRefused struct{ Reason string }

// ChildUp says that a child SA is installed. It may come unasked: the home agent starts IKE
// after its own restart.
type ChildUp struct {
	Kind          ChildKind
	ReqID         xfrm.ReqID
	InSPI, OutSPI xfrm.SPI
	Handle        uint64     // of its IKE SA
	CareOf        netip.Addr // our outer address in tunnel mode; zero: not known
}

// ChildRekeyed says that a new pair took the place of the one with OldInSPI.
type ChildRekeyed struct {
	Kind          ChildKind
	OldInSPI      xfrm.SPI
	InSPI, OutSPI xfrm.SPI
	Handle        uint64
}

// ChildDown says that a child is gone.
type ChildDown struct {
	Kind  ChildKind
	InSPI xfrm.SPI
}

// SetConfig replaces the configuration. Home (a zero one stands for it), HomeAgent and ReqIDs must be as before.
type SetConfig struct{ Config Config }

// Refresh asks for a new registration now; it also ends a refusal that was final,
// and lets a home address be tried again that was found to be a duplicate.
type Refresh struct{}

// Stop ends the machine in order: it deregisters, takes down what it put up and then says
// Stopped. Keep leaves everything as it is, for a restart of the program.
type Stop struct{ Keep bool }

func (Restored) event()     {}
func (HostEvent) event()    {}
func (HostDone) event()     {}
func (XfrmDone) event()     {}
func (KeysUp) event()       {}
func (KeysDown) event()     {}
func (KeysRefused) event()  {}
func (ChildUp) event()      {}
func (ChildRekeyed) event() {}
func (ChildDown) event()    {}
func (SetConfig) event()    {}
func (Refresh) event()      {}
func (Stop) event()         {}

// ---- actions ----

// Host changes the host or sends. With a zero ID no answer is wanted (one does no harm).
type Host struct {
	Home netip.Addr
	ID   uint64
	Ops  []host.Op
}

// Xfrm changes policies and states. With a zero ID no answer is wanted.
type Xfrm struct {
	Home netip.Addr
	ID   uint64
	Ops  []xfrm.Op
}

// KeyUp asks for an IKE SA from CareOf to HomeAgent with these children, the
// first within IKE_AUTH. An IKE SA that stands already and was not taken down is used
// further: then only children that lack are made.
type KeyUp struct {
	Home, HomeAgent, CareOf netip.Addr
	Children                []Child
	InitialContact          bool // the first since the program started without a record
}

// Child is a child SA wanted.
type Child struct {
	Kind  ChildKind
	ReqID xfrm.ReqID
	Mode  xfrm.Mode
}

// KeyMoved gives the IKE SA a new local end; no message is sent for it.
type KeyMoved struct{ Home, HomeAgent, CareOf netip.Addr }

// KeyDown ends the IKE SA, or the attempt at one, whose KeysRefused is then not to be told. Silent discards it without a Delete. Old says that the
// children stay in use until those of the next KeyUp take their place; else they go with it.
type KeyDown struct {
	Home        netip.Addr
	Silent, Old bool
}

// Save keeps a record for a start after a crash; it replaces the one with the same key
// (the home address). It is to be written before what follows it is done. Forget removes it.
type Save struct {
	Home   netip.Addr
	Record Record
}
type Forget struct{ Home netip.Addr }

// Note is a line for the log: a short constant Msg and what it is about.
type Note struct {
	Home  netip.Addr
	Level slog.Level
	Msg   string
	Attrs []slog.Attr
}

// Changed tells those who watch that the registration's state changed; Info is complete.
type Changed struct {
	Home netip.Addr
	What string // "link", "router", "careof", "migrated", "update", "registered", "refused", "home", "keys", "state"
	Info Info
}

// Stopped is the last action.
type Stopped struct{ Home netip.Addr }

func (Host) action()     {}
func (Xfrm) action()     {}
func (KeyUp) action()    {}
func (KeyMoved) action() {}
func (KeyDown) action()  {}
func (Save) action()     {}
func (Forget) action()   {}
func (Note) action()     {}
func (Changed) action()  {}
func (Stopped) action()  {}

// ---- what is kept and shown ----

// Record is what survives a crash. All of it is plain data (JSON).
type Record struct {
	Home, HomeAgent netip.Addr
	HomeBits        int // length of the home prefix; 0: not known
	ReqIDs          protect.ReqIDs
	Phase           protect.Phase
	CareOf          netip.Addr // zero: none
	Tunnel          netip.Addr // where the payload SAs stand; zero: none
	IfIndex         int        // where it was attached, with the router and the prefixes on link
	Router          netip.Addr
	OnLink          []netip.Prefix
	OnIf            int // where the home address was put at home; 0: nowhere
	Table           int // our routing table, and the first of its rules' priorities
	RulePriority    int
	Seq             uint16 // no Binding Update went out with a later one
	Registered      bool
	Expires         time.Time // of the registration
}

// State is the state of the registration.
type State uint8

// The states.
const (
	StateStarting    State = iota // before Restored, or nothing known of the links
	StateDetached                 // no usable care-of address; everything is kept
	StateKeying                   // waits for the child SA that protects Binding Updates
	StateRegistering              // a Binding Update is out (or about to leave)
	StateRegistered               // away, bound
	StateReturning                // at home, deregistering
	StateHome                     // at home, no binding
	StateRefused                  // the agent refused for good; see Info.Status
	StateStopping
	StateStopped
)

func (s State) String() string {
	return [...]string{"starting", "detached", "keying", "registering", "registered",
		"returning", "home", "refused", "stopping", "stopped", "?"}[min(s, 10)]
}

// MoveTimes tell where the time of a change of attachment went. A zero time: did not happen,
// or was not needed.
type MoveTimes struct {
	From, To netip.Addr // care-of addresses; the home address when at home
	LinkUp   time.Time
	RouterAt time.Time // the advertisement that fits To
	CareOfAt time.Time // To became usable
	Migrated time.Time // policies and states are in place
	UpdateAt time.Time // the first Binding Update for To left
	AckAt    time.Time // it was acknowledged
}

// ChildInfo is a live child SA.
type ChildInfo struct {
	Kind          ChildKind
	InSPI, OutSPI xfrm.SPI
	Handle        uint64
}

// Info is what is shown of a machine.
type Info struct {
	State           State
	Home, HomeAgent netip.Addr
	CareOf          netip.Addr // registered or being registered; zero: none
	Interface       string
	Router          netip.Addr // next hop of our own table; zero: the main table is used
	AtHome          bool
	Seq             uint16
	Status          int // of the last acknowledgement; -1: none yet
	StatusText      string
	Since           time.Time // there has been a registration; zero: there is none
	Granted         time.Duration
	Expires         time.Time
	RefreshAt       time.Time
	KeyMobility     bool // K was agreed upon
	// Away: what the home address sends goes by the tunnel, or nowhere. Ready: and the tunnel stands at
	// CareOf, where the node is. Sent: a Binding Update for CareOf has left. Bound: it was acknowledged.
	Away, Ready, Sent, Bound bool
	Keys                     bool // an IKE SA stands
	Children                 []ChildInfo
	LastMove                 MoveTimes
	Moves                    uint64
	Counters                 Counters
}

// Counters count since the start.
type Counters struct {
	UpdatesSent, Retransmissions           uint64
	AcksAccepted, AcksRefused, AcksIgnored uint64
	BindingErrors, RefreshRequests         uint64
	Malformed, HostErrors, XfrmErrors      uint64
}
