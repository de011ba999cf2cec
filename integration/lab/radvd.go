package lab

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"time"
)

// radvdInterface is one interface of a radvd configuration.
//
// A node that has just arrived asks (its kernel or mip6d sends a router
// solicitation from its link-local address), and AdvRASolicitedUnicast makes radvd
// answer to it alone and at once, without the random wait up to 0.5 s that RFC 4861
// §6.2.6 has for multicast answers and without MinDelayBetweenRAs. Unasked
// advertisements go out in RFC 4861's default interval of 200-600 s: nothing of the
// speed of a move comes from them.
func radvdInterface(iface, options, prefix string) string {
	return fmt.Sprintf(`interface %s {
	AdvSendAdvert on;
	AdvRASolicitedUnicast on;
	MinRtrAdvInterval 200;
	MaxRtrAdvInterval 600;
	%s
	prefix %s;
};
`, iface, options, prefix)
}

// startRadvd starts the advertising daemons: on ha with the H bit, its lifetime and
// preference, and its own global address in the prefix option (RFC 6275 §7.1-7.4),
// on router without them.
func (l *Lab) startRadvd(ctx context.Context) error {
	if _, err := exec.LookPath("radvd"); err != nil {
		return fmt.Errorf("%w: radvd (apt-get install radvd)", ErrMissing)
	}
	p := l.Plan
	home := radvdInterface(HAHomeIface, "AdvHomeAgentFlag on;\n\tAdvHomeAgentInfo on;\n\tHomeAgentLifetime 1800;\n\tHomeAgentPreference 10;",
		netip.PrefixFrom(p.HA, 64).String()+" { AdvOnLink on; AdvAutonomous on; AdvRouterAddr on; }")
	foreign := ""
	for _, f := range []Link{Foreign1, Foreign2} {
		foreign += radvdInterface(string(f), "AdvHomeAgentFlag off;", p.Prefix(f).String()+" { AdvOnLink on; AdvAutonomous on; }")
	}
	for host, conf := range map[string]string{HA: home, Router: foreign} {
		file := l.path("radvd-" + host + ".conf")
		if err := os.WriteFile(file, []byte(conf), 0o644); err != nil {
			return err
		}
		pid := fmt.Sprintf("/run/mip6-radvd-%s.pid", host)
		proc, err := l.Spawn(host, "radvd", "radvd", "-n", "-m", "stderr", "-d", "1", "-C", file, "-p", pid)
		if err != nil {
			return err
		}
		if err := l.waitRadvd(ctx, host, proc); err != nil {
			return err
		}
	}
	return nil
}

// waitRadvd waits until radvd listens for solicitations: its raw ICMPv6 socket is
// in the host's table.
func (l *Lab) waitRadvd(ctx context.Context, host string, proc *Proc) error {
	return poll(ctx, 10*time.Second, "radvd on "+host, func() error {
		if !proc.Running() {
			return fmt.Errorf("lab: radvd on %s ended at once: see %s", host, proc.LogFile)
		}
		// The thread's own table: /proc/net is that of the process's first thread.
		var raw []byte
		err := l.Host(host).Do(func() (err error) {
			raw, err = os.ReadFile("/proc/thread-self/net/raw6")
			return err
		})
		if err == nil && strings.Count(string(raw), "\n") < 2 {
			return errNotYet
		}
		return err
	})
}
