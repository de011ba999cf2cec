package main

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/mip6/mip6/internal/control"
)

func (c *cli) bindings(ctx context.Context) error {
	all := control.Bindings{Bindings: []control.Binding{}}
	req := control.Request{Cmd: control.CmdBindings}
	for {
		b, err := call[control.Bindings](ctx, c, req)
		if err != nil {
			return err
		}
		all.Bindings = append(all.Bindings, b.Bindings...)
		if b.Next == "" || b.Next == req.Page.After {
			return show(c, all, (*cli).bindingsText)
		}
		req.Page.After = b.Next
	}
}

// bindingsText prints a table for each role of this host that has any.
func (c *cli) bindingsText(b control.Bindings) {
	if len(b.Bindings) == 0 {
		fmt.Fprintln(c.out, "no bindings")
		return
	}
	byRole := map[string][]control.Binding{}
	for _, b := range b.Bindings {
		role := b.Role
		if role == "" {
			role = control.RoleHomeAgent
		}
		byRole[role] = append(byRole[role], b)
	}
	gap := ""
	for _, r := range []struct {
		role, head string
		text       func([]control.Binding)
	}{
		{control.RoleMobileNode, "Binding update list of the mobile node", c.updateListText},
		{control.RoleHomeAgent, "Binding cache of the home agent", c.agentCacheText},
		{control.RoleCorrespondent, "Binding cache of the correspondent", c.correspondentCacheText},
	} {
		if list := byRole[r.role]; len(list) > 0 {
			fmt.Fprintf(c.out, "%s%s:\n", gap, r.head)
			gap = "\n"
			r.text(list)
		}
	}
}

func (c *cli) agentCacheText(list []control.Binding) {
	t := c.table("HOME ADDRESS", "CARE-OF ADDRESS", "STATE", "SEQ", "LIFETIME", "LEFT", "K", "AGE", "MOVES", "LAST MOVE", "LAST USE", "IDENTITY")
	for _, b := range list {
		t.row(b.Home, b.CareOf, b.State, b.Sequence, span(b.Lifetime), span(b.Remaining), yes(b.KeyMobility), c.age(b.Registered), b.Moves,
			c.ago(b.LastMove), c.ago(b.LastUsed), b.Identity)
	}
	t.flush()
}

func (c *cli) correspondentCacheText(list []control.Binding) {
	t := c.table("HOME ADDRESS", "CARE-OF ADDRESS", "OUR ADDRESS", "STATE", "SEQ", "LIFETIME", "LEFT", "AGE", "MOVES", "LAST USE", "PACKETS", "PROVED BY")
	for _, b := range list {
		t.row(b.Home, b.CareOf, addr(b.Local), b.State, b.Sequence, span(b.Lifetime), span(b.Remaining), c.age(b.Registered), b.Moves,
			c.ago(b.LastUsed), count(b.Packets), proof(b.Auth, b.HomeNonce, b.CareOfNonce, b.Identity))
	}
	t.flush()
}

func (c *cli) updateListText(list []control.Binding) {
	t := c.table("PEER", "ROLE", "HOME ADDRESS", "CARE-OF ADDRESS", "STATE", "SEQ", "LEFT", "REFRESH", "AGE", "MOVES", "LAST USE",
		"HOME TOKEN", "CARE-OF TOKEN", "PROVED BY")
	for _, b := range list {
		t.row(addr(b.Peer), dash(b.With), b.Home, addr(b.CareOf), b.State, b.Sequence, span(b.Remaining), c.in(b.RefreshAt), c.age(b.Registered),
			b.Moves, c.ago(b.LastUsed), c.ends(b.HomeToken), c.ends(b.CareOfToken), proof(b.Auth, b.HomeNonce, b.CareOfNonce, ""))
	}
	t.flush()
}

// proof tells how updates are proved, with the nonce indices of return routability.
func proof(auth string, home, careOf uint16, identity string) string {
	switch {
	case home != 0 || careOf != 0:
		return fmt.Sprintf("%s (nonces %d, %d)", auth, home, careOf)
	case identity != "":
		return strings.TrimSpace(auth + " (" + identity + ")")
	}
	return dash(auth)
}

// age tells for how long something has been.
func (c *cli) age(since time.Time) string {
	if since.IsZero() {
		return "-"
	}
	return span(control.Duration(max(0, c.now.Sub(since))))
}

// ends tells for how long a token is good.
func (c *cli) ends(t time.Time) string {
	switch {
	case t.IsZero():
		return "-"
	case t.After(c.now):
		return span(control.Duration(t.Sub(c.now))) + " left"
	}
	return "over"
}

// count prints a number that is zero where nobody counted.
func count(n uint64) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprint(n)
}

func (c *cli) ro(ctx context.Context) error {
	all := control.Routes{Routes: []control.Route{}}
	req := control.Request{Cmd: control.CmdRO}
	for {
		r, err := call[control.Routes](ctx, c, req)
		if err != nil {
			return err
		}
		all.Routes = append(all.Routes, r.Routes...)
		if r.Next == "" || r.Next == req.Page.After {
			return show(c, all, (*cli).routesText)
		}
		req.Page.After = r.Next
	}
}

// routesText prints a table for each mobile node, in the order in which they come.
func (c *cli) routesText(r control.Routes) {
	if len(r.Routes) == 0 {
		fmt.Fprintln(c.out, "no correspondents")
		return
	}
	for i := 0; i < len(r.Routes); {
		home := r.Routes[i].Home
		if i > 0 {
			fmt.Fprintln(c.out)
		}
		fmt.Fprintf(c.out, "Correspondents of %s:\n", addr(home))
		i += c.routesOf(home, r.Routes[i:])
	}
}

// routesOf prints those at the front of routes that belong to home, and says how many.
func (c *cli) routesOf(home netip.Addr, routes []control.Route) int {
	t := c.table("CORRESPONDENT", "STATE", "SINCE", "CARE-OF ADDRESS THERE", "LEFT", "REFRESH", "HOME TOKEN", "CARE-OF TOKEN", "LAST USE", "PACKETS",
		"PROVED BY", "PROTECTED", "NOTES")
	n := 0
	for ; n < len(routes) && routes[n].Home == home; n++ {
		r := routes[n]
		left := "-"
		if r.CareOf.IsValid() {
			left = span(r.Remaining)
		}
		t.row(r.Remote, r.State, c.ago(r.Since), addr(r.CareOf), left, c.in(r.RefreshAt), c.ends(r.HomeToken), c.ends(r.CareOfToken),
			c.ago(r.LastUsed), r.Packets, proof(r.Auth, r.HomeNonce, r.CareOfNonce, ""), dash(r.Protect), c.routeNotes(r))
	}
	t.flush()
	return n
}

// routeNotes tell why packets do not go directly, and what comes next.
func (c *cli) routeNotes(r control.Route) string {
	var notes []string
	if r.Why != "" {
		notes = append(notes, r.Why)
	}
	if r.LastStatus > 0 {
		notes = append(notes, fmt.Sprintf("status %d", r.LastStatus))
	}
	if r.Failures > 0 {
		notes = append(notes, fmt.Sprintf("failed %s", times(r.Failures)))
	}
	if !r.RetryAt.IsZero() {
		notes = append(notes, "again "+c.in(r.RetryAt))
	}
	return strings.Join(notes, ", ")
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}
