package story

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Check is one thing that must hold.
type Check struct {
	Name   string `json:"name"`
	Pass   bool   `json:"pass"`
	Detail string `json:"detail"`
}

// Move is one change of the node's care-of address. Times are Unix seconds; a nil
// pointer stands for what does not apply. docs/performance.md defines each number.
type Move struct {
	From        string   `json:"from"`
	To          string   `json:"to"`
	Kind        string   `json:"kind"` // foreign, by-hand, home, away
	Start       float64  `json:"start"`
	End         float64  `json:"end"`
	RTT         *float64 `json:"rtt_ms"`
	Outage      *float64 `json:"outage_ms"`
	Lost        *int     `json:"lost"`
	RA          *float64 `json:"ra_ms"`
	CoA         *float64 `json:"coa_ms"`
	BUBA        *float64 `json:"bu_ba_ms"`
	IKEMessages *int     `json:"ike_messages"`
	SPIsKept    *bool    `json:"spis_kept"`
	TCPSurvived *bool    `json:"tcp_survived"`
}

// Report is out/demo/report.json.
type Report struct {
	Kernel    string  `json:"kernel"`
	DataPlane string  `json:"dataplane"`
	Checks    []Check `json:"checks"`
	Moves     []Move  `json:"moves"`
}

// Passed counts the checks that hold, and those that do not.
func (r *Report) Passed() (pass, fail int) {
	for _, c := range r.Checks {
		if c.Pass {
			pass++
		} else {
			fail++
		}
	}
	return pass, fail
}

// Window is a time from From until before To.
type Window struct{ From, To time.Time }

// Split says where the time of a move went, in milliseconds; negative: not known.
type Split struct {
	Kind, DAD                                        string
	Carrier, RA, CoA, BU, BUBA, First, Outage, RTTms float64
}

// Record is what Run hands to Finish, beside the files.
type Record struct {
	Report Report
	HoA    string
	HA     string
	Away   []Window // the node was away: nothing of it may be seen outside ESP
	// Optimised: route optimization was played, and packets may go in the clear
	// between home address and correspondent.
	Optimised []Window
	Attacks   []Window // packets that the story itself forged were on the wire
	Splits    []Split
	DAD       string
}

const (
	recordFile = "record.json"
	reportFile = "report.json"
)

func (r *Record) save(dir string) error { return writeJSON(filepath.Join(dir, recordFile), r) }

func loadRecord(dir string) (*Record, error) {
	b, err := os.ReadFile(filepath.Join(dir, recordFile))
	if err != nil {
		return nil, fmt.Errorf("story: the run left no record: %w", err)
	}
	r := &Record{}
	return r, json.Unmarshal(b, r)
}

func writeJSON(path string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o644)
}

// table prints the checks.
func (r *Report) table(w io.Writer) {
	fmt.Fprintf(w, "\nchecks on Linux %s, data plane %s\n\n", r.Kernel, r.DataPlane)
	width := 0
	for _, c := range r.Checks {
		width = max(width, len([]rune(c.Name)))
	}
	for _, c := range r.Checks {
		verdict := "pass"
		if !c.Pass {
			verdict = "FAIL"
		}
		fmt.Fprintf(w, "  %s  %s%s  %s\n", verdict, c.Name, strings.Repeat(" ", width-len([]rune(c.Name))), firstLine(c.Detail, lineWidth(c.Pass)))
	}
	pass, fail := r.Passed()
	fmt.Fprintf(w, "\n%d checks passed, %d failed\n", pass, fail)
}

// movesTable prints the moves.
func (r *Record) movesTable(w io.Writer) {
	if len(r.Splits) == 0 {
		return
	}
	fmt.Fprintf(w, "\nmoves: milliseconds of the outage, and where the time went (DAD: duplicate address detection of the care-of address)\n\n")
	fmt.Fprintf(w, "  %-8s %-4s %8s %8s %8s %8s %8s %8s %8s\n", "kind", "DAD", "outage", "carrier", "→RA", "→address", "→BU", "→BA", "→packet")
	for _, s := range r.Splits {
		fmt.Fprintf(w, "  %-8s %-4s %8s %8s %8s %8s %8s %8s %8s\n", s.Kind, s.DAD, ms(s.Outage), ms(s.Carrier), ms(s.RA), ms(s.CoA), ms(s.BU), ms(s.BUBA), ms(s.First))
	}
}

func ms(v float64) string {
	if v < 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f", v)
}

// firstLines are up to twenty lines.
func firstLines(lines []string) string { return strings.Join(lines[:min(20, len(lines))], "\n") }

func firstLine(s string, width int) string {
	line, rest, more := strings.Cut(strings.TrimSpace(s), "\n")
	if more {
		line += fmt.Sprintf(" (and %d lines, see %s)", strings.Count(rest, "\n")+1, reportFile)
	}
	if r := []rune(line); len(r) > width {
		line = string(r[:width-3]) + "..."
	}
	return line
}

func seconds(t time.Time) float64 { return float64(t.UnixNano()) / 1e9 }

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func ptr[T any](v T) *T { return &v }
