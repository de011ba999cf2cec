package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/mip6/mip6/internal/control"
)

func (c *cli) sas(ctx context.Context) error {
	all := control.SAs{SAs: []control.SA{}}
	req := control.Request{Cmd: control.CmdSAs}
	for {
		s, err := call[control.SAs](ctx, c, req)
		if err != nil {
			return err
		}
		all.SAs = append(all.SAs, s.SAs...)
		all.Policies = append(all.Policies, s.Policies...)
		if s.Next == "" || s.Next == req.Page.After {
			return show(c, all, (*cli).sasText)
		}
		req.Page.After = s.Next
	}
}

func (c *cli) sasText(s control.SAs) {
	if len(s.SAs) == 0 {
		fmt.Fprintln(c.out, "no SAs")
	} else {
		t := c.table("SOURCE", "DESTINATION", "PROTO", "SPI", "MODE", "REQID", "ALGORITHM", "BYTES", "PACKETS", "LAST USE", "NOTES")
		for _, sa := range s.SAs {
			t.row(sa.Src, sa.Dst, sa.Proto, sa.SPI, sa.Mode, fmt.Sprintf("%#x", sa.ReqID), dash(sa.Alg), size(sa.Usage.Bytes),
				sa.Usage.Packets, c.ago(sa.Usage.LastUsed), saNotes(sa))
		}
		t.flush()
	}
	if len(s.Policies) == 0 {
		return
	}
	fmt.Fprintln(c.out)
	t := c.table("DIR", "PRIO", "SELECTOR", "ACTION", "TEMPLATES", "NOTES")
	for _, p := range s.Policies {
		t.row(p.Dir, p.Priority, p.Selector, p.Action, dash(strings.Join(p.Templates, "; ")), foreign(p.Ours))
	}
	t.flush()
}

func saNotes(sa control.SA) string {
	var notes []string
	if sa.CareOf.IsValid() {
		notes = append(notes, "care-of "+sa.CareOf.String())
	}
	if sa.Larval {
		notes = append(notes, "waits for keys")
	}
	if sa.Usage.Replays > 0 {
		notes = append(notes, fmt.Sprintf("%d replayed", sa.Usage.Replays))
	}
	if sa.Usage.BadICV > 0 {
		notes = append(notes, fmt.Sprintf("%d forged or corrupted", sa.Usage.BadICV))
	}
	if n := foreign(sa.Ours); n != "" {
		notes = append(notes, n)
	}
	return strings.Join(notes, ", ")
}

func foreign(ours bool) string {
	if ours {
		return ""
	}
	return "not ours"
}

func (c *cli) migrations(ctx context.Context) error {
	m, err := call[control.Migrations](ctx, c, control.Request{Cmd: control.CmdMigrations})
	if err != nil {
		return err
	}
	return show(c, m, func(c *cli, m control.Migrations) { c.movesText(m.Moves) })
}

// movesText prints moves; the times of the steps count from the first sign of the move.
func (c *cli) movesText(moves []control.Move) {
	if len(moves) == 0 {
		fmt.Fprintln(c.out, "no moves")
		return
	}
	t := c.table("START", "ROLE", "KIND", "HOME ADDRESS", "FROM", "TO", "LINK", "RA", "CARE-OF", "MIGRATED", "BU", "BA", "DONE", "IKE", "NOTES")
	for _, m := range moves {
		notes := m.Detail
		if m.Migrations > 0 {
			notes = strings.TrimSuffix(fmt.Sprintf("%d MIGRATE%s; %s", m.Migrations, km(m.KMAddress), notes), "; ")
		}
		if m.Status != 0 {
			notes = fmt.Sprintf("status %d; %s", m.Status, notes)
		}
		t.row(m.Start.Local().Format("15:04:05.000"), m.Role, m.Kind, addr(m.Home), addr(m.From), addr(m.To),
			ms(m.LinkUp), ms(m.RA), ms(m.CareOf), ms(m.Migrated), ms(m.BUSent), ms(m.BAReceived), ms(m.Done), m.IKE, notes)
	}
	t.flush()
}

func km(with bool) string {
	if with {
		return " with KMADDRESS"
	}
	return ""
}
