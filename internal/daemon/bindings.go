package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/mip6/mip6/cn"
	"github.com/mip6/mip6/ha"
	"github.com/mip6/mip6/internal/config"
	"github.com/mip6/mip6/internal/control"
	"github.com/mip6/mip6/mn"
	"github.com/mip6/mip6/mn/optimise"
	"github.com/mip6/mip6/mobility"
	"github.com/mip6/mip6/xfrm"
)

var _ control.RouteHandler = (*handler)(nil)

// pageSize is how many entries an answer has at the most.
const pageSize = 1000

func limitOf(p control.Page) int {
	if p.Limit > 0 && p.Limit < pageSize {
		return p.Limit
	}
	return pageSize
}

var errCursor = errors.New("the page is not one that this daemon named")

// place is where a page of bindings begins: in a table ("mn", "ha", "cn"), at a cursor of its own.
func place(after string) (table string, cursor int, err error) {
	if after == "" {
		return "mn", 0, nil
	}
	table, n, _ := strings.Cut(after, " ")
	cursor, err = strconv.Atoi(n)
	if err != nil || cursor < 0 || table != "mn" && table != "ha" && table != "cn" {
		return "", 0, fmt.Errorf("bindings: %w", errCursor)
	}
	return table, cursor, nil
}

// Bindings lists what the peers of this host hold, or it for them: a mobile node's binding update list,
// the caches of home agent and correspondent.
func (h *handler) Bindings(ctx context.Context, p control.Page) (control.Bindings, error) {
	d := h.d
	table, cursor, err := place(p.After)
	if err != nil {
		return control.Bindings{}, err
	}
	out := control.Bindings{Bindings: []control.Binding{}}
	limit := limitOf(p)
	add := func(b control.Binding) { out.Bindings = append(out.Bindings, b) }
	spis := make(map[netip.Addr]xfrm.SPI)
	left := func() int { return limit - len(out.Bindings) }
	err = d.loop.Inspect(ctx, func() {
		if table == "mn" {
			list := d.updateList()
			for cursor < len(list) && left() > 0 {
				add(list[cursor])
				cursor++
			}
			if cursor < len(list) {
				out.Next = fmt.Sprint("mn ", cursor)
				return
			}
			table, cursor = "ha", 0
		}
		if table == "ha" {
			if d.ha != nil && left() <= 0 {
				out.Next = fmt.Sprint("ha ", cursor)
				return
			}
			if d.ha != nil {
				if cursor = d.ha.Page(cursor, left(), func(i ha.NodeInfo) {
					if i.State == ha.Bound || i.State == ha.Probing { // others have keys only
						add(agentBinding(i))
						spis[i.Home] = i.PayloadIn
					}
				}); cursor > 0 {
					out.Next = fmt.Sprint("ha ", cursor)
					return
				}
			}
			table, cursor = "cn", 0
		}
		if d.cn != nil {
			if left() <= 0 {
				out.Next = fmt.Sprint("cn ", cursor)
				return
			}
			if cursor = d.cn.Bindings(cursor, left(), func(i cn.BindingInfo) { add(peerBinding(i)) }); cursor > 0 {
				out.Next = fmt.Sprint("cn ", cursor)
			}
		}
	})
	d.tunnelUse(ctx, out.Bindings, spis)
	return out, err
}

// updateList is the binding update list of the mobile nodes here (RFC 6275 §11.1). It runs on the loop.
func (d *daemon) updateList() []control.Binding {
	var out []control.Binding
	for _, m := range d.mns {
		out = append(out, nodeBinding(m.Info()))
	}
	for _, o := range d.opts {
		for _, i := range o.Info() {
			if i.CareOf.IsValid() {
				out = append(out, routeBinding(i))
			}
		}
	}
	return out
}

func nodeBinding(i mn.Info) control.Binding {
	return control.Binding{Role: control.RoleMobileNode, Local: i.Home, Peer: i.HomeAgent, With: control.RoleHomeAgent,
		Home: i.Home, CareOf: i.CareOf, Identity: "(this node)", State: i.State.String(), Sequence: i.Seq,
		Remaining: remaining(i.Expires), KeyMobility: i.KeyMobility, Moves: int(i.Moves), LastMove: i.LastMove.AckAt,
		Auth: "ipsec", RefreshAt: i.RefreshAt, Registered: i.Since, Lifetime: control.Duration(i.Granted)}
}

func routeBinding(i optimise.Info) control.Binding {
	return control.Binding{Role: control.RoleMobileNode, Local: i.Home, Peer: i.Remote, With: control.RoleCorrespondent,
		Home: i.Home, CareOf: i.CareOf, State: i.State.String(), Sequence: i.Seq, Remaining: remaining(i.Expires),
		Moves: int(i.Moves), Auth: i.Auth, HomeNonce: i.HomeNonce, CareOfNonce: i.CareNonce,
		HomeToken: i.HomeToken, CareOfToken: i.CareToken, LastUsed: i.LastUsed, Packets: i.Packets, RefreshAt: i.RefreshAt}
}

func agentBinding(i ha.NodeInfo) control.Binding {
	return control.Binding{Role: control.RoleHomeAgent, Local: i.HomeAgent, Home: i.Home, CareOf: i.CareOf, Identity: i.Identity,
		State: i.State.String(), Sequence: i.Seq, Lifetime: control.Duration(i.Lifetime.Duration()), Remaining: remaining(i.Expires),
		KeyMobility: i.Flags&mobility.FlagKey != 0, Auth: "ipsec", Registered: i.Since, LastMove: i.LastMove, Moves: int(i.Moves)}
}

// tunnelUse adds how much the tunnels of bindings of the agent were used: of the newest pair of SAs.
func (d *daemon) tunnelUse(ctx context.Context, list []control.Binding, spis map[netip.Addr]xfrm.SPI) {
	for i := range list {
		b := &list[i]
		spi, ok := spis[b.Home]
		if !ok || spi == 0 || b.Role != control.RoleHomeAgent {
			continue
		}
		if sa, err := d.backend.Get(ctx, xfrm.ID{Dst: b.Local, SPI: spi, Proto: xfrm.ESP}); err == nil {
			b.LastUsed, b.Packets = sa.Stats.LastUsed, sa.Stats.Packets
		}
	}
}

func peerBinding(i cn.BindingInfo) control.Binding {
	return control.Binding{Role: control.RoleCorrespondent, Local: i.Local, Home: i.Home, CareOf: i.CareOf, State: "valid",
		Sequence: i.Seq, Lifetime: control.Duration(i.Lifetime), Remaining: remaining(i.Expires), Registered: i.Since,
		LastMove: i.LastMove, Moves: int(i.Moves), Auth: i.Auth.String(), HomeNonce: i.HomeNonce, CareOfNonce: i.CareOfNonce,
		LastUsed: i.LastUsed, Refreshing: i.Refreshing}
}

// RO lists the correspondents of the mobile nodes here, and why packets do not go directly.
func (h *handler) RO(ctx context.Context, p control.Page) (control.Routes, error) {
	d := h.d
	skip := 0
	if p.After != "" {
		var err error
		if skip, err = strconv.Atoi(p.After); err != nil || skip < 0 {
			return control.Routes{}, fmt.Errorf("ro: %w", errCursor)
		}
	}
	out := control.Routes{Routes: []control.Route{}}
	limit := limitOf(p)
	err := d.loop.Inspect(ctx, func() {
		n := 0
		for _, o := range d.opts {
			for _, i := range o.Info() {
				if n++; n <= skip {
					continue
				}
				if len(out.Routes) == limit {
					out.Next = strconv.Itoa(skip + limit)
					return
				}
				out.Routes = append(out.Routes, routeOf(i))
			}
		}
	})
	return out, err
}

func routeOf(i optimise.Info) control.Route {
	r := control.Route{Home: i.Home, Remote: i.Remote, State: i.State.String(), Why: i.Why, Since: i.Since, Auth: i.Auth,
		CareOf: i.CareOf, Sequence: i.Seq, Remaining: remaining(i.Expires), RefreshAt: i.RefreshAt,
		HomeToken: i.HomeToken, CareOfToken: i.CareToken, HomeNonce: i.HomeNonce, CareOfNonce: i.CareNonce,
		LastUsed: i.LastUsed, Packets: i.Packets, Failures: i.Failures, LastStatus: i.LastStatus, RetryAt: i.RetryAt, Moves: int(i.Moves)}
	if i.Protect != 0 {
		r.Protect = i.Protect.String()
	}
	return r
}

func correspondentOf(c *config.CN, s cn.Summary, n cn.Counters) *control.Correspondent {
	out := &control.Correspondent{Default: string(c.Default), Rules: len(c.Rules), Nodes: len(c.Nodes), Bindings: s.Bindings,
		MaxBindings: c.MaxBindings, MaxLifetime: control.Duration(c.MaxLifetime),
		HomeTests: n.HomeTests, CareOfTests: n.CareOfTests, TestsLimited: n.TestsLimited, Accepted: n.Accepted, Deleted: n.Deleted,
		Expired: n.Expired, BadAuth: n.BadAuthenticator, OldNonces: n.Nonces, BadSequence: n.Sequence, Prohibited: n.Prohibited,
		NoRoom: n.NoRoom, Malformed: n.Malformed, RefreshRequests: n.RefreshRequests, ErrorsSent: n.ErrorsSent,
		ErrorsLimited: n.ErrorsLimited, RouteErrors: n.RouteErrors}
	for _, p := range c.Addresses {
		out.Addresses = append(out.Addresses, p.String())
	}
	return out
}
