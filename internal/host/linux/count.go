package linux

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/mip6/mip6/internal/host"
)

// Count implements host.Host.
func (h *Host) Count(_ context.Context, src, dst netip.Addr) (uint64, error) {
	return 0, fmt.Errorf("%w: %v to %v", host.ErrNoCounter, src, dst)
}

func (h *Host) putCounter(src, dst netip.Addr) error {
	return fmt.Errorf("%w: %v to %v", host.ErrNoCounter, src, dst)
}

func (h *Host) delCounter(src, dst netip.Addr) error { return nil }
