package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strconv"
	"time"

	"github.com/mip6/mip6/ike/message"
	"github.com/mip6/mip6/internal/control"
	"github.com/mip6/mip6/internal/couple"
	"github.com/mip6/mip6/internal/doctor"
	"github.com/mip6/mip6/internal/ledger"
	"github.com/mip6/mip6/mobility/protect"
	"github.com/mip6/mip6/xfrm"
)

type ikeSelector = message.Selector

func remaining(t time.Time) control.Duration {
	if t.IsZero() {
		return 0
	}
	return control.Duration(max(0, time.Until(t)))
}

// errPage ends a dump when a page is full.
var errPage = errors.New("page is full")

// SAs lists the states and policies in the databases.
func (h *handler) SAs(ctx context.Context, p control.Page) (control.SAs, error) {
	limit := pageSize
	if p.Limit > 0 && p.Limit < limit {
		limit = p.Limit
	}
	skip := 0
	if p.After != "" {
		var err error
		if skip, err = strconv.Atoi(p.After); err != nil || skip < 0 {
			return control.SAs{}, errors.New("sas: the page is not one that this daemon named")
		}
	}
	out := control.SAs{SAs: []control.SA{}}
	n := 0
	err := h.d.backend.Dump(ctx, xfrm.Filter{SAs: true, Policies: true}, func(o xfrm.Object) error {
		if n++; n <= skip {
			return nil
		}
		if n > skip+limit {
			return errPage
		}
		switch o := o.(type) {
		case xfrm.SA:
			sa := saOf(o)
			sa.Ours = sa.Ours || h.d.journal.has(ledger.KindSA, ledger.StateKey(o.ID()))
			out.SAs = append(out.SAs, sa)
		case xfrm.Policy:
			p := policyOf(o)
			p.Ours = p.Ours || h.d.journal.has(ledger.KindPolicy, ledger.PolicyKey(o.ID()))
			out.Policies = append(out.Policies, p)
		}
		return nil
	})
	if errors.Is(err, errPage) {
		out.Next, err = strconv.Itoa(skip+limit), nil
	}
	return out, err
}

func saOf(sa xfrm.SA) control.SA {
	alg := sa.AEAD.Name
	if alg == "" {
		alg = sa.Crypt.Name + " " + sa.Auth.Name
	}
	if sa.Mode == xfrm.RouteOpt {
		alg = ""
	}
	return control.SA{Src: sa.Src, Dst: sa.Dst, Proto: sa.Proto.String(), SPI: control.Hex32(sa.SPI), Mode: sa.Mode.String(),
		ReqID: uint32(sa.ReqID), CareOf: sa.CareOf, Alg: alg, Ours: protect.Owned(sa.ReqID), Larval: sa.Larval,
		Window: sa.Replay.Window, Seq: sa.Replay.Seq, OSeq: sa.Replay.OSeq, Usage: usageOf(sa)}
}

func policyOf(p xfrm.Policy) control.Policy {
	out := control.Policy{Selector: p.Sel.String(), Dir: p.Dir.String(), Priority: p.Priority, Action: "allow"}
	if p.Block {
		out.Action = "block"
	}
	for _, t := range p.Templates {
		text := fmt.Sprintf("%v %v %v -> %v reqid %d", t.Proto, t.Mode, t.Src, t.Dst, t.ReqID)
		if t.Optional {
			text += " optional"
		}
		out.Templates = append(out.Templates, text)
		out.Ours = out.Ours || protect.Owned(t.ReqID)
	}
	return out
}

// Doctor tells what the host has and lacks.
func (h *handler) Doctor(ctx context.Context) ([]control.Finding, error) {
	return doctor.Check(ctx, doctor.Options{Correspondent: h.d.cfg.MN == nil && h.d.cfg.HA == nil && len(h.d.cfg.Peers) == 0}), nil
}

// Rekey gives a child, or an IKE SA, new keys now.
func (h *handler) Rekey(ctx context.Context, r control.Rekey) (control.RekeyResult, error) {
	v, err := h.look(ctx)
	if err != nil {
		return control.RekeyResult{}, err
	}
	home, err := homeOf(r)
	if err != nil {
		return control.RekeyResult{}, err
	}
	for _, sa := range v.sas {
		mine := !home.IsValid()
		for _, c := range sa.Children {
			mine = mine || oneAddr(c.Child) == home
		}
		if !mine {
			continue
		}
		if r.Name == "ike" {
			h.d.loop.Post(couple.Rekey{SA: sa.SA})
			return control.RekeyResult{Started: true, Detail: fmt.Sprintf("IKE SA %016x", uint64(sa.SA))}, nil
		}
		for _, c := range sa.Children {
			if r.SPI != 0 && (c.Child.SPIIn == r.SPI || c.Child.SPIOut == r.SPI) || r.SPI == 0 && c.Child.Name == r.Name {
				h.d.loop.Post(couple.Rekey{SPI: xfrm.SPI(c.Child.SPIIn)})
				return control.RekeyResult{Started: true, Detail: fmt.Sprintf("child %s, inbound SPI 0x%08x", c.Child.Name, c.Child.SPIIn)}, nil
			}
		}
	}
	return control.RekeyResult{}, errors.New("rekey: there is no such child (mip6ctl status lists them)")
}

func homeOf(r control.Rekey) (netip.Addr, error) {
	if r.Home == "" {
		return netip.Addr{}, nil
	}
	a, err := netip.ParseAddr(r.Home)
	if err != nil {
		return a, fmt.Errorf("rekey: %q is no home address", r.Home)
	}
	return a, nil
}

// counters lists every counter of the machines by its name.
func counters(d *daemon, v view) []control.Counter {
	var out []control.Counter
	out = appendCounters(out, "ike.", reflect.ValueOf(v.ike))
	if d.ha != nil {
		out = appendCounters(out, "ha.", reflect.ValueOf(v.ha))
	}
	if d.cn != nil {
		out = appendCounters(out, "cn.", reflect.ValueOf(v.cnCount))
	}
	for _, n := range v.nodes {
		out = appendCounters(out, "mn.", reflect.ValueOf(n.Counters))
	}
	for _, c := range v.optCounts {
		out = appendCounters(out, "optimise.", reflect.ValueOf(c))
	}
	st := d.host.Stats()
	return append(out,
		control.Counter{Name: "host.BadMH", Value: st.BadMH.Load()},
		control.Counter{Name: "host.BadAdverts", Value: st.BadAdverts.Load()},
		control.Counter{Name: "host.OtherErrors", Value: st.OtherErrors.Load()},
		control.Counter{Name: "host.Overruns", Value: st.Overruns.Load()},
		control.Counter{Name: "loop.dropped", Value: d.loop.Dropped()})
}

// appendCounters takes the numbers of a plain struct; an array becomes a counter
// for each entry above zero.
func appendCounters(out []control.Counter, prefix string, v reflect.Value) []control.Counter {
	for i := range v.NumField() {
		name := prefix + v.Type().Field(i).Name
		switch f := v.Field(i); f.Kind() {
		case reflect.Uint64:
			out = append(out, control.Counter{Name: name, Value: f.Uint()})
		case reflect.Int:
			out = append(out, control.Counter{Name: name, Value: uint64(f.Int())})
		case reflect.Array:
			for j := range f.Len() {
				if n := f.Index(j).Uint(); n > 0 {
					out = append(out, control.Counter{Name: fmt.Sprintf("%s[%d]", name, j), Value: n})
				}
			}
		}
	}
	return out
}
