// Package cn is the correspondent node's machine (RFC 6275 §9): return
// routability, the binding cache, the refusals, and the Binding Errors that are
// owed. It keeps no state for a mobile node before a Binding Update of it has proved
// right. It is pure: time and randomness are arguments; sockets, IKE and the
// kernel are elsewhere.
//
// What takes time is an action with an ID, answered exactly once by an event with
// the same ID: Route → RouteDone, AskUse → Used; the machine answers Authorise by
// Authorised in the same way. Actions with the same addresses are to be carried
// out in the order in which they are emitted.
package cn

import (
	"net/netip"
	"time"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/mobility"
	"github.com/mip6/mip6/xfrm"
)

// Event is what happens to a Machine: the types below, and no others.
type Event interface{ event() }

// Action is what a Machine wants done: the types below, and no others.
type Action interface{ action() }

// ---- events ----

// Start begins the service. What an earlier run had put into the host is gone: a
// correspondent's bindings do not outlive its program (§9.1).
type Start struct{}

// Stop ends the service in order: each bound node is told by a Binding Error that
// its binding is unknown from now on, the routes are taken out, and then the machine
// says Stopped.
type Stop struct{}

// SetConfig replaces the configuration; bindings that it forbids are dropped.
type SetConfig struct{ Config Config }

// MHReceived is a Mobility Header that came to an address of this host, unless it
// is a home agent's or a mobile node's own business.
type MHReceived struct{ MH host.MH }

// Report tells that the databases refused a home address option for want of a
// binding (§9.3.1): a Binding Error is owed.
type Report struct{ Report xfrm.Report }

// ICMPError tells of an ICMPv6 error about a packet to a care-of address: of
// persistent ones the binding may be dropped (§9.3.4).
type ICMPError struct{ Error host.ICMPError }

// RouteDone answers Route.
type RouteDone struct {
	ID  uint64
	Err error
}

// Used answers AskUse: when packets last went either way, and how many since the
// route was put; a zero time: never.
type Used struct {
	ID      uint64
	Last    time.Time
	Packets uint64
}

// Selector is a traffic selector of IKE (see ha.Selector).
type Selector struct {
	Proto              uint8
	StartPort, EndPort uint16
	Start, End         netip.Addr
}

// Authorise asks whether a peer that has proved its identity may have SAs with an
// address of ours, as a mobile node that speaks to us. Local and Remote are seen from here.
type Authorise struct {
	ID            uint64
	Identity      string // folded, as in Config.Peers
	CareOf        netip.Addr
	Addresses     []netip.Addr // iPAddress entries of its certificate
	Local, Remote []Selector
	Transport     bool
	Proto         xfrm.Proto // ESP or AH
}

// KeysDown tells that the last child SA with this node is gone.
type KeysDown struct{ Local, Home netip.Addr }

// Restored gives what Save had told, before Start.
type Restored struct{ Records []Record }

func (Start) event()      {}
func (Restored) event()   {}
func (Stop) event()       {}
func (SetConfig) event()  {}
func (MHReceived) event() {}
func (Report) event()     {}
func (ICMPError) event()  {}
func (RouteDone) event()  {}
func (Used) event()       {}
func (Authorise) event()  {}
func (KeysDown) event()   {}

// ---- actions ----

// Host sends. Home is the mobile node's home address where one is concerned.
type Host struct {
	Local, Home netip.Addr
	Ops         []host.Op
}

// Route says how packets between our address and a home address go from now on. It
// is absolute: the last Route of a pair is what holds. With everything but the addresses zero the pair is forgotten.
type Route struct {
	ID          uint64 // answered by RouteDone; 0: no answer wanted
	Local, Home netip.Addr
	// CareOf is the node's care-of address: packets go there with a type 2 routing
	// header, and its home address option is accepted from there. Zero: no binding.
	CareOf netip.Addr
	// Protect is ESP or AH where every packet of the pair needs an SA of this
	// request id (the policy is made from what was authorised); 0: none.
	Protect xfrm.Proto
	ReqID   xfrm.ReqID
}

// AskUse asks when the route was last used; answered by Used.
type AskUse struct {
	ID          uint64
	Local, Home netip.Addr
}

// Authorised answers Authorise. Its Route came before it.
type Authorised struct {
	ID                  uint64
	Local, Home         netip.Addr
	ReqID               xfrm.ReqID
	LocalSel, RemoteSel []Selector // narrowed
	Err                 error      // ErrTSUnacceptable, ErrDenied
}

// KeyMoved gives the IKE SA with a node a new remote end.
type KeyMoved struct{ Local, Home, CareOf netip.Addr }

// KeyDown ends the IKE SA with a node.
type KeyDown struct{ Local, Home netip.Addr }

// Record is what the next run has to know of a node. With a static key it is the sequence number
// used last, which has to outlive the program: such a key is good for ever, and an old Binding Update with it
// too if the number is forgotten (RFC 4449 §3). With SAs it is the care-of address: their packets are lost without
// a word when the SAs are, so the next run tells the node that it knows no binding. Plain data (JSON).
type Record struct {
	Local, Home netip.Addr
	Seq         uint16
	CareOf      netip.Addr // zero with a static key
}

// Save asks for a record to be kept; the last one of a pair counts. Forget ends that.
type Save struct{ Record Record }
type Forget struct{ Local, Home netip.Addr }

// Level is how much a Note matters.
type Level uint8

// The levels.
const (
	Debug Level = iota
	Info
	Warn
)

// Note is a line for the log: a short constant Msg, and keys and values in turn.
type Note struct {
	Level Level
	Home  netip.Addr
	Msg   string
	Attrs []any
}

// Changed tells those who watch that a binding came, moved, was renewed, or went.
type Changed struct {
	What    string // "bound", "moved", "renewed", "gone"
	Binding BindingInfo
	Reason  string // of "gone"
}

// Stopped is the last action.
type Stopped struct{}

func (Host) action()       {}
func (Route) action()      {}
func (AskUse) action()     {}
func (Authorised) action() {}
func (KeyMoved) action()   {}
func (KeyDown) action()    {}
func (Save) action()       {}
func (Forget) action()     {}
func (Note) action()       {}
func (Changed) action()    {}
func (Stopped) action()    {}

// ---- what is shown ----

// Auth is how Binding Updates of a node are proved to be its own.
type Auth uint8

// The ways.
const (
	ReturnRoutability Auth = iota // RFC 6275 §5.2
	StaticKey                     // a binding management key set by hand (RFC 4449)
	IPsec                         // an SA between home address and correspondent
)

func (a Auth) String() string {
	return [...]string{"return routability", "static key", "ipsec", "?"}[min(a, 3)]
}

// BindingInfo is an entry of the binding cache.
type BindingInfo struct {
	Local, Home, CareOf    netip.Addr
	Seq                    uint16
	Flags                  mobility.UpdateFlags
	Lifetime               time.Duration // granted
	Expires                time.Time
	Since                  time.Time // first registered
	LastMove               time.Time
	Moves                  uint64
	Auth                   Auth
	HomeNonce, CareOfNonce uint16    // indices of the last update; 0 with others than return routability
	LastUsed               time.Time // as of the last time it was asked for; zero: not known
	Pending                bool      // its route is being put; not acknowledged yet
	Refreshing             bool      // a Binding Refresh Request is out
}

// Counters count since the start.
type Counters struct {
	HomeTests, CareOfTests                        uint64 // HoT and CoT sent
	TestsLimited                                  uint64 // not answered for their rate
	Accepted, Deleted                             uint64
	BadAuthenticator, Malformed, Sequence, Nonces uint64 // refused or dropped
	Unprotected, HomeRegistrations                uint64 // updates without the SA they need; updates with H
	Prohibited, NoRoom                            uint64
	RefusalsLimited                               uint64 // not answered for their rate
	UpdatesLimited                                uint64 // not heeded for their rate, although right
	RefreshRequests, ErrorsSent, ErrorsLimited    uint64
	Expired, RouteErrors                          uint64
}
