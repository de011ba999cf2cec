// Package config turns a TOML file into the typed configuration of mip6d. What
// the file says is not the configuration: keys are read strictly, one by one,
// into addresses, durations and proposals, and every mistake of the file is
// told with its line, its key and what was expected there.
//
// All defaults stand in defaults.go; configs/ has one commented profile a role.
package config

import (
	"crypto"
	"crypto/x509"
	"net/netip"
	"time"

	"github.com/mip6/mip6/ike/message"
	"github.com/mip6/mip6/ike/pki"
	"github.com/mip6/mip6/ike/transform"
)

// Config is the whole configuration. At least one of MN, HA and CN is set.
type Config struct {
	File   string
	Daemon Daemon
	IKE    IKE
	MN     *MN // nil: not a mobile node
	HA     *HA // nil: not a home agent
	CN     *CN // nil: not a correspondent node
	Peers  []Peer
	// PSKs are keys by identity, for peers whose block is a template.
	PSKs []PSK
	// Warnings are lawful but worth a line in the log.
	Warnings []string
}

// Daemon is [daemon].
type Daemon struct {
	DataPlane    DataPlane
	Control      string // path of the unix socket
	ControlGroup string // may use it beside root; "": nobody
	StateDir     string // of the ledger
	LogLevel     string // debug, info, warn or error
	// IKEKeyLog and ESPKeyLog are files that get the keys, for Wireshark; "": off.
	IKEKeyLog string
	ESPKeyLog string
	SPDHash   SPDHash
}

// SPDHash are the prefix lengths from which on the kernel hashes policies
// (XFRMA_SPD_IPV6_HTHRESH), in bits of the local and the remote address.
type SPDHash struct {
	Set           bool // false: leave them as found
	Local, Remote uint8
}

// DataPlane says where IPsec is done.
type DataPlane string

// The data planes.
const (
	Auto      DataPlane = "auto"
	Kernel    DataPlane = "kernel"
	Userspace DataPlane = "userspace" // refused until it is built
)

// DAD says what a mobile node does about duplicate address detection for
// care-of addresses (RFC 4862, RFC 4429), or a home agent for home addresses.
type DAD string

// The ways of duplicate address detection. A mobile node has DADKernel, DADOff
// and DADOptimistic; a home agent DADProbe and DADOff.
const (
	DADKernel     DAD = "kernel"     // as the kernel is set
	DADOff        DAD = "off"        // none
	DADOptimistic DAD = "optimistic" // use the address meanwhile
	DADProbe      DAD = "probe"      // RFC 6275 §10.3.1
)

// MN is [mn]: this host is a mobile node.
type MN struct {
	HomeAddress netip.Prefix // the address itself with the length of its home prefix
	// HomeFromAgent: the home agent gives the address, and HomeAddress is zero (RFC 4877 §9).
	HomeFromAgent bool
	HomeAgent     netip.Addr
	Peer          string   // name of the [[peer]] that is the home agent
	Interfaces    []string // best first; empty: any but loopback
	Lifetime      time.Duration
	// KeyMobility is the K bit: IKE follows the node without a message.
	KeyMobility bool
	DAD         DAD
	Table       int // of routes
	Priority    int // of rules
	Timers      MNTimers
	// Optimise has the rules by which routes are optimised; empty: all packets go by the tunnel.
	Optimise       []Optimise
	Correspondents Correspondents
}

// MNTimers is [mn.timers].
type MNTimers struct {
	FirstBindAck time.Duration // InitialBindackTimeoutFirstReg
	BindAck      time.Duration // INITIAL_BINDACK_TIMEOUT
	MaxBindAck   time.Duration // MAX_BINDACK_TIMEOUT
	Grace        time.Duration // the old care-of address is still accepted
}

// HA is [ha]: this host is a home agent.
type HA struct {
	Address      netip.Addr
	HomeLink     string // interface
	HomePrefixes []HomePrefix
	Peers        []string // names of the [[peer]] blocks that nodes may use
	MaxBindings  int
	MaxLifetime  time.Duration
	// RefreshAdvice goes into binding acknowledgements; 0: none.
	RefreshAdvice   time.Duration
	KeyMobility     bool
	DAD             DAD
	HomeAddressFrom HomeAddressFrom
	Nodes           []Node
	Pool            Pool
	Deny            []message.Identity
}

// HomePrefix is a prefix of the home link. A lifetime of Infinite never ends.
type HomePrefix struct {
	Prefix           netip.Prefix
	Valid, Preferred time.Duration
}

// Infinite is the lifetime that never ends (RFC 4861 §4.6.2: all ones).
const Infinite = time.Duration(1<<63 - 1)

// HomeAddressFrom says how an identity gets its home address.
type HomeAddressFrom string

// The sources of home addresses.
const (
	FromTable       HomeAddressFrom = "table"       // [[ha.node]]
	FromCertificate HomeAddressFrom = "certificate" // subjectAltName iPAddress
	FromPool        HomeAddressFrom = "pool"        // [ha.pool]
)

// Node is [[ha.node]]: an identity and a home address that it may have.
type Node struct {
	Identity    message.Identity
	HomeAddress netip.Addr
}

// Pool is [ha.pool]: addresses are taken from Prefix. Zero without one.
type Pool struct {
	Prefix netip.Prefix
}

// IKE is [ike].
type IKE struct {
	Port              uint16
	CookieThreshold   int // -1: always demand cookies
	HalfOpenMax       int
	HalfOpenPerSource int
	HalfOpenTimeout   time.Duration
	RetransmitFirst   time.Duration
	RetransmitMax     time.Duration
	RetransmitTries   int
	FragmentSize      int           // octets of an IP datagram; 0: no fragments
	DPD               time.Duration // 0: none
	IKERekey          time.Duration
	IKEHard           time.Duration
	ChildRekey        time.Duration
	ChildHard         time.Duration
	Jitter            float64 // part of a rekey time; -1: none
	IKEProposals      []transform.Offer
	ESPProposals      []transform.Offer
	AHProposals       []transform.Offer
	ReplayWindow      uint32 // packets
	ChildBytes        Volume
	ChildPackets      Volume
	Reauth            time.Duration // 0: never
	Unique            Unique
}

// Peer is [[peer]]: with whom and how IKE is spoken.
type Peer struct {
	Name                  string
	LocalID               message.Identity
	RemoteID              []message.Identity // any of these
	Any                   bool               // remote_id = "*": a template for every identity that proves itself
	LocalAuth, RemoteAuth pki.Method
	PSK                   Secret // of this peer; nil: by identity from PSKs
	Certificate           string // PEM file, ours first, then those between
	PrivateKey            string // PEM file
	CA                    []string
	Legacy                bool // its proposals may have SHA-1, 3DES and MODP-1024
	// What stands in those files; Key is nil without private_key.
	Chain [][]byte // DER, ours first
	Key   crypto.Signer
	CAs   []*x509.Certificate
	NAT   NAT
	// What [ike] says, or this block where it says so itself.
	DPD          time.Duration
	IKEProposals []transform.Offer
	ESPProposals []transform.Offer
	AHProposals  []transform.Offer
	IKERekey     time.Duration
	IKEHard      time.Duration
	ChildRekey   time.Duration
	ChildHard    time.Duration
	ChildBytes   Volume
	ChildPackets Volume
	Reauth       time.Duration
	Unique       Unique
	RSAPadding   Padding
}

// NAT says what is done about address translation between us and a peer.
type NAT string

// The words of nat.
const (
	NATAuto  NAT = "auto"
	NATForce NAT = "force"
	NATOff   NAT = "off"
)

// PSK is [[psk]]: the key of an identity.
type PSK struct {
	ID  message.Identity
	Key Secret
}

// Secret is a key; it does not print.
type Secret []byte

const hidden = "(hidden)"

// String hides the key.
func (s Secret) String() string {
	if len(s) == 0 {
		return ""
	}
	return hidden
}

// GoString hides the key from %#v.
func (s Secret) GoString() string { return s.String() }

// MarshalText hides the key from JSON and TOML.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Redacted returns a copy without any key in it.
func (c *Config) Redacted() *Config {
	out := *c
	out.Peers = append([]Peer(nil), c.Peers...)
	for i := range out.Peers {
		out.Peers[i].PSK = redact(out.Peers[i].PSK)
		out.Peers[i].Key = nil
	}
	out.PSKs = append([]PSK(nil), c.PSKs...)
	for i := range out.PSKs {
		out.PSKs[i].Key = redact(out.PSKs[i].Key)
	}
	if c.MN != nil {
		m := *c.MN
		m.Optimise = append([]Optimise(nil), m.Optimise...)
		for i := range m.Optimise {
			m.Optimise[i].KBM = redact(m.Optimise[i].KBM)
		}
		out.MN = &m
	}
	if c.CN != nil {
		n := *c.CN
		n.Nodes = append([]CNNode(nil), n.Nodes...)
		for i := range n.Nodes {
			n.Nodes[i].KBM = redact(n.Nodes[i].KBM)
		}
		out.CN = &n
	}
	return &out
}

func redact(s Secret) Secret {
	if len(s) == 0 {
		return nil
	}
	return Secret(hidden)
}

// Peer returns the peer of that name.
func (c *Config) Peer(name string) (Peer, bool) {
	for _, p := range c.Peers {
		if p.Name == name {
			return p, true
		}
	}
	return Peer{}, false
}
