package ike

import (
	"time"

	"github.com/mip6/mip6/ike/message"
)

// jobKind is what an exchange of ours is for.
type jobKind uint8

const (
	jobInit jobKind = iota
	jobAuth
	jobAuthFailed
	jobChild
	jobRekeyChild
	jobDeleteChild
	jobRekeySA
	jobDeleteSA
	jobProbe
	jobIntermediate
)

func (k jobKind) String() string {
	return [...]string{
		"IKE_SA_INIT", "IKE_AUTH", "failure notice", "child", "child rekey", "child delete",
		"rekey", "delete", "liveness check", "IKE_INTERMEDIATE",
	}[k]
}

// job is an exchange of ours to come: the window is one, so they queue.
type job struct {
	kind    jobKind
	req     uint64
	want    ChildWant
	proto   uint8  // of the child to delete
	spi     uint32 // inbound, of the child to rekey or delete
	retries int
	at      time.Time // not before; zero: now
}

const (
	maxRetries    = 5
	temporaryWait = 4 * time.Second  // after TEMPORARY_FAILURE (§2.25)
	refusedWait   = 40 * time.Second // after a rekey that was refused
)

// enqueue adds a job that is not there already, and starts it if it can.
func (m *Machine) enqueue(s *sa, j job) {
	for _, q := range s.queue {
		if j.kind != jobChild && q.kind == j.kind && q.spi == j.spi {
			return
		}
	}
	s.queue = append(s.queue, j)
	m.pump(s)
}

// pump starts the next job when nothing of ours is under way.
func (m *Machine) pump(s *sa) {
	for s.req == nil && s.state == stateUp && !s.busy() && (s.inb == nil || s.inb.exchange != authExchange) {
		i := 0
		for i < len(s.queue) && s.queue[i].at.After(m.now) {
			i++
		}
		if i == len(s.queue) {
			break
		}
		j := s.queue[i]
		s.queue = append(s.queue[:i:i], s.queue[i+1:]...)
		m.start(s, j)
	}
	m.reauthDone(s)
	m.schedule(s)
}

// start begins an exchange; it may turn out that there is nothing to do.
func (m *Machine) start(s *sa, j job) {
	switch j.kind {
	case jobChild:
		m.startChild(s, j, nil)
	case jobRekeyChild:
		if c := s.bySPIIn(j.spi); c != nil && c.state == childUp {
			m.startChild(s, j, c)
		}
	case jobDeleteChild:
		s.req = &request{job: j}
		m.send(s, message.Informational, []message.Body{
			message.Delete{Protocol: wire(j.proto), SPIs: []uint32{j.spi}}.Body(),
		})
	case jobProbe:
		s.req = &request{job: j, limit: m.cfg.Retransmit.ProbeTries}
		m.send(s, message.Informational, nil)
	case jobDeleteSA:
		s.state = stateClosing
		s.req = &request{job: j}
		m.send(s, message.Informational, []message.Body{message.Delete{Protocol: message.ProtoIKE}.Body()})
	case jobRekeySA:
		m.startRekeySA(s, j)
	}
}

// finish ends our exchange under way and goes on to the next.
func (m *Machine) finish(s *sa) {
	s.req = nil
	m.pump(s)
}

// probe asks whether the peer is there: an empty request, or whatever is under
// way already.
func (m *Machine) probe(s *sa) {
	if s.req != nil {
		return
	}
	m.enqueue(s, job{kind: jobProbe})
}

// createChild takes the owner's wish for a further child.
func (m *Machine) createChild(e CreateChild) {
	s := m.up(e.SA)
	if s == nil {
		m.emit(ChildRefused{SA: e.SA, Req: e.Req, Name: e.Want.Name, Reason: "no such IKE SA",
			Local: e.Want.Local, Remote: e.Want.Remote})
		return
	}
	e.Want.Proto = or(e.Want.Proto, ESP)
	if !s.conn.canMake(e.Want) {
		m.childRefused(s, e.Req, e.Want, false, 0, noOffers)
		return
	}
	m.enqueue(s, job{kind: jobChild, req: e.Req, want: e.Want})
}

// childRefused tells the owner that a child of our wish failed.
func (m *Machine) childRefused(s *sa, req uint64, w ChildWant, byPeer bool, t message.NotifyType, why string) {
	m.emit(ChildRefused{
		SA: s.id, Req: req, Conn: s.connName(), Peer: s.peer.ID, Name: w.Name, ByPeer: byPeer, Notify: t,
		Reason: why, Local: w.Local, Remote: w.Remote,
	})
}
