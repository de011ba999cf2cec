package lab

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"
)

// TestDAD measures what each mode of duplicate address detection costs.
func TestDAD(t *testing.T) {
	for _, c := range []struct {
		mode         DAD
		above, below time.Duration // of the time from the router's answer to a usable address
	}{
		{DADOff, 0, 500 * time.Millisecond}, {DADOn, 700 * time.Millisecond, 4 * time.Second}, {DADOptimistic, 0, 500 * time.Millisecond},
	} {
		t.Run(string(c.mode), func(t *testing.T) {
			needKernel(t)
			p := DefaultPlan()
			p.DAD, p.Start = c.mode, None
			l, err := Start(t.Context(), p, Options{Dir: t.TempDir()})
			if errors.Is(err, ErrNoOptimistic) {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			if _, _, err := l.Move(t.Context(), Foreign2); err != nil {
				t.Fatal(err)
			}
			// Only once the link-local address has passed may the node ask.
			if err := l.Solicit(t.Context(), MN, MNIface); err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			if _, err := l.WaitAddr(t.Context(), MN, MNIface, p.F2Prefix, 10*time.Second); err != nil {
				t.Fatal(err)
			}
			if d := time.Since(start); d < c.above || d > c.below {
				t.Errorf("usable after %v, want %v to %v", d, c.above, c.below)
			}
		})
	}
}

// TestProc checks how programs in a host end.
func TestProc(t *testing.T) {
	p := DefaultPlan()
	p.Start = None
	_, l := start(t, p)
	good, err := l.Spawn(CN, "good", "sh", "-c", "ip -o link; exec sleep 100")
	if err != nil {
		t.Fatal(err)
	}
	deaf, err := l.Spawn(CN, "deaf", "sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done")
	if err != nil {
		t.Fatal(err)
	}
	has := func(file, text string) {
		t.Helper()
		err := poll(t.Context(), 5*time.Second, text+" in "+file, func() error {
			if b, err := os.ReadFile(file); err != nil || !strings.Contains(string(b), text) {
				return errNotYet
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
	has(good.LogFile, "eth0@") // the correspondent's interface, not this namespace's
	has(deaf.LogFile, "\nready\n")
	if !good.Running() || good.Err() != nil {
		t.Error("the program does not run")
	}
	if err := good.Stop(5 * time.Second); err != nil || good.Running() || good.Err() == nil {
		t.Errorf("stop: %v, ended by %v", err, good.Err())
	}
	if err := deaf.Stop(100 * time.Millisecond); err == nil || deaf.Running() {
		t.Errorf("stop of a program that ignores SIGTERM: %v", err)
	}
	if _, err := l.Spawn(CN, "none", "no-such-program"); err == nil {
		t.Error("a program that is not there: no error")
	}
}
