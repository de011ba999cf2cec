package story

import (
	"fmt"
	"net/netip"
	"sort"
	"strings"

	"github.com/mip6/mip6/integration/lab"
)

// checkMigrations holds the MIGRATE messages of both kernels in a move against what
// RFC 6275 and the seed's log ask for: one for each policy, each with KMADDRESS.
func (s *story) checkMigrations(m move, r *moved) {
	hoa, ha, any := s.plan.HoA.String()+"/128", s.plan.HA.String()+"/128", "::/0"
	mh := func(src, dst, dir string) string { return src + " → " + dst + " MH " + dir }
	want := map[string][]string{
		lab.MN: {mh(hoa, ha, "out"), mh(ha, hoa, "in"), hoa + " → " + any + " out", any + " → " + hoa + " in"},
		lab.HA: {mh(ha, hoa, "out"), mh(hoa, ha, "in"), any + " → " + hoa + " out", hoa + " → " + any + " in", hoa + " → " + any + " fwd"},
	}
	local := map[string][2]netip.Addr{lab.MN: {m.to, s.plan.HA}, lab.HA: {s.plan.HA, m.to}}
	for _, host := range []string{lab.MN, lab.HA} {
		var have, faults []string
		for _, x := range s.mon[host].Migrations(r.window.From, r.window.To) {
			name := migrationName(x)
			have = append(have, name)
			if x.KM == nil {
				faults = append(faults, name+" has no KMADDRESS")
			} else if x.KM.Local != local[host][0].String() || x.KM.Remote != local[host][1].String() {
				faults = append(faults, fmt.Sprintf("%s has KMADDRESS %s ... %s", name, x.KM.Local, x.KM.Remote))
			}
			for _, mv := range x.Moves {
				if mv.NewSrc != m.to.String() && mv.NewDst != m.to.String() {
					faults = append(faults, fmt.Sprintf("%s goes to %s → %s", name, mv.NewSrc, mv.NewDst))
				}
			}
		}
		ok := len(faults) == 0 && same(have, want[host])
		detail := fmt.Sprintf("%d MIGRATE, KMADDRESS %v ... %v: %s", len(have), local[host][0], local[host][1], strings.Join(have, "; "))
		if !ok {
			detail = fmt.Sprintf("%s; wanted: %s; %s", strings.Join(have, "; "), strings.Join(want[host], "; "), strings.Join(faults, "; "))
		}
		s.check(m.name+": one set of MIGRATE with KMADDRESS at "+host, ok, "%s", detail)
	}
}

func migrationName(x lab.XfrmMessage) string {
	if x.Selector == nil {
		return "MIGRATE cut short"
	}
	proto := ""
	switch x.Selector.Proto {
	case 0:
	case protoMH:
		proto = " MH"
	default:
		proto = fmt.Sprintf(" protocol %d", x.Selector.Proto)
	}
	return x.Selector.Src + " → " + x.Selector.Dst + proto + " " + x.Dir
}

// same tells whether two lists hold the same, in whatever order.
func same(a, b []string) bool {
	a, b = append([]string(nil), a...), append([]string(nil), b...)
	sort.Strings(a)
	sort.Strings(b)
	return strings.Join(a, "\n") == strings.Join(b, "\n")
}
