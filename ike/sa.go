package ike

import (
	"net/netip"
	"slices"
	"time"

	"github.com/mip6/mip6/ike/message"
	"github.com/mip6/mip6/ike/pki"
	"github.com/mip6/mip6/ike/transform"
)

// state is how far an IKE SA has come.
type state uint8

const (
	stateInit     state = iota // initiator: IKE_SA_INIT under way
	stateHalfOpen              // responder: IKE_SA_INIT answered, peer not authenticated
	stateAuth                  // initiator: IKE_AUTH under way
	stateUp                    // established
	stateRekeyed               // replaced by a new IKE SA, its Delete is expected or under way
	stateClosing               // our Delete is under way
	stateGone                  // kept only to repeat its last answer
)

func (s state) String() string {
	return [...]string{"connecting", "half-open", "connecting", "established", "rekeyed", "closing", "gone"}[s]
}

// What one peer may have of us: children of an IKE SA, and IKE SAs, of which the oldest go.
// A mobile node has two children and, when both ends begin at once, two IKE SAs.
const (
	maxChildren = 32
	maxSAs      = 16
)

// goneTime is how long a dead IKE SA repeats its last answer.
const goneTime = 15 * time.Second

// sa is an IKE SA.
type sa struct {
	id            SAID
	state         state
	initiator     bool
	spiI, spiR    uint64
	conn          *Conn // nil for a responder until the peer's identity is known
	localID       message.Identity
	peer          pki.Peer
	local, remote netip.AddrPort
	nat           natState
	moves         uint64

	suite    transform.Suite
	keys     transform.Keys
	in, outP *transform.Protector
	ivOut    uint64 // IVs used in our direction
	// Fragments may be sent and are taken, IP datagrams of this size (0: by family).
	fragments    bool
	fragmentSize uint16
	parts        *assembly // of the peer's next request
	ni, nr       []byte
	first        *handshake // until established

	sendID, recvID uint32 // message IDs of the next request of ours and of the peer's
	req            *request
	queue          []job
	inb            *inbound
	series         *series  // of the peer
	lost           uint8    // series of ours that the peer forgot, one after the other
	lastReq        [32]byte // hash of the peer's last request, answered by lastResp
	lastResp       []byte

	children []*child

	// The peer's rekey of this IKE SA, while ours is under way too; and back.
	successor, predecessor *sa
	lowNonce               []byte // of the exchange that made this IKE SA by a rekey

	// A reauthentication: the new IKE SA, and back. began: the first of the line was ours.
	reauth, replaces *sa
	trail            SAID        // the old one, while it is being deleted
	renewing         []ChildWant // what a reauthentication has asked for
	began            bool
	outdated         bool // by another of the peer's (UniqueReplace)

	created, established, heard time.Time
	rekeyAt, hardAt, dieAt      time.Time
	reauthAt                    time.Time
	hintAt                      time.Time // last hint that was followed
	mappedAt                    time.Time // last change of the peer's mapping that was followed
	sentAt                      time.Time // last message to the peer, for the keepalives of a NAT
	timer                       timer
}

// handshake is what only IKE_SA_INIT and IKE_AUTH need.
type handshake struct {
	want     Initiate
	initReq  []byte // the two messages of IKE_SA_INIT, which AUTH covers
	initResp []byte
	initKey  [32]byte
	source   [8]byte // for the half-open limit
	counted  bool
	ke       *transform.Private
	kePeer   []byte
	cookie   []byte
	restarts int
	contact  contact            // of an INITIAL_CONTACT; zero: none
	refusal  message.NotifyType // unprotected, so a hint only
	hashes   []pki.Hash
	certReqs [][]byte
	answer   *message.Payloads // of IKE_AUTH
	mid      intermediate
}

// request is our own exchange under way: the window is one.
type request struct {
	job      job
	exchange message.ExchangeType
	id       uint32
	data     []byte // nil while a task is waited for
	tries    int
	limit    int
	wait     time.Duration
	at       time.Time
	pend     *pending
	rekey    *saRekey
	series   *series
	answered bool      // the response is here, tasks for it are waited for
	parts    *assembly // of the response
	task     TaskID
}

// inbound is the peer's request under way.
type inbound struct {
	id            uint32
	exchange      message.ExchangeType
	local, remote netip.AddrPort
	hash          [32]byte
	p             *message.Payloads
	tsi, tsr      []message.Selector // as they came, where p's have other addresses in them
	pend          *pending
	task          TaskID
	proof         pki.Proof
	cfgReply      []message.Attribute
	refusal       message.NotifyType // of the child of IKE_AUTH
}

func (m *Machine) newSA(id SAID, initiator bool, local, remote netip.AddrPort) *sa {
	s := &sa{id: id, initiator: initiator, local: local, remote: remote, created: m.now}
	s.timer = timer{index: -1, sa: s}
	m.sas[id] = s
	return s
}

// up returns an established IKE SA, or nil.
func (m *Machine) up(id SAID) *sa {
	if s := m.sas[id]; s != nil && s.state == stateUp {
		return s
	}
	return nil
}

func (s *sa) key() peerKey { return peerKey{s.connName(), s.peer.ID.Fold()} }

func (s *sa) connName() string {
	if s.conn == nil {
		return ""
	}
	return s.conn.Name
}

// bySPIIn finds a child by our own SPI, which no two of an IKE SA share.
func (s *sa) bySPIIn(spi uint32) *child {
	i := slices.IndexFunc(s.children, func(c *child) bool { return c.SPIIn == spi })
	if i < 0 {
		return nil
	}
	return s.children[i]
}

// bySPIOut finds a child by the peer's SPI, which may give the same to ESP and
// AH; proto 0: either.
func (s *sa) bySPIOut(proto uint8, spi uint32) *child {
	i := slices.IndexFunc(s.children, func(c *child) bool {
		return c.SPIOut == spi && (proto == 0 || c.Proto == proto)
	})
	if i < 0 {
		return nil
	}
	return s.children[i]
}
