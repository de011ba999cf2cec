package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/mip6/mip6/internal/control"
	"github.com/mip6/mip6/internal/doctor"
)

// doctor asks the daemon, which sees what it will work with, or looks itself. "doctor cn" looks at
// the host as that of a correspondent without IKE, which needs less.
func (c *cli) doctor(ctx context.Context) error {
	if len(c.args) > 0 {
		if c.args[0] != "cn" {
			return fmt.Errorf("%w: doctor: %q is not cn", errUsage, c.args[0])
		}
		return c.diagnosis(doctor.Check(ctx, doctor.Options{Correspondent: true}))
	}
	found, err := call[[]control.Finding](ctx, c, control.Request{Cmd: control.CmdDoctor})
	if err != nil {
		if !c.json {
			fmt.Fprintf(c.out, "(%v; looking without it)\n", err)
		}
		found = doctor.Check(ctx, doctor.Options{Ports: doctor.Ports})
	}
	return c.diagnosis(found)
}

func (c *cli) diagnosis(found []control.Finding) error {
	if err := show(c, found, (*cli).findingsText); err != nil {
		return err
	}
	if !doctor.Healthy(found) {
		return errWanting
	}
	return nil
}

func (c *cli) findingsText(found []control.Finding) {
	t := c.table("", "FEATURE", "DETAIL")
	for _, f := range found {
		mark := "ok"
		switch {
		case !f.OK && f.Needed:
			mark = "MISSING"
		case !f.OK:
			mark = "absent"
		}
		t.row(mark, f.Feature, f.Detail)
	}
	t.flush()
	head := true
	for _, f := range found {
		if f.Remedy == "" {
			continue
		}
		if head {
			fmt.Fprintln(c.out, "\nWhat to do:")
			head = false
		}
		fmt.Fprintf(c.out, "  %s: %s\n", f.Feature, f.Remedy)
	}
	if doctor.Healthy(found) {
		fmt.Fprintln(c.out, "\nThis host has what mip6 needs.")
	} else {
		fmt.Fprintln(c.out, "\nThis host lacks what mip6 needs (MISSING above).")
	}
}

func (c *cli) watch(ctx context.Context) error {
	return control.Watch(ctx, c.socket, nil, func(n control.Notice) error {
		if c.json {
			return json.NewEncoder(c.out).Encode(n)
		}
		line := n.Time.Local().Format("15:04:05.000") + "  " + n.Kind
		if n.Home != "" {
			line += "  " + n.Home
		}
		line += "  " + n.Text
		keys := make([]string, 0, len(n.Fields))
		for k := range n.Fields {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		for _, k := range keys {
			line += "  " + k + "=" + n.Fields[k]
		}
		_, err := fmt.Fprintln(c.out, line)
		return err
	})
}

func (c *cli) rekey(ctx context.Context) error {
	r, err := rekeyArgs(c.args)
	if err != nil {
		return err
	}
	got, err := call[control.RekeyResult](ctx, c, control.Request{Cmd: control.CmdRekey, Rekey: &r})
	if err != nil {
		return err
	}
	err = show(c, got, func(c *cli, r control.RekeyResult) {
		if r.Started {
			fmt.Fprintln(c.out, strings.TrimSpace("started "+r.Detail))
		} else {
			fmt.Fprintln(c.out, "not started: "+r.Detail)
		}
	})
	if err == nil && !got.Started {
		return errWanting
	}
	return err
}

// rekeyArgs reads "SPI" or "HOME NAME".
func rekeyArgs(args []string) (control.Rekey, error) {
	switch len(args) {
	case 1:
		spi, err := strconv.ParseUint(strings.TrimPrefix(args[0], "0x"), 16, 32)
		if err != nil || spi == 0 {
			return control.Rekey{}, fmt.Errorf("%w: rekey: %q is no SPI such as 0xc5959ac2", errUsage, args[0])
		}
		return control.Rekey{SPI: uint32(spi)}, nil
	case 2:
		home, err := netip.ParseAddr(args[0])
		if err != nil {
			return control.Rekey{}, fmt.Errorf("%w: rekey: %q is no home address", errUsage, args[0])
		}
		if !slices.Contains([]string{"mh", "payload", "ike"}, args[1]) {
			return control.Rekey{}, fmt.Errorf("%w: rekey: %q is none of mh, payload, ike", errUsage, args[1])
		}
		return control.Rekey{Home: home.String(), Name: args[1]}, nil
	}
	return control.Rekey{}, fmt.Errorf("%w: rekey wants an SPI, or a home address and a name", errUsage)
}
