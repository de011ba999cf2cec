package control

import (
	"context"
	"encoding/json"
	"net"
	"sync"
	"time"
)

// watchBacklog is how many notices a watcher may be behind before it is dropped.
const watchBacklog = 1024

// hub hands notices to watchers.
type hub struct {
	mu   sync.Mutex
	subs map[*sub]struct{}
}

type sub struct {
	notices chan Notice
	slow    chan struct{} // closed when the watcher is dropped
}

// Publish gives a notice to every watcher. It never blocks: a watcher that is too
// far behind is dropped, and told so.
func (s *Server) Publish(n Notice) {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	for w := range s.hub.subs {
		select {
		case w.notices <- n:
		default:
			delete(s.hub.subs, w)
			close(w.slow)
		}
	}
}

// Watched says whether anybody listens, so that nobody need prepare what is not heard.
func (s *Server) Watched() bool {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	return len(s.hub.subs) > 0
}

func (h *hub) join() *sub {
	w := &sub{notices: make(chan Notice, watchBacklog), slow: make(chan struct{})}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.subs == nil {
		h.subs = map[*sub]struct{}{}
	}
	h.subs[w] = struct{}{}
	return w
}

func (h *hub) leave(w *sub) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.subs, w)
}

// watch writes notices until the client goes, is too slow, or ctx ends.
func (s *Server) watch(ctx context.Context, cancel context.CancelFunc, conn *net.UnixConn) {
	w := s.hub.join()
	defer s.hub.leave(w)
	conn.SetReadDeadline(time.Time{})
	s.work.Go(func() { // a watcher says nothing more: what ends its Read is its going
		var b [1]byte
		conn.Read(b[:])
		cancel()
	})
	if s.send(conn, Response{}) != nil { // "you are heard": what comes from now on will be told
		return
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.slow:
			s.log.Warn("control: a watcher was too slow and is dropped", "behind", watchBacklog)
			s.send(conn, Response{Error: "you read too slowly: notices were lost; watch again", End: true})
			return
		case n := <-w.notices:
			raw, err := json.Marshal(n)
			if err != nil || s.send(conn, Response{Body: raw}) != nil {
				return
			}
		}
	}
}
