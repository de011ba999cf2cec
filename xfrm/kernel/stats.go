package kernel

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/mip6/mip6/xfrm"
)

// Counter is one of the kernel's counters of packets that XFRM dropped.
type Counter struct {
	Name    string // "XfrmInNoPols"
	Value   uint64
	Meaning string // one sentence; empty for a counter newer than this program
}

// Stats reads the counters of the backend's network namespace.
func (b *Backend) Stats() (c []Counter, err error) {
	if e := b.ns.do(func() { c, err = ReadStats() }); e != nil {
		return nil, e
	}
	return c, err
}

// ReadStats reads the counters of the calling thread's network namespace, in the
// kernel's order.
func ReadStats() ([]Counter, error) {
	f, err := os.Open(fmt.Sprintf("/proc/self/task/%d/net/xfrm_stat", unix.Gettid()))
	if errors.Is(err, os.ErrNotExist) {
		return nil, &xfrm.FeatureError{Feature: "XFRM statistics", Err: fmt.Errorf("no /proc/net/xfrm_stat (CONFIG_XFRM_STATISTICS): %w", xfrm.ErrUnsupported)}
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return parseStats(f)
}

// parseStats reads lines of a name and a number; others are passed over.
func parseStats(r io.Reader) ([]Counter, error) {
	var all []Counter
	sc := bufio.NewScanner(r)
	for sc.Scan() {
		f := strings.Fields(sc.Text())
		if len(f) != 2 {
			continue
		}
		n, err := strconv.ParseUint(f[1], 10, 64)
		if err != nil {
			continue
		}
		all = append(all, Counter{Name: f[0], Value: n, Meaning: meanings[f[0]]})
	}
	return all, sc.Err()
}

// meanings follows Documentation/networking/xfrm_proc.rst and what the places in
// the kernel that count them do.
var meanings = map[string]string{
	"XfrmInError":             "An inbound packet was dropped for a reason that has no counter of its own, such as an unknown care-of address in a home address option.",
	"XfrmInBufferError":       "The kernel had no memory left for an inbound packet.",
	"XfrmInHdrError":          "An inbound packet's IPsec header was malformed.",
	"XfrmInNoStates":          "No SA fits an inbound packet's SPI, destination and protocol: the SA is gone or the sender uses an old one.",
	"XfrmInStateProtoError":   "An SA refused an inbound packet: integrity check failed, or a home address option did not fit its state's care-of address.",
	"XfrmInStateModeError":    "An inbound packet's inner headers do not fit the mode of its SA.",
	"XfrmInStateSeqError":     "An inbound packet was replayed, or came so late that it fell out of the replay window.",
	"XfrmInStateExpired":      "An inbound packet met an SA that had reached its lifetime.",
	"XfrmInStateMismatch":     "An inbound packet does not fit its SA's selector, or its encapsulation is another than the SA's.",
	"XfrmInStateInvalid":      "An inbound packet met an SA that is not usable (larval, dying or of an unknown type).",
	"XfrmInTmplMismatch":      "An inbound packet met a policy, but not the protection that the policy's templates demand: it came in plain or by a wrong SA.",
	"XfrmInNoPols":            "An inbound packet came protected, but no policy allows it: the policy is missing or its selector does not match.",
	"XfrmInPolBlock":          "A policy discards this inbound packet.",
	"XfrmInPolError":          "A policy failed for an inbound packet.",
	"XfrmOutError":            "An outbound packet was dropped for a reason that has no counter of its own.",
	"XfrmOutBundleGenError":   "The kernel could not build the chain of transformations for an outbound packet, often for want of a route to the outer address.",
	"XfrmOutBundleCheckError": "The chain of transformations of an outbound packet was outdated and could not be rebuilt.",
	"XfrmOutNoStates":         "A policy demands protection for an outbound packet and there is no SA: a key exchange is under way or failed.",
	"XfrmOutStateProtoError":  "An SA could not encrypt or authenticate an outbound packet.",
	"XfrmOutStateModeError":   "The mode of an SA could not be applied to an outbound packet, for example because it would be too long.",
	"XfrmOutStateSeqError":    "An SA has used up its sequence numbers and must be replaced.",
	"XfrmOutStateExpired":     "An outbound packet met an SA that had reached its lifetime.",
	"XfrmOutPolBlock":         "A policy discards this outbound packet.",
	"XfrmOutPolDead":          "The policy of an outbound packet was deleted in that moment.",
	"XfrmOutPolError":         "A policy failed for an outbound packet, often because its templates cannot be met.",
	"XfrmFwdHdrError":         "The headers of a packet to be forwarded could not be read for the policy check.",
	"XfrmOutStateInvalid":     "An outbound packet met an SA that is not usable (larval or dying).",
	"XfrmAcquireError":        "No key exchange daemon could be asked for an SA, or a larval SA expired before it was answered.",
	"XfrmOutStateDirError":    "An SA for the inbound direction was chosen for an outbound packet.",
	"XfrmInStateDirError":     "An SA for the outbound direction was met by an inbound packet.",
	"XfrmInIptfsError":        "An inbound IP-TFS packet (RFC 9347) could not be taken apart.",
	"XfrmOutNoQueueSpace":     "The queue of packets that wait for an SA is full.",
}
