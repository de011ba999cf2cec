package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"time"
)

// Bounds of the server: no client can hold the daemon, or much of its memory.
const (
	maxRequest   = 64 << 10
	maxConns     = 32
	readTimeout  = 5 * time.Second
	workTimeout  = 10 * time.Second
	writeTimeout = 10 * time.Second
)

// Server answers on a unix socket.
type Server struct {
	ln   *net.UnixListener
	path string
	gid  int // of the permitted group, or -1
	log  *slog.Logger

	patience time.Duration // with a handler: workTimeout
	hub      hub
	slots    chan struct{} // one for each client
	calls    chan struct{} // one for each handler at work, be its client still there or not
	work     sync.WaitGroup
}

// Serve answers until ctx ends, then closes what is open and removes the socket.
func (s *Server) Serve(ctx context.Context, h Handler) error {
	stop := context.AfterFunc(ctx, func() { s.ln.Close() })
	defer stop()
	defer s.Close()
	for {
		conn, err := s.ln.AcceptUnix()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				conn.Close()
			}
			s.work.Wait()
			return nil
		case errors.Is(err, net.ErrClosed):
			s.work.Wait()
			return nil
		case err != nil: // out of descriptors, say: that passes
			s.log.Warn("control: accept", "err", err)
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
			continue
		}
		select {
		case s.slots <- struct{}{}:
			s.work.Go(func() {
				defer func() { <-s.slots }()
				s.handle(ctx, conn, h)
			})
		default:
			refuse(conn, fmt.Sprintf("too many clients at once (%d)", maxConns))
		}
	}
}

// refuse tells why and closes; it never waits.
func refuse(conn *net.UnixConn, why string) {
	conn.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
	json.NewEncoder(conn).Encode(Response{Error: why})
	conn.Close()
}

func (s *Server) handle(ctx context.Context, conn *net.UnixConn, h Handler) {
	defer conn.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	if err := s.permitted(conn); err != nil {
		s.log.Warn("control: refused", "err", err)
		s.send(conn, Response{Error: errPermission})
		return
	}
	conn.SetReadDeadline(time.Now().Add(readTimeout))
	in := bufio.NewReader(io.LimitReader(conn, maxRequest))
	line, err := in.ReadBytes('\n')
	if err != nil {
		switch {
		case len(line) >= maxRequest:
			s.send(conn, Response{Error: fmt.Sprintf("the request is longer than %d octets", maxRequest)})
		case len(line) > 0:
			s.send(conn, Response{Error: "the request does not end with a newline"})
		}
		return
	}
	var req Request
	if err := json.Unmarshal(line, &req); err != nil {
		s.send(conn, Response{Error: "the request is no JSON of the right form: " + err.Error()})
		return
	}
	if req.Cmd == CmdWatch {
		s.watch(ctx, cancel, conn)
		return
	}
	s.send(conn, s.call(ctx, h, req))
}

// call lets the handler work, and answers without it where it takes too long.
func (s *Server) call(ctx context.Context, h Handler, req Request) Response {
	ctx, cancel := context.WithTimeout(ctx, s.patience)
	defer cancel()
	select {
	case s.calls <- struct{}{}:
	default:
		return Response{Error: "the daemon is busy with earlier questions"}
	}
	done := make(chan Response, 1)
	go func() { // not waited for: a handler that hangs must not hold up the end
		defer func() { <-s.calls }()
		defer func() {
			if p := recover(); p != nil { // a fault in telling must not end the doing
				s.log.Error("control: panic", "cmd", req.Cmd, "panic", p, "stack", string(debug.Stack()))
				done <- Response{Error: "internal error; the daemon's log has more"}
			}
		}()
		body, err := dispatch(ctx, h, req)
		if err != nil {
			done <- Response{Error: err.Error()}
			return
		}
		raw, err := json.Marshal(body)
		if err != nil {
			done <- Response{Error: "internal error: " + err.Error()}
			return
		}
		done <- Response{Body: raw}
	}()
	select {
	case r := <-done:
		return r
	case <-ctx.Done():
		return Response{Error: "the daemon did not answer in time"}
	}
}

func dispatch(ctx context.Context, h Handler, req Request) (any, error) {
	switch req.Cmd {
	case CmdStatus:
		return h.Status(ctx)
	case CmdBindings:
		return h.Bindings(ctx, req.Page)
	case CmdRO:
		if r, ok := h.(RouteHandler); ok {
			return r.RO(ctx, req.Page)
		}
	case CmdSAs:
		return h.SAs(ctx, req.Page)
	case CmdMigrations:
		return h.Migrations(ctx)
	case CmdDoctor:
		return h.Doctor(ctx)
	case CmdRekey:
		if req.Rekey == nil {
			return nil, errors.New("rekey wants to be told which child")
		}
		return h.Rekey(ctx, *req.Rekey)
	}
	return nil, fmt.Errorf("unknown command %.40q", req.Cmd)
}

func (s *Server) send(conn *net.UnixConn, r Response) error {
	conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	b, err := json.Marshal(r)
	if err == nil {
		_, err = conn.Write(append(b, '\n'))
	}
	if err != nil {
		s.log.Debug("control: client went away", "err", err)
	}
	return err
}
