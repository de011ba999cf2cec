package lab

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
)

// Dump is a host's kernel state as text, section by section.
type Dump map[string]string

// dumpCommands give the sections that Diff compares; what ticks by itself
// (lifetimes, counters) is not in them, or is taken out by volatile.
var dumpCommands = map[string][]string{
	"xfrm state":     {"ip", "xfrm", "state"},
	"xfrm policy":    {"ip", "xfrm", "policy"},
	"addresses":      {"ip", "-6", "addr"},
	"links":          {"ip", "link"},
	"tunnels":        {"ip", "-6", "tunnel"},
	"routes":         {"ip", "-6", "route", "show", "table", "all"},
	"rules":          {"ip", "-6", "rule"},
	"neighbourproxy": {"ip", "-6", "neigh", "show", "proxy"},
	"nftables":       {"nft", "list", "ruleset"},
	"spd thresholds": {"ip", "-s", "-s", "xfrm", "policy", "count"},
}

// dumpCounters give further sections, which differ between any two moments.
var dumpCounters = map[string][]string{
	"xfrm state -s": {"ip", "-s", "xfrm", "state"},
}

var volatile = regexp.MustCompile(`(expires \d+sec|valid_lft \w+ preferred_lft \w+|used \d+\S*|SPD buckets: .*)`)

// Dump reads a host's tables: IPsec states and policies with their counters,
// /proc/net/xfrm_stat, addresses, links, routes, rules, proxy neighbours, nftables
// and the sysctls below net/ipv6 and net/core.
func (l *Lab) Dump(ctx context.Context, host string) (Dump, error) {
	h := l.Host(host)
	d := Dump{}
	for name, argv := range dumpCommands {
		out, err := h.Output(ctx, argv[0], argv[1:]...)
		if err != nil {
			return nil, err
		}
		d[name] = volatile.ReplaceAllString(out, "")
	}
	for name, argv := range dumpCounters {
		out, err := h.Output(ctx, argv[0], argv[1:]...)
		if err != nil {
			return nil, err
		}
		d[name] = out
	}
	err := h.Do(func() error {
		b, err := os.ReadFile("/proc/thread-self/net/xfrm_stat")
		d["xfrm_stat"] = string(b)
		if err != nil {
			return err
		}
		d["sysctl"] = sysctls("/proc/sys/net/ipv6") + sysctls("/proc/sys/net/core/xfrm*")
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("lab: dump of %s: %w", host, err)
	}
	return d, nil
}

// sysctls lists the values below the folders or files of a pattern.
func sysctls(pattern string) string {
	var b strings.Builder
	roots, _ := filepath.Glob(pattern)
	for _, root := range roots {
		filepath.WalkDir(root, func(path string, e os.DirEntry, err error) error {
			// The secret of stable addresses cannot be read, and flush is write-only.
			if err != nil || e.IsDir() {
				return nil
			}
			if v, err := os.ReadFile(path); err == nil {
				fmt.Fprintf(&b, "%s = %s\n", strings.TrimPrefix(path, "/proc/sys/"), strings.TrimSpace(string(v)))
			}
			return nil
		})
	}
	return b.String()
}

// String is the whole dump as text.
func (d Dump) String() string {
	var b strings.Builder
	for _, name := range d.names() {
		fmt.Fprintf(&b, "== %s\n%s\n", name, strings.TrimRight(d[name], "\n"))
	}
	return b.String()
}

func (d Dump) names() []string {
	var names []string
	for n := range d {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}

// Stat is one counter of /proc/net/xfrm_stat, such as "XfrmInNoStates".
func (d Dump) Stat(name string) int {
	for _, line := range strings.Split(d["xfrm_stat"], "\n") {
		var n int
		var key string
		if c, _ := fmt.Sscan(line, &key, &n); c == 2 && key == name {
			return n
		}
	}
	return 0
}

// Diff tells what of a host is not as it was, line by line ("- gone", "+ new"),
// counters apart; ignore names sections that may differ. Empty: as it was found.
func (d Dump) Diff(now Dump, ignore ...string) string {
	skip := map[string]bool{"xfrm_stat": true}
	for n := range dumpCounters {
		skip[n] = true
	}
	for _, n := range ignore {
		skip[n] = true
	}
	var b bytes.Buffer
	for _, name := range d.names() {
		if skip[name] || d[name] == now[name] {
			continue
		}
		var lines []string
		count := map[string]int{}
		for _, s := range strings.Split(d[name], "\n") {
			count[s]--
			lines = append(lines, s)
		}
		for _, s := range strings.Split(now[name], "\n") {
			count[s]++
			lines = append(lines, s)
		}
		for _, s := range lines {
			switch n := count[s]; {
			case n < 0:
				fmt.Fprintf(&b, "%s: - %s\n", name, s)
			case n > 0:
				fmt.Fprintf(&b, "%s: + %s\n", name, s)
			}
			delete(count, s)
		}
	}
	return b.String()
}
