package vm

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A guest's four serial lines: its console (kernel messages and what the init
// script complains about), the command's output and error, and the control line
// on which the init script says "ready" and "exit N". Output and messages never
// mix, whatever the command prints.

// guest is one booted kernel, seen from the host: its process and its lines.
type guest struct {
	cmd     *exec.Cmd
	opts    Options
	name    string
	started time.Time
	console tail
	wait    sync.WaitGroup // the readers of the lines

	mu   sync.Mutex
	exit int  // the command's exit status, once seen
	seen bool // it was seen
	up   bool // the guest said "ready"
}

// line gives the write end of a new serial line to the guest's process as its
// next extra file; what comes out of the read end goes to read, in a goroutine.
func (g *guest) line(read func(io.Reader)) (childFD int, closeParent func(), err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return 0, nil, err
	}
	g.cmd.ExtraFiles = append(g.cmd.ExtraFiles, w)
	g.wait.Add(1)
	go func() {
		defer g.wait.Done()
		defer r.Close()
		read(r)
	}()
	return 2 + len(g.cmd.ExtraFiles), func() { w.Close() }, nil
}

// copyTo returns a reader of a line that hands everything on as it comes.
func copyTo(w io.Writer) func(io.Reader) {
	return func(r io.Reader) { io.Copy(w, r) }
}

// control reads the control line.
func (g *guest) control(r io.Reader) {
	for sc := bufio.NewScanner(r); sc.Scan(); {
		word, rest, _ := strings.Cut(strings.TrimSpace(sc.Text()), " ")
		switch word {
		case "ready":
			g.mu.Lock()
			g.up = true
			g.mu.Unlock()
			fmt.Fprintf(g.opts.Log, "vm: %s (%s) is up after %.1f s\n", rest, g.name, time.Since(g.started).Seconds())
		case "exit":
			if n, err := strconv.Atoi(rest); err == nil {
				g.mu.Lock()
				g.exit, g.seen = n, true
				g.mu.Unlock()
			}
		}
	}
}

// run starts the guest's process, waits for its end and gives the command's exit status.
func (g *guest) run(ctx context.Context, closeParents []func()) (int, error) {
	// A group of its own, so that all processes of the guest can be killed at once.
	g.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	g.started = time.Now()
	fmt.Fprintf(g.opts.Log, "vm: booting %s for: %s\n", g.name, strings.Join(g.opts.Command, " "))
	err := g.cmd.Start()
	for _, f := range closeParents {
		f()
	}
	if err != nil {
		return -1, fmt.Errorf("vm: %s: %w", g.cmd.Path, err)
	}
	done := make(chan struct{})
	go g.killWhen(ctx, done)
	err = g.cmd.Wait()
	close(done)
	syscall.Kill(-g.cmd.Process.Pid, syscall.SIGKILL) // what the kernel's process left behind
	g.wait.Wait()

	g.mu.Lock()
	defer g.mu.Unlock()
	if g.seen {
		return g.exit, nil
	}
	fmt.Fprintf(g.opts.Log, "vm: the guest's console said last:\n%s\n", g.console.String())
	if !g.up {
		return -1, fmt.Errorf("%w before it was up (%s: %v)", ErrDied, g.name, err)
	}
	return -1, fmt.Errorf("%w while the command ran (%s: %v)", ErrDied, g.name, err)
}

// bootTime is what a kernel may take until its init script says "ready".
const bootTime = 90 * time.Second

// killWhen kills the guest when the context ends or when it does not come up.
func (g *guest) killWhen(ctx context.Context, done <-chan struct{}) {
	boot := time.NewTimer(bootTime)
	defer boot.Stop()
	for {
		select {
		case <-done:
			return
		case <-boot.C:
			g.mu.Lock()
			up := g.up
			g.mu.Unlock()
			if up {
				continue
			}
			fmt.Fprintf(g.opts.Log, "vm: %s is not up after %v: killed\n", g.name, bootTime)
		case <-ctx.Done():
		}
		syscall.Kill(-g.cmd.Process.Pid, syscall.SIGKILL)
		return
	}
}

func signalOf(e *exec.ExitError) int {
	if st, ok := e.Sys().(syscall.WaitStatus); ok && st.Signaled() {
		return int(st.Signal())
	}
	return 0
}

// tail keeps the last part of what is written to it.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

const tailSize = 8 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if n := len(t.buf) - tailSize; n > 0 {
		t.buf = append(t.buf[:0], t.buf[n:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.ReplaceAll(t.buf, []byte("\r"), nil))
}
