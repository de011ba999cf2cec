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
	natDetected   bool

	suite    transform.Suite
	keys     transform.Keys
	in, outP *transform.Protector
	ivOut    uint64 // IVs used in our direction
	ni, nr   []byte
	first    *handshake // until established

	sendID, recvID uint32 // message IDs of the next request of ours and of the peer's
	req            *request
	queue          []job
	inb            *inbound
	lastReq        [32]byte // hash of the peer's last request, answered by lastResp
	lastResp       []byte

	children []*child

	// The peer's rekey of this IKE SA, while ours is under way too; and back.
	successor, predecessor *sa
	lowNonce               []byte // of the exchange that made this IKE SA by a rekey

	created, established, heard time.Time
	rekeyAt, hardAt, dieAt      time.Time
	hintAt                      time.Time // last hint that was followed
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
	refusal  message.NotifyType // unprotected, so a hint only
	hashes   []pki.Hash
	certReqs [][]byte
	answer   *message.Payloads // of IKE_AUTH
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
	answered bool // the response is here, tasks for it are waited for
	task     TaskID
}

// inbound is the peer's request under way.
type inbound struct {
	id            uint32
	exchange      message.ExchangeType
	local, remote netip.AddrPort
	hash          [32]byte
	p             *message.Payloads
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

func (s *sa) bySPIIn(spi uint32) *child {
	i := slices.IndexFunc(s.children, func(c *child) bool { return c.SPIIn == spi })
	if i < 0 {
		return nil
	}
	return s.children[i]
}

func (s *sa) bySPIOut(spi uint32) *child {
	i := slices.IndexFunc(s.children, func(c *child) bool { return c.SPIOut == spi })
	if i < 0 {
		return nil
	}
	return s.children[i]
}

// derive computes the keys of an IKE SA from SKEYSEED.
func (m *Machine) derive(s *sa, seed []byte) error {
	k, err := s.suite.Keys(seed, s.ni, s.nr, s.spiI, s.spiR)
	if err != nil {
		return err
	}
	i, err := s.suite.Protector(k.Ei, k.Ai)
	if err != nil {
		return err
	}
	r, err := s.suite.Protector(k.Er, k.Ar)
	if err != nil {
		return err
	}
	s.keys, s.in, s.outP = k, i, r
	if s.initiator {
		s.in, s.outP = r, i
	}
	if m.cfg.KeyLog {
		m.emit(Keys{
			SPIi: s.spiI, SPIr: s.spiR, SKei: k.Ei, SKer: k.Er, SKai: k.Ai, SKar: k.Ar,
			Encr: s.suite.Encr, Integ: s.suite.Integ,
			WiresharkEnc: s.suite.Encr.Wireshark(), WiresharkInt: s.suite.Integ.Wireshark(),
		})
	}
	return nil
}

// seal makes a protected message.
func (s *sa) seal(x message.ExchangeType, id uint32, response bool, ps []message.Body) []byte {
	inner, first := message.AppendChain(nil, ps)
	h := message.Header{SPIi: s.spiI, SPIr: s.spiR, Next: message.TypeSK, Exchange: x, ID: id}
	if s.initiator {
		h.Flags |= message.FlagInitiator
	}
	if response {
		h.Flags |= message.FlagResponse
	}
	n := s.outP.SealedLen(len(inner))
	msg := h.Append(make([]byte, 0, message.HeaderLen+4), message.HeaderLen+4+n)
	msg = message.AppendSKHeader(msg, first, n)
	s.ivOut++
	return s.outP.Seal(msg, inner, s.ivOut)
}

func (m *Machine) transmit(s *sa, local, remote netip.AddrPort, data []byte) {
	m.stats.Sent++
	m.emit(Send{SA: s.id, Local: local, Remote: remote, Data: data})
}

// send starts the exchange of s.req with these payloads.
func (m *Machine) send(s *sa, x message.ExchangeType, ps []message.Body) {
	r := s.req
	r.exchange, r.id = x, s.sendID
	s.sendID++
	m.launch(s, s.seal(x, r.id, false, ps))
}

// launch sends the encoded request and starts its repetitions (§2.1, §2.4).
func (m *Machine) launch(s *sa, data []byte) {
	r := s.req
	r.data, r.tries, r.wait = data, 0, m.cfg.Retransmit.First
	if r.limit == 0 {
		r.limit = m.cfg.Retransmit.Tries
	}
	r.at = m.now.Add(r.wait)
	m.transmit(s, s.local, s.remote, data)
	m.schedule(s)
}

// retransmit repeats the outstanding request bit by bit, or gives up.
func (m *Machine) retransmit(s *sa) {
	r := s.req
	if r.tries >= r.limit {
		m.timedOut(s)
		return
	}
	r.tries++
	m.stats.Retransmits++
	r.wait = min(2*r.wait, m.cfg.Retransmit.Max)
	r.at = m.now.Add(r.wait)
	m.transmit(s, s.local, s.remote, r.data)
}

// timedOut ends an IKE SA whose peer does not answer.
func (m *Machine) timedOut(s *sa) {
	m.stats.Timeouts++
	if s.first != nil {
		reason := "no answer"
		if s.first.refusal != 0 {
			reason = "refused by an unprotected notify"
		}
		m.refuse(s, s.first.refusal != 0, s.first.refusal, reason)
		return
	}
	if s.successor != nil {
		m.inherit(s, s.successor)
		return
	}
	if s.state == stateClosing || s.state == stateRekeyed {
		m.end(s, ReasonClosed, false)
		return
	}
	m.end(s, ReasonTimeout, s.conn != nil && s.conn.KeepChildren)
}

// reply answers the peer's request under way and remembers the answer.
func (m *Machine) reply(s *sa, ps []message.Body) {
	in := s.inb
	data := s.seal(in.exchange, in.id, true, ps)
	s.inb = nil
	s.recvID = in.id + 1
	s.lastReq, s.lastResp = in.hash, data
	m.transmit(s, in.local, in.remote, data)
}

func (m *Machine) replyNotify(s *sa, t message.NotifyType, data []byte) {
	m.reply(s, []message.Body{message.Notify{Type: t, Data: data}.Body()})
}

// schedule moves the timer of an IKE SA to its next deadline.
func (m *Machine) schedule(s *sa) {
	if m.sas[s.id] != s {
		m.set(&s.timer, time.Time{})
		return
	}
	at := s.dieAt
	if s.req != nil && s.req.data != nil && !s.req.answered {
		at = earliest(at, s.req.at)
	}
	if s.state == stateUp {
		at = earliest(earliest(at, s.rekeyAt), s.hardAt)
		if s.req == nil && len(s.queue) == 0 && s.conn.DPD > 0 {
			at = earliest(at, s.heard.Add(s.conn.DPD))
		}
		for _, j := range s.queue {
			if s.req == nil {
				at = earliest(at, j.at)
			}
		}
	}
	for _, c := range s.children {
		at = earliest(earliest(at, c.rekeyAt), c.hardAt)
	}
	m.set(&s.timer, at)
}

// tickSA does what is due for one IKE SA.
func (m *Machine) tickSA(s *sa) {
	defer m.schedule(s)
	if m.due(s.dieAt) {
		m.died(s)
		return
	}
	if m.due(s.hardAt) && s.state == stateUp {
		m.end(s, ReasonExpired, false)
		return
	}
	if r := s.req; r != nil && r.data != nil && !r.answered && m.due(r.at) {
		m.retransmit(s)
		if m.sas[s.id] != s {
			return
		}
	}
	for _, c := range slices.Clone(s.children) {
		if m.due(c.hardAt) {
			c.hardAt = time.Time{}
			m.closeChild(s, c, ReasonExpired)
		} else if m.due(c.rekeyAt) && c.state == childReplaced {
			m.deleteChild(s, c)
		} else if m.due(c.rekeyAt) {
			m.rekeyChild(s, c)
		}
	}
	if s.state != stateUp {
		return
	}
	if m.due(s.rekeyAt) {
		s.rekeyAt = time.Time{}
		m.enqueue(s, job{kind: jobRekeySA})
	}
	if d := s.conn.DPD; d > 0 && s.req == nil && len(s.queue) == 0 && m.due(s.heard.Add(d)) {
		m.probe(s)
	}
	m.pump(s)
}
