package doctor

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/mip6/mip6/internal/control"
)

// meanings says what each counter of /proc/net/xfrm_stat means to whoever looks for
// lost packets of Mobile IPv6.
var meanings = map[string]string{
	"XfrmInError":             "inbound: refused for a reason that no other counter names",
	"XfrmInBufferError":       "inbound: no memory",
	"XfrmInHdrError":          "inbound: malformed ESP, AH or extension header",
	"XfrmInNoStates":          "inbound: no SA for this SPI, or no binding for a home address option: the sender uses keys or a binding that are gone here",
	"XfrmInStateProtoError":   "inbound: integrity check failed: corrupted, forged, or keys differ",
	"XfrmInStateModeError":    "inbound: tunnel or transport, but the SA is of the other mode",
	"XfrmInStateSeqError":     "inbound: replayed, or older than the replay window",
	"XfrmInStateExpired":      "inbound: the SA's lifetime is over",
	"XfrmInStateMismatch":     "inbound: the SA is not meant for these addresses or ports",
	"XfrmInStateInvalid":      "inbound: the SA is dead or not complete yet",
	"XfrmInTmplMismatch":      "inbound: the packet came otherwise than the policy wants, for example a Binding Update without ESP, or from a care-of address that the policy does not know",
	"XfrmInNoPols":            "inbound: protected, but no policy wants packets of this kind",
	"XfrmInPolBlock":          "inbound: a policy blocks it, for example a Binding Update that came without protection",
	"XfrmInPolError":          "inbound: the policy could not be evaluated",
	"XfrmOutError":            "outbound: refused for a reason that no other counter names",
	"XfrmOutBundleGenError":   "outbound: no route, or the SAs of the policy do not fit together",
	"XfrmOutBundleCheckError": "outbound: the SAs in use do not fit any more",
	"XfrmOutNoStates":         "outbound: no SA yet: keys are being made, or could not be made",
	"XfrmOutStateProtoError":  "outbound: encryption failed",
	"XfrmOutStateModeError":   "outbound: the packet does not fit the mode, for example is too big for the tunnel's path MTU",
	"XfrmOutStateSeqError":    "outbound: the sequence numbers are used up: the SA should have been rekeyed",
	"XfrmOutStateExpired":     "outbound: the SA's lifetime is over",
	"XfrmOutPolBlock":         "outbound: a policy blocks it",
	"XfrmOutPolDead":          "outbound: the policy is being removed",
	"XfrmOutPolError":         "outbound: the policy could not be evaluated",
	"XfrmFwdHdrError":         "forwarded: malformed header",
	"XfrmOutStateInvalid":     "outbound: the SA is dead or not complete yet",
	"XfrmAcquireError":        "outbound: no IKE daemon took the request for an SA",
	"XfrmOutStateDirError":    "outbound: the SA is marked for the other direction",
	"XfrmInStateDirError":     "inbound: the SA is marked for the other direction",
	"XfrmInIptfsError":        "inbound: malformed aggregated packet (IP-TFS)",
	"XfrmOutNoQueueSpace":     "outbound: the queue of aggregated packets (IP-TFS) is full",
}

// XfrmStat reads the counters of this process's network namespace. before is an
// earlier reading, to which Delta counts, or nil.
func XfrmStat(before []control.XfrmCounter) ([]control.XfrmCounter, error) {
	f, err := os.Open("/proc/self/net/xfrm_stat")
	if err != nil {
		return nil, fmt.Errorf("doctor: %w", err)
	}
	defer f.Close()
	now, err := parseXfrmStat(f)
	if err != nil {
		return nil, err
	}
	old := make(map[string]uint64, len(before))
	for _, c := range before {
		old[c.Name] = c.Value
	}
	for i := range now {
		if b := old[now[i].Name]; now[i].Value > b {
			now[i].Delta = now[i].Value - b
		}
	}
	return now, nil
}

// NonZero leaves out what never happened.
func NonZero(all []control.XfrmCounter) []control.XfrmCounter {
	var out []control.XfrmCounter
	for _, c := range all {
		if c.Value > 0 {
			out = append(out, c)
		}
	}
	return out
}

func parseXfrmStat(r io.Reader) ([]control.XfrmCounter, error) {
	var out []control.XfrmCounter
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) != 2 {
			return nil, fmt.Errorf("doctor: xfrm_stat has the line %.80q", lines.Text())
		}
		v, err := strconv.ParseUint(words[1], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("doctor: xfrm_stat has the line %.80q", lines.Text())
		}
		out = append(out, control.XfrmCounter{Name: words[0], Value: v, Meaning: meanings[words[0]]})
	}
	return out, lines.Err()
}
