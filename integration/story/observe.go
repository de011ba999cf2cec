package story

import (
	"bufio"
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"github.com/mip6/mip6/integration/lab"
)

// capture is the path of HOST-IFACE.pcapng.
func (s *story) capture(name string) string { return filepath.Join(s.o.Dir, name+".pcapng") }

// seen are the packets of a capture in a window that a filter wants.
func (s *story) seen(name string, w Window, want func(lab.Seen) bool) ([]lab.Seen, error) {
	f := s.follow[name]
	if f == nil {
		f = lab.Follow(s.capture(name))
		s.follow[name] = f
	}
	all, err := f.Between(w.From, w.To)
	var out []lab.Seen
	for _, p := range all {
		if want(p) {
			out = append(out, p)
		}
	}
	return out, err
}

// ikeMessages counts the IKE messages in a window: those that the node's and the
// agent's own interfaces carried, and how many any capture holds.
func (s *story) ikeMessages(w Window) (n int, where string, err error) {
	var places []string
	for _, f := range s.caps.Files() {
		name := strings.TrimSuffix(filepath.Base(f), ".pcapng")
		found, err := s.seen(name, w, lab.Seen.IsIKE)
		if err != nil {
			return 0, "", err
		}
		if len(found) > 0 {
			places = append(places, fmt.Sprintf("%s %d", name, len(found)))
			n = max(n, len(found))
		}
	}
	if n == 0 {
		return 0, fmt.Sprintf("no packet on UDP 500 or 4500 in %d captures", len(s.caps.Files())), nil
	}
	return n, strings.Join(places, ", "), nil
}

// isBU and isBA know the protected messages by what is outside ESP: the home address
// option, and the type 2 routing header.
func isBU(hoa netip.Addr) func(lab.Seen) bool {
	return func(p lab.Seen) bool { return p.HomeAddr == hoa && p.Proto == protoESP }
}

func isBA(hoa netip.Addr) func(lab.Seen) bool {
	return func(p lab.Seen) bool { return p.Type2 == hoa && p.Proto == protoESP }
}

const (
	protoESP = 50
	protoMH  = 135
	icmpRA   = 134
	icmpNS   = 135
)

// state is one IPsec state as `ip xfrm state` shows it.
type state struct {
	Src, Dst netip.Addr
	Proto    string
	SPI      string
	ReqID    string
	Mode     string
	Text     string
}

// states reads a host's states.
func (s *story) states(ctx context.Context, host string) ([]state, error) {
	out, err := s.lab.Host(host).Output(ctx, "ip", "xfrm", "state")
	if err != nil {
		return nil, err
	}
	return parseStates(out), nil
}

func parseStates(text string) []state {
	var all []state
	for sc := bufio.NewScanner(strings.NewReader(text)); sc.Scan(); {
		line := sc.Text()
		f := strings.Fields(line)
		switch {
		case strings.HasPrefix(line, "src ") && len(f) >= 4:
			src, _ := netip.ParseAddr(f[1])
			dst, _ := netip.ParseAddr(f[3])
			all = append(all, state{Src: src, Dst: dst})
		case len(all) > 0 && len(f) > 1 && f[0] == "proto":
			x := &all[len(all)-1]
			for i := 0; i+1 < len(f); i++ {
				switch f[i] {
				case "proto":
					x.Proto = f[i+1]
				case "spi":
					x.SPI = f[i+1]
				case "reqid":
					x.ReqID = f[i+1]
				case "mode":
					x.Mode = f[i+1]
				}
			}
		}
		if len(all) > 0 {
			all[len(all)-1].Text += line + "\n"
		}
	}
	return all
}

// spis are the ESP SPIs of a host with the mode, each once, sorted.
func spis(all []state) []string {
	set := map[string]bool{}
	for _, x := range all {
		if x.Proto == "esp" {
			set[x.Mode+" "+x.SPI] = true
		}
	}
	var out []string
	for k := range set {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}

// keys is what must stay over a move: the ESP SPIs in the kernel and the SPIs of
// the IKE SA, of both hosts.
type keys struct{ esp, ike string }

func (k keys) String() string { return "ESP " + k.esp + "; IKE " + k.ike }

func (s *story) keys(ctx context.Context) (k keys, err error) {
	for _, d := range []*daemon{s.mn, s.ha} {
		all, err := s.states(ctx, d.host)
		if err != nil {
			return k, err
		}
		k.esp += d.host + " " + strings.Join(spis(all), ", ") + "; "
		st, err := d.status(ctx)
		if err != nil {
			return k, err
		}
		for _, sa := range st.IKE {
			if sa.State == "established" {
				k.ike += fmt.Sprintf("%s %v/%v; ", d.host, sa.SPIi, sa.SPIr)
			}
		}
	}
	return k, nil
}

// ikeEnds are the ends of a daemon's IKE SA.
func (d *daemon) ikeEnds(ctx context.Context) (local, remote netip.Addr, err error) {
	st, err := d.status(ctx)
	if err != nil {
		return local, remote, err
	}
	for _, sa := range st.IKE {
		if sa.State == "established" {
			return sa.Local.Addr(), sa.Remote.Addr(), nil
		}
	}
	return local, remote, fmt.Errorf("mip6d on %s has no IKE SA that is established", d.host)
}

// gone waits until no ESP state of either host has the address.
func (s *story) gone(ctx context.Context, a netip.Addr, limit time.Duration) error {
	return wait(ctx, limit, "no ESP state with "+a.String(), func() error {
		for _, host := range []string{lab.MN, lab.HA} {
			all, err := s.states(ctx, host)
			if err != nil {
				return err
			}
			for _, x := range all {
				if x.Proto == "esp" && (x.Src == a || x.Dst == a) {
					return notYet(fmt.Errorf("%s has %v → %v spi %s", host, x.Src, x.Dst, x.SPI))
				}
			}
		}
		return nil
	})
}

// stat is a counter of a host's /proc/net/xfrm_stat.
func (s *story) stats(ctx context.Context, host string) (lab.Dump, error) {
	out, err := s.lab.Host(host).Output(ctx, "cat", "/proc/net/xfrm_stat")
	return lab.Dump{"xfrm_stat": out}, err
}

// risen names the counters that rose.
func risen(before, after lab.Dump) string {
	var up []string
	for _, line := range strings.Split(after["xfrm_stat"], "\n") {
		f := strings.Fields(line)
		if len(f) == 2 {
			if d := after.Stat(f[0]) - before.Stat(f[0]); d > 0 {
				up = append(up, fmt.Sprintf("%s +%d", f[0], d))
			}
		}
	}
	if len(up) == 0 {
		return "no counter rose"
	}
	return strings.Join(up, ", ")
}
