package linux

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/mip6/mip6/internal/host"
	"golang.org/x/sys/unix"
)

// Attributes of a rule (uapi linux/fib_rules.h).
const (
	fraSrc      = 2
	fraPriority = 6
	fraTable    = 15
	fraProtocol = 21
	frActTable  = 1
)

func ruleBody(r host.Rule) []byte {
	table := uint8(unix.RT_TABLE_UNSPEC)
	if r.Table < 256 {
		table = uint8(r.Table)
	}
	// Family, destination length, source length, TOS, table, reserved, reserved, action, flags
	b := []byte{unix.AF_INET6, 0, uint8(r.Src.Bits()), 0, table, 0, 0, frActTable, 0, 0, 0, 0}
	if r.Src.Bits() > 0 {
		b = appendAttrAddr(b, fraSrc, r.Src.Masked().Addr())
	}
	if r.Priority != 0 {
		b = appendAttr32(b, fraPriority, uint32(r.Priority))
	}
	b = appendAttr32(b, fraTable, uint32(r.Table))
	return appendAttr(b, fraProtocol, []byte{RouteProtocol})
}

func (h *Host) putRule(r host.Rule) error {
	if err := check6(r.Src); err != nil {
		return err
	}
	err := h.reqs.do(unix.RTM_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_EXCL, ruleBody(r))
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	return place(fmt.Sprintf("add rule from %v", r.Src), err)
}

// delRule removes a rule of ours. The kernel finds rules without looking at
// their protocol, so first see that ours is there.
func (h *Host) delRule(r host.Rule) error {
	if err := check6(r.Src); err != nil {
		return err
	}
	r.Src = r.Src.Masked()
	ours, err := h.dumps.rules()
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(ours, func(o host.Rule) bool {
		return o.Src == r.Src && o.Table == r.Table && (r.Priority == 0 || o.Priority == r.Priority)
	}) {
		return nil
	}
	err = h.reqs.do(unix.RTM_DELRULE, 0, ruleBody(r))
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return place(fmt.Sprintf("delete rule from %v", r.Src), err)
}

// rules lists our rules.
func (n *rtnl) rules() ([]host.Rule, error) {
	var out []host.Rule
	header := make([]byte, 12) // struct fib_rule_hdr
	header[0] = unix.AF_INET6
	err := n.dump(unix.RTM_GETRULE, unix.RTM_NEWRULE, header, func() { out = out[:0] }, func(b []byte) {
		if r, proto, ok := parseRule(b); ok && proto == RouteProtocol {
			out = append(out, r)
		}
	})
	return out, place("list rules", err)
}

// parseRule reads a rule message without its netlink header.
func parseRule(b []byte) (r host.Rule, proto uint8, ok bool) {
	if len(b) < 12 || b[0] != unix.AF_INET6 || b[2] > 128 || b[7] != frActTable {
		return r, 0, false
	}
	r.Table = int(b[4])
	src := netip.IPv6Unspecified()
	eachAttr(b[12:], func(typ uint16, v []byte) {
		switch typ {
		case fraSrc:
			src = attrAddr(v)
		case fraPriority:
			r.Priority = int(attr32(v))
		case fraTable:
			r.Table = int(attr32(v))
		case fraProtocol:
			if len(v) > 0 {
				proto = v[0]
			}
		}
	})
	r.Src = netip.PrefixFrom(src, int(b[2]))
	return r, proto, r.Src.IsValid()
}
