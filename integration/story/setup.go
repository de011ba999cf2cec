package story

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/mip6/mip6/integration/lab"
)

// otherHome is a home address that belongs to another node.
func otherHome(p lab.Plan) netip.Addr {
	b := p.HoA.As16()
	b[15]++
	return netip.AddrFrom16(b)
}

const topology = `
     %s                          home agent %s
  cn ─────────── core ─────────────────────────────── ha ── home link %s
                  │ 10 ms each way                            (node's home address %s)
                router
                 ├── foreign link 1  %s  ◄ mn
                 └── foreign link 2  %s
`

// setup builds the topology, starts all observers, and notes how the hosts are
// before the first daemon.
func (s *story) setup(ctx context.Context) error {
	p := s.plan
	fmt.Fprintf(s.out, topology+"\n", p.CN, p.HA, p.HomePrefix, p.HoA, p.F1Prefix, p.F2Prefix)
	fmt.Fprintf(s.out, "  Linux %s; duplicate address detection of the node: %s; seconds since the start, host, what\n\n", s.rec.Report.Kernel, p.DAD)
	if os.Geteuid() != 0 {
		return fmt.Errorf("story: needs root, for network namespaces and IPsec")
	}
	var err error
	if err = os.MkdirAll(s.o.Dir, 0o755); err != nil {
		return err
	}
	if s.run, err = os.MkdirTemp("/run", "mip6-story-"); err != nil {
		return err
	}
	key := make([]byte, 32)
	rand.Read(key)
	s.psk = "0x" + hex.EncodeToString(key)
	if err := s.makeCertificates(); err != nil {
		return err
	}
	if s.lab, err = lab.Start(ctx, p, lab.Options{Dir: s.o.Dir}); err != nil {
		return err
	}
	s.say("", "topology stands; radvd runs on ha and router")
	if s.caps, err = s.lab.Capture(s.o.Dir); err != nil {
		return err
	}
	for _, host := range []string{lab.MN, lab.HA} {
		if s.mon[host], err = s.lab.MonitorXfrm(host); err != nil {
			return err
		}
	}
	if s.addrs, err = watchAddrs(s.lab.Host(lab.MN)); err != nil {
		return err
	}
	if err := s.solicited(ctx, lab.Foreign1); err != nil {
		return err
	}
	for _, host := range []string{lab.MN, lab.HA} {
		if s.found[host], err = s.lab.Dump(ctx, host); err != nil {
			return err
		}
	}
	s.mn, s.ha = s.newDaemon(lab.MN), s.newDaemon(lab.HA)
	return nil
}

// solicited waits for the node's address on the link, asking for advertisements:
// without a daemon nobody does (kernel 6.1 asks only when an interface is set up).
func (s *story) solicited(ctx context.Context, on lab.Link) error {
	if err := s.lab.Solicit(ctx, lab.MN, lab.MNIface); err != nil {
		return err
	}
	_, err := s.lab.WaitAddr(ctx, lab.MN, lab.MNIface, s.plan.Prefix(on), 10*time.Second)
	return err
}

// ready brings about what every step begins with: both daemons as usual, the node
// registered on a foreign link. Mostly all that is so.
func (s *story) ready(ctx context.Context) error {
	if err := s.startBoth(ctx, conf{}); err != nil {
		return err
	}
	if l := s.lab.Link(); l != lab.Foreign1 && l != lab.Foreign2 {
		s.say("mn", "goes to foreign link 1")
		if _, _, err := s.lab.Move(ctx, lab.Foreign1); err != nil {
			return err
		}
	}
	_, err := s.waitRegistered(ctx, netip.Addr{}, 20*time.Second)
	return err
}

// startBoth starts the daemons with this configuration unless they run with it.
func (s *story) startBoth(ctx context.Context, c conf) error {
	for _, d := range []struct {
		*daemon
		config string
	}{{s.ha, s.haConfig(c)}, {s.mn, s.mnConfig(c)}} {
		if d.running() && d.daemon.config == d.config {
			continue
		}
		if d.running() {
			if err := d.end(); err != nil {
				return err
			}
		}
		if d.host == lab.MN {
			s.away(true)
		}
		s.say(d.host, "mip6d starts")
		if err := d.start(ctx, d.config); err != nil {
			return err
		}
	}
	return nil
}

// endBoth ends them in order, the node first: it deregisters.
func (s *story) endBoth() error {
	if err := s.mn.end(); err != nil {
		return err
	}
	s.away(false)
	return s.ha.end()
}

// waitRegistered waits until the node is registered with the care-of address (any
// with the zero Addr) and the agent has that binding; it returns the address.
func (s *story) waitRegistered(ctx context.Context, careOf netip.Addr, limit time.Duration) (netip.Addr, error) {
	what := "registration"
	if careOf.IsValid() {
		what += " of " + careOf.String()
	}
	var at netip.Addr
	err := wait(ctx, limit, what, func() error {
		n, err := s.mn.node(ctx)
		if err != nil {
			return notYet(err)
		}
		if n.State != "registered" || careOf.IsValid() && n.CareOf != careOf {
			return notYet(fmt.Errorf("the node is %s, care-of address %v, %s", n.State, n.CareOf, strings.Join([]string{n.Reason, n.StatusText}, " ")))
		}
		b, ok, err := s.ha.binding(ctx, s.plan.HoA)
		if err != nil || !ok || b.CareOf != n.CareOf {
			return notYet(fmt.Errorf("the agent's binding is %+v %v", b, err))
		}
		at = n.CareOf
		return nil
	})
	return at, err
}

// waitHome waits until the node is at home and the agent has no binding.
func (s *story) waitHome(ctx context.Context, limit time.Duration) error {
	return wait(ctx, limit, "the node at home", func() error {
		n, err := s.mn.node(ctx)
		if err != nil {
			return notYet(err)
		}
		if n.State != "home" && n.State != "at home" {
			return notYet(fmt.Errorf("the node is %s", n.State))
		}
		if _, ok, err := s.ha.binding(ctx, s.plan.HoA); err != nil || ok {
			return notYet(fmt.Errorf("the agent has a binding (%v)", err))
		}
		return nil
	})
}

// makeCertificates makes an authority with certificates for both hosts, and one
// for the node by an authority that nobody trusts.
func (s *story) makeCertificates() error {
	good, err := newAuthority(s.run, "story-ca")
	if err != nil {
		return err
	}
	rogue, err := newAuthority(s.run, "rogue-ca")
	if err != nil {
		return err
	}
	s.ca = good
	for _, c := range []struct {
		by        *authority
		name, dns string
		addr      netip.Addr
	}{{good, "mn", mnID, s.plan.HoA}, {good, "ha", haID, s.plan.HA}, {rogue, "rogue", mnID, s.plan.HoA}} {
		cert, key, err := c.by.issue(c.name, []string{c.dns}, c.addr)
		if err != nil {
			return err
		}
		s.certs[c.name] = [2]string{cert, key}
	}
	return nil
}
