// Package optimise is route optimization at the mobile node (RFC 6275 §11.6,
// §11.7.2): with which correspondents, by which proof, and when packets go
// directly. One Machine serves one home address, beside its mn.Machine. It is
// pure, and knows of the registration what Placed tells it.
//
// What takes time is an action with an ID, answered exactly once by an event with
// the same ID: Route → RouteDone, AskUse → Used. Actions are to be carried out in
// the order in which they are emitted, those of the mn.Machine with the same home address among them.
package optimise

import (
	"log/slog"
	"net/netip"
	"time"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/xfrm"
)

// Event is what happens to a Machine: the types below, and no others.
type Event interface{ event() }

// Action is what a Machine wants done: the types below, and no others.
type Action interface{ action() }

// ---- events ----

// Restored starts the machine: the first event, with what the ledger held (no
// records after an orderly end). What records name is still in the host.
type Restored struct{ Records []Record }

// Place is where the mobile node is.
type Place uint8

// The places.
const (
	Nowhere Place = iota // no usable care-of address, or it is just being changed
	AtHome
	Abroad // with a care-of address whose policies and tunnel are in place
)

// Placed tells of the registration, each time that something of it changes.
type Placed struct {
	Place  Place
	CareOf netip.Addr // Abroad
	// Bound: the home agent has acknowledged this care-of address, until Until.
	Bound bool
	Until time.Time
	// Sent: the Binding Update for it has left for the home agent.
	Sent bool
}

// Met is a packet of the home address to a correspondent that no route of ours served
// (the trigger by a kernel acquire).
type Met struct {
	Remote netip.Addr
	Proto  uint8
	Port   uint16 // the correspondent's
}

// MHReceived is a Mobility Header to the home address or the care-of address, unless it
// is between the node and its home agent, or for the correspondent's role.
type MHReceived struct{ MH host.MH }

// ICMPError is an ICMPv6 error about a packet of this host.
type ICMPError struct{ Error host.ICMPError }

// RouteDone answers Route.
type RouteDone struct {
	ID  uint64
	Err error
}

// Used answers AskUse: when packets last went either way, how many went to the
// correspondent since counting began, by whatever way.
type Used struct {
	ID      uint64
	Last    time.Time // zero: never, or not known
	Packets uint64
}

// KeysUp tells that SAs with a correspondent stand, KeysDown that there are none (any more).
type KeysUp struct{ Remote netip.Addr }
type KeysDown struct {
	Remote netip.Addr
	Reason string
}

// SetConfig replaces the configuration. Home must be as before.
type SetConfig struct{ Config Config }

// Stop ends the machine: correspondents are deregistered where the node can send, packets go by
// the tunnel again, and then it says Stopped.
type Stop struct{}

func (Restored) event()   {}
func (Placed) event()     {}
func (Met) event()        {}
func (MHReceived) event() {}
func (ICMPError) event()  {}
func (RouteDone) event()  {}
func (Used) event()       {}
func (KeysUp) event()     {}
func (KeysDown) event()   {}
func (SetConfig) event()  {}
func (Stop) event()       {}

// ---- actions ----

// Host sends. Every message names its headers itself (see host.MH): a Binding Update has Src the
// home address and CareOf the care-of address.
type Host struct{ Ops []host.Op }

// Route says how packets between the home address and a correspondent go from now
// on. It is absolute: the last Route for a Remote is what holds; with all but Remote zero the pair is forgotten.
type Route struct {
	ID     uint64 // answered by RouteDone; 0: no answer wanted
	Remote netip.Addr
	// CareOf is what the correspondent knows, or is just being told. It matters with Direct.
	CareOf netip.Addr
	// Direct: packets go to the correspondent directly, with a home address option; else by the tunnel.
	Direct bool
	// Accept: packets may come directly, with a type 2 routing header, at any of our
	// addresses, beside those by the tunnel.
	Accept bool
	// Ack: a Binding Acknowledgement is awaited, which comes directly. Else Mobility Headers of this
	// correspondent to the home address must come by the tunnel (§11.6.2).
	Ack bool
	// Protect is ESP or AH where every packet of the pair needs an SA; 0: none.
	Protect xfrm.Proto
	ReqID   xfrm.ReqID
}

// Count begins (or ends) to count the packets to a correspondent; AskUse then tells. Where the
// host cannot count, Used tells a very large number.
type Count struct {
	Remote netip.Addr
	On     bool
}

// AskUse asks when the route was used; answered by Used.
type AskUse struct {
	ID     uint64
	Remote netip.Addr
}

// KeyUp asks for an IKE SA with a correspondent from CareOf, with transport SAs between the home
// address and Remote. KeyMoved gives it a new local end, without a message. KeyDown ends it.
//
// With Anew the IKE SA that stands is not trusted any more: another takes its place, and its SAs carry
// until then.
type KeyUp struct {
	Anew           bool
	Remote, CareOf netip.Addr
	Conn           string
	Proto          xfrm.Proto
	ReqID          xfrm.ReqID
}
type KeyMoved struct{ Remote, CareOf netip.Addr }
type KeyDown struct{ Remote netip.Addr }

// Save keeps a record for a start after a crash; Forget removes it.
type Save struct{ Record Record }
type Forget struct{ Remote netip.Addr }

// Note is a line for the log.
type Note struct {
	Level slog.Level
	Msg   string
	Attrs []slog.Attr
}

// Changed tells those who watch.
type Changed struct {
	What string // "state", "direct", "tunnel", "tests", "bound", "refused", "gone"
	Info Info
}

// Stopped is the last action.
type Stopped struct{}

func (Host) action()     {}
func (Route) action()    {}
func (Count) action()    {}
func (AskUse) action()   {}
func (KeyUp) action()    {}
func (KeyMoved) action() {}
func (KeyDown) action()  {}
func (Save) action()     {}
func (Forget) action()   {}
func (Note) action()     {}
func (Changed) action()  {}
func (Stopped) action()  {}

// ---- what is kept and shown ----

// Record is what survives a crash of a correspondent that may have a binding of ours. Plain data (JSON).
type Record struct {
	Home, Remote netip.Addr
	CareOf       netip.Addr
	Seq          uint16
	Expires      time.Time // of the binding there, at the latest
	Protect      xfrm.Proto
	ReqID        xfrm.ReqID
}

// State is how far route optimization with a correspondent is.
type State uint8

// The states.
const (
	Counting  State = iota // fewer packets than the rule asks for
	Testing                // home test or care-of test is under way
	Binding                // a Binding Update is out
	Optimised              // packets go directly
	Tunnelled              // bound once, but not for this care-of address (yet)
	Unbinding              // deregistering
	Refused                // not optimised, see Why and RetryAt
)

func (s State) String() string {
	return [...]string{"counting", "testing", "binding", "optimised", "tunnelled", "unbinding", "refused", "?"}[min(s, 7)]
}

// Info is what is shown of a correspondent.
type Info struct {
	Home, Remote         netip.Addr
	State                State
	Why                  string     // why it is not optimised, in words; "" where it is
	Auth                 string     // "return routability", "static key", "ipsec"
	CareOf               netip.Addr // bound there
	Seq                  uint16
	Expires, RefreshAt   time.Time // of the binding
	HomeToken, CareToken time.Time // when each token ends; zero: there is none
	HomeNonce, CareNonce uint16
	RetryAt              time.Time
	Since                time.Time // in this state
	LastUsed             time.Time
	Packets              uint64
	Failures             int // in a row
	LastStatus           int // of the last acknowledgement; -1: none
	Moves                uint64
	Protect              xfrm.Proto
}

// Counters count since the start.
type Counters struct {
	HomeTestInits, CareOfTestInits, HomeTests, CareOfTests uint64
	Updates, Retransmissions, AcksAccepted, AcksRefused    uint64
	AcksIgnored, TestsIgnored, BindingErrors               uint64
	ParameterProblems, RefreshRequests, Malformed          uint64
	Optimised, Fallbacks, RouteErrors                      uint64
}
