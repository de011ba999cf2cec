package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/mip6/mip6/internal/control"
)

func (c *cli) status(ctx context.Context) error {
	s, err := call[control.Status](ctx, c, control.Request{Cmd: control.CmdStatus})
	if err != nil {
		return err
	}
	return show(c, s, (*cli).statusText)
}

func (c *cli) section(name string) { fmt.Fprintf(c.out, "\n%s:\n", name) }

func (c *cli) line(format string, args ...any) {
	fmt.Fprintln(c.out, strings.TrimRight(fmt.Sprintf("  "+format, args...), " "))
}

func (c *cli) statusText(s control.Status) {
	fmt.Fprintf(c.out, "mip6d %s, process %d, up %s (since %s)\n", s.Version, s.PID, span(s.Uptime), s.Started.Local().Format("2006-01-02 15:04:05"))
	c.line("roles:       %s", dash(strings.Join(s.Roles, ", ")))
	c.line("config:      %s", dash(s.ConfigFile))
	host := fmt.Sprintf("%s, %s, %s", dash(s.Host.Name), dash(s.Host.Kernel), dash(s.Host.GoVersion))
	if s.Host.MemoryKiB > 0 {
		host += fmt.Sprintf(", %.1f MiB resident, %d goroutines", float64(s.Host.MemoryKiB)/1024, s.Host.Goroutines)
	}
	c.line("host:        %s", host)
	c.line("data plane:  %s (%s); %d states, %d policies", dash(s.DataPlane.Name), dash(s.DataPlane.Why), s.DataPlane.States, s.DataPlane.Policies)
	if len(s.DataPlane.Missing) > 0 {
		c.line("             lacks %s", strings.Join(s.DataPlane.Missing, ", "))
	}
	c.line("listening:   %s", dash(strings.Join(s.Listening, ", ")))
	if l := s.Ledger; l != nil {
		c.line("ledger:      %s: %d records, %s; %d found at the start", l.Dir, l.Records, size(uint64(l.Bytes)), l.Recovered)
		if l.Error != "" {
			c.line("             %s", l.Error)
		}
	}
	for _, w := range s.Warnings {
		c.line("warning:     %s", w)
	}
	for _, n := range s.Nodes {
		c.nodeText(n)
	}
	if s.Agent != nil {
		c.agentText(*s.Agent)
	}
	if s.Correspondent != nil {
		c.correspondentText(*s.Correspondent)
	}
	c.connsText(s.Conns)
	c.ikeText(s)
	if len(s.Moves) > 0 {
		c.section("Moves")
		c.movesText(s.Moves)
	}
	c.countersText(s)
}

func (c *cli) nodeText(n control.Node) {
	if n.Home.IsValid() {
		c.section("Mobile node " + n.Home.String())
	} else {
		c.section("Mobile node without a home address")
	}
	state := n.State
	if n.Reason != "" {
		state += ": " + n.Reason
	}
	c.line("%s", state)
	careOf := "care-of address " + addr(n.CareOf)
	if n.Interface != "" {
		careOf += " on " + n.Interface
	}
	c.line("%s, home agent %s", careOf, addr(n.HomeAgent))
	if n.HomeFrom == "agent" {
		c.line("home address given by the home agent")
	}
	if !n.Home.IsValid() {
		return
	}
	c.line("sequence %d, lifetime %s, %s left, refresh %s", n.Sequence, span(n.Lifetime), span(n.Remaining), c.in(n.RefreshAt))
	last := fmt.Sprintf("last acknowledgement: status %d", n.LastStatus)
	if n.StatusText != "" {
		last += " (" + n.StatusText + ")"
	}
	if n.LastStatus < 0 {
		last = "no acknowledgement yet"
	} else {
		last += ", " + c.ago(n.Registered)
	}
	c.line("%s", last)
	c.line("IKE follows a move (K): %s; DAD: %s; moves: %d", yes(n.KeyMobility), dash(n.DAD), n.Moves)
	if ro := n.RO; ro != nil {
		c.line("route optimization: %d correspondents of at most %d: %d directly, %d under way, %d by the tunnel, %d refused (mip6ctl ro)",
			ro.Total(), ro.MaxRemotes, ro.Optimised, ro.UnderWay, ro.Tunnelled, ro.Refused)
	}
}

func (c *cli) correspondentText(n control.Correspondent) {
	c.section("Correspondent node")
	whom := "all mobile nodes"
	if n.Default == "deny" {
		whom = "no mobile node"
	}
	if n.Rules > 0 {
		whom += fmt.Sprintf(" but for %d rules", n.Rules)
	}
	at := "all addresses"
	if len(n.Addresses) > 0 {
		at = strings.Join(n.Addresses, ", ")
	}
	c.line("answers %s at %s; %d nodes with keys of their own", whom, at, n.Nodes)
	c.line("%d bindings of at most %d, each for %s at most", n.Bindings, n.MaxBindings, span(n.MaxLifetime))
	c.line("tests answered: %d home, %d care-of; %d left unanswered for their rate", n.HomeTests, n.CareOfTests, n.TestsLimited)
	c.line("updates: %d accepted, %d bindings deleted, %d expired, %d refreshes asked for", n.Accepted, n.Deleted, n.Expired, n.RefreshRequests)
	c.line("refused: %d authenticator, %d old nonces, %d sequence, %d prohibited, %d no room, %d malformed",
		n.BadAuth, n.OldNonces, n.BadSequence, n.Prohibited, n.NoRoom, n.Malformed)
	c.line("binding errors: %d sent, %d not for their rate", n.ErrorsSent, n.ErrorsLimited)
	if n.RouteErrors > 0 {
		c.line("%d routes that the kernel did not take", n.RouteErrors)
	}
}

func (c *cli) agentText(a control.Agent) {
	c.section("Home agent " + addr(a.Address))
	c.line("home link %s, prefixes %s", dash(a.HomeLink), dash(strings.Join(a.Prefixes, ", ")))
	c.line("%d bindings of at most %d; %d nodes with keys", a.Bindings, a.MaxBindings, a.Authorised)
	c.line("home addresses by %s; DAD: %s; IKE follows a move (K): %s", dash(a.HomeFrom), dash(a.DAD), yes(a.KeyMobility))
	for _, r := range a.LastRefusals {
		c.line("refused %s: %s: %s", c.ago(r.Time), r.Who, r.Reason)
	}
}

func (c *cli) connsText(conns []control.Conn) {
	c.section("Connections")
	if len(conns) == 0 {
		c.line("none")
	}
	for _, n := range conns {
		c.line("%s: [%s]...[%s], %s...%s", n.Name, n.LocalID, strings.Join(n.RemoteIDs, ", "), n.LocalAuth, n.PeerAuth)
		if len(n.CAs) > 0 {
			c.line("  authorities: %s", strings.Join(n.CAs, "; "))
		}
		proposals := "IKE " + strings.Join(n.IKE, ", ") + "; ESP " + strings.Join(n.ESP, ", ")
		if len(n.AH) > 0 {
			proposals += "; AH " + strings.Join(n.AH, ", ")
		}
		c.line("  %s", proposals)
		for _, ch := range n.Children {
			c.line("  %s", ch)
		}
	}
}

func (c *cli) ikeText(s control.Status) {
	total := max(s.IKETotal, len(s.IKE))
	c.section(fmt.Sprintf("Security associations (%d up, %d half-open)", total, s.HalfOpen))
	if total == 0 {
		c.line("none")
	}
	for _, sa := range s.IKE {
		c.saText(sa)
	}
	if more := total - len(s.IKE); more > 0 {
		c.line("... and %d more", more)
	}
}

func (c *cli) saText(sa control.IKESA) {
	i, r := "", "*" // the star marks our own SPI
	if sa.Initiator {
		i, r = "*", ""
	}
	state := sa.State
	if !sa.Established.IsZero() {
		state += " " + c.ago(sa.Established)
	}
	c.line("%s: %s, %s[%s]...%s[%s]", sa.Conn, state, sa.Local, sa.LocalID, sa.Remote, sa.RemoteID)
	c.line("  IKE SPIs %016x_i%s %016x_r%s, rekey %s, ends %s, moved %d times", uint64(sa.SPIi), i, uint64(sa.SPIr), r, c.in(sa.RekeyAt), c.in(sa.ExpiresAt), sa.Moves)
	c.line("  IKE proposal %s", sa.Proposal)
	for _, ch := range sa.Children {
		c.line("  %s: %s, %s, %s SPIs %08x_i %08x_o, reqid %#x", ch.Name, ch.State, ch.Mode, ch.Proto, uint32(ch.SPIIn), uint32(ch.SPIOut), ch.ReqID)
		c.line("    %s, rekey %s, ends %s", ch.Proposal, c.in(ch.RekeyAt), c.in(ch.ExpiresAt))
		ends := ""
		if ch.LocalEnd != "" {
			ends = fmt.Sprintf(" (%s...%s)", ch.LocalEnd, ch.RemoteEnd)
		}
		c.line("    %s === %s%s", strings.Join(ch.Local, ", "), strings.Join(ch.Remote, ", "), ends)
		c.line("    in %s; out %s", c.usage(ch.In), c.usage(ch.Out))
	}
}

func (c *cli) usage(u control.Usage) string {
	s := fmt.Sprintf("%s in %d packets, last use %s", size(u.Bytes), u.Packets, c.ago(u.LastUsed))
	if u.Replays > 0 {
		s += fmt.Sprintf(", %d replayed", u.Replays)
	}
	if u.BadICV > 0 {
		s += fmt.Sprintf(", %d forged or corrupted", u.BadICV)
	}
	return s
}

func (c *cli) countersText(s control.Status) {
	if len(s.Counters) > 0 {
		c.section("Counters")
		t := c.table()
		for _, n := range s.Counters {
			t.row("  "+n.Name, n.Value)
		}
		t.flush()
	}
	if len(s.XfrmStat) > 0 {
		c.section("Packets that the kernel's IPsec dropped (/proc/net/xfrm_stat; in brackets since the daemon started)")
		t := c.table()
		for _, n := range s.XfrmStat {
			t.row("  "+n.Name, fmt.Sprintf("%d (%d)", n.Value, n.Delta), n.Meaning)
		}
		t.flush()
	}
}
