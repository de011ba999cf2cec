package cn

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var rewrite = flag.Bool("update", false, "write what the machine does into testdata")

// The scenarios in testdata are lines that begin with ">", a command, and below each the
// actions that follow from it. "#" is a comment, "=" sets an option before the start.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scenarios", err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txt"), func(t *testing.T) { scenario(t, f) })
	}
}

func scenario(t *testing.T, file string) {
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	cfg := testConfig()
	var r *rig
	var got strings.Builder
	for _, line := range strings.Split(strings.TrimRight(string(raw), "\n"), "\n") {
		switch {
		case strings.HasPrefix(line, "="):
			option(&cfg, strings.Fields(line[1:]))
			got.WriteString(line + "\n")
		case strings.HasPrefix(line, ">"):
			if r == nil {
				r = newRig(t, cfg)
			}
			r.out = nil
			if err := r.command(line[1:]); err != nil {
				t.Fatal(err)
			}
			got.WriteString(line + "\n")
			for _, a := range r.out {
				got.WriteString("  " + render(a) + "\n")
			}
		case line == "" || strings.HasPrefix(line, "#"):
			got.WriteString(line + "\n")
		}
	}
	if *rewrite {
		if err := os.WriteFile(file, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got.String() != string(raw) {
		a, b := strings.Split(string(raw), "\n"), strings.Split(got.String(), "\n")
		for i := range min(len(a), len(b)) {
			if a[i] != b[i] {
				t.Fatalf("%s:%d\nwant %s\ngot  %s\nall of it:\n%s", file, i+1, a[i], b[i], got.String())
			}
		}
		t.Fatalf("%s: %d lines, want %d:\n%s", file, len(b), len(a), got.String())
	}
}

func option(c *Config, f []string) {
	w := parse(f)
	switch f[0] {
	case "max":
		c.MaxBindings = w.num("bindings", 0)
		c.MaxLifetime = time.Duration(w.num("life", 0)) * 4 * time.Second
	default:
		panic(f[0])
	}
}
