package linux

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"sync"

	"github.com/mip6/mip6/internal/host"
	"golang.org/x/sys/unix"
)

// Sysctl is a value as it was found before this program changed it.
type Sysctl struct{ Key, Found string }

// sysctls sets values below /proc/sys and knows what was found there first.
type sysctls struct {
	mu    sync.Mutex
	found []Sysctl // in the order of the first change
	note  func(Sysctl) error
}

func (s *sysctls) known(key string) bool {
	for _, f := range s.found {
		if f.Key == key {
			return true
		}
	}
	return false
}

// sysctlPath refuses keys that lead out of /proc/sys.
func sysctlPath(key string) (string, error) {
	if key == "" || path.Clean("/"+key) != "/"+key || strings.Contains(key, "..") {
		return "", fmt.Errorf("linux: %q is not a key below /proc/sys, such as net/ipv6/conf/eth0/accept_dad", key)
	}
	return "/proc/sys/" + key, nil
}

func (h *Host) setSysctl(o host.SetSysctl) error {
	p, err := sysctlPath(o.Key)
	if err != nil {
		return err
	}
	s := &h.sysctls
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := h.open(); err != nil {
		return err // what is set after the restoring would stay
	}
	return h.ns.Do(func() error {
		b, err := os.ReadFile(p)
		if err != nil {
			return sysctlError(o.Key, err)
		}
		now := strings.TrimSpace(string(b))
		if !s.known(o.Key) {
			f := Sysctl{Key: o.Key, Found: now}
			if s.note != nil {
				if err := s.note(f); err != nil {
					return fmt.Errorf("linux: sysctl %s is left as it is: %w", o.Key, err)
				}
			}
			s.found = append(s.found, f)
		}
		if now == o.Value {
			return nil
		}
		return sysctlError(o.Key, os.WriteFile(p, []byte(o.Value), 0))
	})
}

// restoreSysctls gives back what was found, the last change first. A key whose
// link is gone needs nothing.
func (h *Host) restoreSysctls() error {
	s := &h.sysctls
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	err := h.ns.Do(func() error {
		for i := len(s.found) - 1; i >= 0; i-- {
			f := s.found[i]
			p, err := sysctlPath(f.Key)
			if err == nil {
				err = os.WriteFile(p, []byte(f.Found), 0)
			}
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, sysctlError(f.Key, err))
			}
		}
		return nil
	})
	s.found = nil
	return errors.Join(append(errs, err)...)
}

func sysctlError(key string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: sysctl %s", ErrFeature, key)
	case errors.Is(err, unix.EROFS):
		return fmt.Errorf("%w: /proc/sys is mounted read-only", host.ErrPermission)
	}
	return place("sysctl "+key, err)
}
