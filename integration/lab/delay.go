package lab

import (
	"fmt"
	"time"

	"github.com/vishvananda/netlink"
)

// DelayHA delays every packet between core and ha by d each way, from now on; 0 ends
// it. So the way by the home agent and the direct one between a foreign link and the
// correspondent can be told apart by their round trips.
func (l *Lab) DelayHA(d time.Duration) error {
	return l.delay([][2]string{{Core, "ha0"}, {HA, HACoreIface}}, d)
}

// delay sets netem on ends of wires, {host, interface} each; 0 takes it away.
func (l *Lab) delay(ends [][2]string, d time.Duration) error {
	for _, end := range ends {
		h := l.Host(end[0])
		link, err := h.NL.LinkByName(end[1])
		if err != nil {
			return err
		}
		q := netlink.NewNetem(netlink.QdiscAttrs{LinkIndex: link.Attrs().Index, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT},
			netlink.NetemQdiscAttrs{Latency: uint32(d.Microseconds()), Limit: 20000})
		if d == 0 {
			err = h.NL.QdiscDel(q)
		} else {
			err = h.NL.QdiscReplace(q)
		}
		if err != nil {
			return fmt.Errorf("lab: delay on %s %s: %w (module sch_netem?)", end[0], end[1], err)
		}
	}
	return nil
}
