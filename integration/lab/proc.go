package lab

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// Proc is a program running in a host, its output in a log file.
type Proc struct {
	Host, Name, LogFile string
	cmd                 *exec.Cmd
	done                chan struct{}
	err                 error // valid once done is closed
}

// Spawn starts a program in a host. Standard output and error are appended to
// HOST-NAME.log in the lab's folder, under a line with the time and the command.
// Close stops what still runs.
func (l *Lab) Spawn(host, name string, argv ...string) (*Proc, error) {
	p := &Proc{Host: host, Name: name, LogFile: l.path(host + "-" + name + ".log"), done: make(chan struct{})}
	log, err := os.OpenFile(p.LogFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	fmt.Fprintf(log, "--- %s %s\n", time.Now().Format("15:04:05.000000"), strings.Join(argv, " "))
	p.cmd = exec.Command(argv[0], argv[1:]...)
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.Dir = log, log, l.Dir
	if err := l.Host(host).Do(p.cmd.Start); err != nil {
		return nil, fmt.Errorf("lab: %s: start %s: %w", host, argv[0], err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	l.procs = append(l.procs, p)
	return p, nil
}

// Running tells whether the program has not ended yet.
func (p *Proc) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Done is closed when the program has ended; Err then says how.
func (p *Proc) Done() <-chan struct{} { return p.done }

// Err is the program's end as exec.Cmd.Wait gives it; nil while it runs.
func (p *Proc) Err() error {
	if p.Running() {
		return nil
	}
	return p.err
}

// Pid is the program's process.
func (p *Proc) Pid() int { return p.cmd.Process.Pid }

// Signal sends a signal; a program that has ended is no error.
func (p *Proc) Signal(s syscall.Signal) error {
	if !p.Running() {
		return nil
	}
	return p.cmd.Process.Signal(s)
}

// Stop ends the program by SIGTERM and waits; after limit by SIGKILL, which is an
// error: it should have ended. How it ended Err tells.
func (p *Proc) Stop(limit time.Duration) error {
	if err := p.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(limit):
		p.Kill()
		return fmt.Errorf("lab: %s on %s did not end %v after SIGTERM and was killed", p.Name, p.Host, limit)
	}
}

// Kill ends the program by SIGKILL and waits for its end.
func (p *Proc) Kill() {
	p.cmd.Process.Kill()
	<-p.done
}
