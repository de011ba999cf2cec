package couple

import (
	"net/netip"

	"github.com/mip6/mip6/cn"
	"github.com/mip6/mip6/ha"
	"github.com/mip6/mip6/ike"
	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/mn"
	"github.com/mip6/mip6/mn/optimise"
	"github.com/mip6/mip6/xfrm"
)

// Event is what comes to a Node from outside: the types below, and no others.
type Event interface{ event() }

// Action is what a Node wants done: the types below, and no others. Those with a
// Key are to be done in the order in which they come for each key.
type Action interface{ action() }

// Token names whom an answer is for; it goes back as it came.
type Token struct {
	Owner Owner
	Home  netip.Addr // of a mobile node's machine, or of its route optimization
	ID    uint64
}

// Owner is a machine of the Node.
type Owner uint8

// The owners. Nobody wants no answer.
const (
	Nobody Owner = iota
	OwnerMN
	OwnerHA
	OwnerIKE
	OwnerOptimise
	OwnerCN
)

// ---- events ----

// Start is the first event: what an earlier run left. A record is for the role
// whose it is; SAs are the children that may still be in the databases.
type Start struct {
	MN       []mn.Record
	HA       []ha.Record
	Optimise []optimise.Record
	CN       []cn.Record
	SAs      []xfrm.SA // without keys
}

// FromHost, FromXfrm and FromIKE bring what the outside tells: the host, the
// databases, and IKE's socket and executors.
type FromHost struct{ Event host.Event }
type FromXfrm struct{ Event xfrm.Event }
type FromIKE struct{ Event ike.Event }

// Done answers Xfrm and Host: one error or nil for each operation.
type Done struct {
	Token Token
	Kind  DoneKind
	Errs  []error
}

// DoneKind says which action a Done answers.
type DoneKind uint8

// The kinds.
const (
	XfrmDone DoneKind = iota
	HostDone
)

// DADDone answers ProbeDAD.
type DADDone struct {
	Token     Token
	Duplicate bool
	Err       error
}

// SPIDone answers AllocSPI.
type SPIDone struct {
	Token Token
	SPI   xfrm.SPI
	Err   error
}

// UsageDone answers Usage: the statistics of the states that are there, and the packets counted.
type UsageDone struct {
	Token         Token
	Local, Remote netip.Addr
	Stats         []xfrm.Stats
	Counted       uint64
}

// Rekey asks for new keys: of the child with this inbound SPI, or with SPI 0 of
// the IKE SA with this handle.
type Rekey struct {
	SA  ike.SAID
	SPI xfrm.SPI
}

// Reconfigure replaces what can be replaced while the machines run; nil leaves a role as it is. The mobile
// nodes' home addresses stay.
type Reconfigure struct {
	MN       *mn.Config
	Optimise *optimise.Config
	CN       *cn.Config
}

// Stop ends the service in order; the last action is Stopped.
type Stop struct{}

func (Start) event()       {}
func (FromHost) event()    {}
func (FromXfrm) event()    {}
func (FromIKE) event()     {}
func (Done) event()        {}
func (DADDone) event()     {}
func (SPIDone) event()     {}
func (UsageDone) event()   {}
func (Reconfigure) event() {}
func (Rekey) event()       {}
func (Stop) event()        {}

// ---- actions ----

// Xfrm changes the databases; answered by Done unless the token is nobody's.
type Xfrm struct {
	Key   netip.Addr
	Token Token
	Ops   []xfrm.Op
}

// Host changes the host or sends; answered by Done unless the token is nobody's.
type Host struct {
	Key   netip.Addr
	Token Token
	Ops   []host.Op
}

// AllocSPI reserves an inbound SPI; answered by SPIDone.
type AllocSPI struct {
	Key   netip.Addr
	Token Token
	Want  xfrm.SA
}

// ProbeDAD looks whether an address is in use; answered by DADDone.
type ProbeDAD struct {
	Token   Token
	IfIndex int
	Addr    netip.Addr
}

// IKE is an action of the IKE machine that only the outside can do: Send, Prove,
// VerifyPeer, Keys.
type IKE struct{ Action ike.Action }

// Usage asks when the states of a path were last used and, with Counter, how many packets
// the host has counted from Local to Remote; answered by UsageDone.
type Usage struct {
	Token         Token
	Local, Remote netip.Addr
	IDs           []xfrm.ID
	Counter       bool
}

// SaveRoute writes the record of a correspondent to the ledger before what follows it; ForgetRoute removes it.
type SaveRoute struct{ Record optimise.Record }
type ForgetRoute struct{ Home, Remote netip.Addr }

// SaveCN writes the record of a node to a correspondent's ledger.
type SaveCN struct{ Record cn.Record }

// ForgetCN removes it.
type ForgetCN struct{ Local, Home netip.Addr }

// SaveMN and SaveHA write a record to the ledger before what follows it; Forget
// removes that of a home address.
type SaveMN struct {
	Key    netip.Addr
	Record mn.Record
}
type SaveHA struct {
	Key    netip.Addr
	Record ha.Record
}
type Forget struct {
	Key netip.Addr
	HA  bool
}

// Note is a line for the log and for those who watch.
type Note struct {
	Level Level
	Msg   string
	Attrs []any // keys and values in turn
	// Event is what machines may want to read beside the words: mn.Changed,
	// ha.Changed, optimise.Changed, cn.Changed, an ike action, a Migration; or nil.
	Event any
}

// Level is how much a Note matters; the values are log/slog's.
type Level int

// The levels.
const (
	Debug Level = -4
	Info  Level = 0
	Warn  Level = 4
)

// Migration tells of a MIGRATE, for those who watch.
type Migration struct {
	Ours      bool // this program asked for it
	Migration xfrm.Migration
}

// Stopped is the last action: all is taken down.
type Stopped struct{}

func (Xfrm) action()        {}
func (Host) action()        {}
func (AllocSPI) action()    {}
func (ProbeDAD) action()    {}
func (IKE) action()         {}
func (SaveMN) action()      {}
func (SaveCN) action()      {}
func (ForgetCN) action()    {}
func (Usage) action()       {}
func (SaveRoute) action()   {}
func (ForgetRoute) action() {}
func (SaveHA) action()      {}
func (Forget) action()      {}
func (Note) action()        {}
func (Stopped) action()     {}
