package main

import (
	"fmt"
	"io"
	"net/netip"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/mip6/mip6/internal/control"
)

// table prints aligned columns.
type table struct {
	w    *tabwriter.Writer
	text *strings.Builder
	out  io.Writer
}

func (c *cli) table(head ...string) table {
	text := new(strings.Builder)
	t := table{tabwriter.NewWriter(text, 0, 0, 2, ' ', 0), text, c.out}
	if len(head) > 0 {
		fmt.Fprintln(t.w, strings.Join(head, "\t"))
	}
	return t
}

func (t table) row(cells ...any) {
	for i, v := range cells {
		if i > 0 {
			fmt.Fprint(t.w, "\t")
		}
		fmt.Fprint(t.w, v)
	}
	fmt.Fprintln(t.w)
}

// flush prints what was collected. Empty cells at the end of a line leave no blanks.
func (t table) flush() {
	t.w.Flush()
	for line := range strings.Lines(t.text.String()) {
		fmt.Fprintln(t.out, strings.TrimRight(line, " \n"))
	}
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func addr(a netip.Addr) string {
	if !a.IsValid() {
		return "-"
	}
	return a.String()
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// span prints a time in its two greatest units: "54m10s", "3d4h".
func span(d control.Duration) string {
	v := time.Duration(d)
	switch {
	case v < 0:
		return "-" + span(-d)
	case v == 0:
		return "0s"
	case v < time.Second:
		return v.Round(time.Millisecond).String()
	case v < time.Minute:
		return v.Round(100 * time.Millisecond).String()
	case v < time.Hour:
		return v.Round(time.Second).String()
	case v < 24*time.Hour:
		v = v.Round(time.Minute)
		return fmt.Sprintf("%dh%dm", v/time.Hour, v%time.Hour/time.Minute)
	}
	v = v.Round(time.Hour)
	return fmt.Sprintf("%dd%dh", v/(24*time.Hour), v%(24*time.Hour)/time.Hour)
}

// ms prints a step of a move in milliseconds.
func ms(d control.Duration) string {
	if d == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1fms", float64(d)/float64(time.Millisecond))
}

// ago tells how long ago t was; "-" for never.
func (c *cli) ago(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return span(control.Duration(max(0, c.now.Sub(t)))) + " ago"
}

// in tells when t will be.
func (c *cli) in(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	if d := t.Sub(c.now); d > 0 {
		return "in " + span(control.Duration(d))
	}
	return "now"
}

func size(n uint64) string {
	switch {
	case n < 10_000:
		return fmt.Sprintf("%dB", n)
	case n < 10_000_000:
		return fmt.Sprintf("%.1fkB", float64(n)/1e3)
	case n < 10_000_000_000:
		return fmt.Sprintf("%.1fMB", float64(n)/1e6)
	}
	return fmt.Sprintf("%.1fGB", float64(n)/1e9)
}
