package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Errors of the client; test with errors.Is.
var (
	ErrNotRunning   = errors.New("mip6d is not running")
	ErrNotPermitted = errors.New("not permitted")
)

// RemoteError is what the daemon answered in place of content.
type RemoteError string

func (e RemoteError) Error() string { return string(e) }

// maxResponse bounds an answer; long lists come in pages.
const maxResponse = 256 << 20

// Call sends a request to the daemon at socket and reads its answer.
func Call[T any](ctx context.Context, socket string, req Request) (T, error) {
	var out T
	conn, err := dial(ctx, socket, req)
	if err != nil {
		return out, err
	}
	defer conn.Close()
	r, err := read(bufio.NewReader(io.LimitReader(conn, maxResponse)))
	if err != nil {
		return out, err
	}
	if err := json.Unmarshal(r.Body, &out); err != nil {
		return out, fmt.Errorf("the daemon's answer is not understood (of another version?): %w", err)
	}
	return out, nil
}

// Watch gives every notice to each until that returns an error, ctx ends (nil), or
// the daemon ends it. ready is called once the daemon listens; it may be nil.
func Watch(ctx context.Context, socket string, ready func(), each func(Notice) error) error {
	conn, err := dial(ctx, socket, Request{Cmd: CmdWatch})
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Time{})
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	in := bufio.NewReader(conn)
	for first := true; ; first = false {
		r, err := read(in)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		case first:
			if ready != nil {
				ready()
			}
			continue
		}
		var n Notice
		if err := json.Unmarshal(r.Body, &n); err != nil {
			return fmt.Errorf("the daemon's notice is not understood (of another version?): %w", err)
		}
		if err := each(n); err != nil {
			return err
		}
	}
}

func dial(ctx context.Context, socket string, req Request) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", socket)
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, unix.ECONNREFUSED):
		return nil, fmt.Errorf("%w: nobody answers on %s", ErrNotRunning, socket)
	case errors.Is(err, os.ErrPermission):
		return nil, fmt.Errorf("%w: %s is for root and the group named in the configuration (daemon.control_group)", ErrNotPermitted, socket)
	case err != nil:
		return nil, err
	}
	if t, ok := ctx.Deadline(); ok {
		conn.SetDeadline(t)
	} else {
		conn.SetDeadline(time.Now().Add(2 * workTimeout))
	}
	b, err := json.Marshal(req)
	if err == nil {
		_, err = conn.Write(append(b, '\n'))
	}
	if err != nil && !errors.Is(err, unix.EPIPE) { // refused at once: its answer says why
		conn.Close()
		return nil, fmt.Errorf("the daemon does not listen: %w", err)
	}
	return conn, nil
}

func read(in *bufio.Reader) (Response, error) {
	var r Response
	line, err := in.ReadBytes('\n')
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, unix.ECONNRESET):
		return r, errors.New("the daemon closed the connection without an answer")
	case errors.Is(err, os.ErrDeadlineExceeded):
		return r, errors.New("the daemon does not answer in time")
	case err != nil:
		return r, err
	}
	if err := json.Unmarshal(line, &r); err != nil {
		return r, fmt.Errorf("the daemon's answer is not understood (of another version?): %w", err)
	}
	if r.Error == errPermission {
		return r, fmt.Errorf("%w: only root and the group named in the configuration (daemon.control_group) may ask", ErrNotPermitted)
	}
	if r.Error != "" {
		return r, RemoteError(r.Error)
	}
	return r, nil
}
