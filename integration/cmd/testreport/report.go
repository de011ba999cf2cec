package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"sort"
	"strings"
	"time"
)

// state is how a test ended; a later stage's result replaces a smaller one.
type state int

const (
	skip state = iota
	pass
	fail
)

// test names one test: a package (or stage) and its test.
type test struct{ pkg, name string }

// report collects the results of all stages.
type report struct {
	out     io.Writer
	results map[test]state
	reasons map[test]string
	output  map[test]*strings.Builder // of tests that run
	partial []byte                    // an unfinished line of test2json
}

func newReport(out io.Writer) *report {
	return &report{out: out, results: map[test]state{}, reasons: map[test]string{}, output: map[test]*strings.Builder{}}
}

// result records how a test ended, with its output or reason.
func (r *report) result(pkg, name string, s state, text string) {
	t := test{pkg, name}
	text = strings.TrimSpace(text)
	if s == fail {
		fmt.Fprintf(r.out, "FAIL %s %s\n%s\n", pkg, name, indent(text))
	}
	if old, known := r.results[t]; !known || s > old {
		r.results[t], r.reasons[t] = s, text
	}
}

// failures is the number of failed tests so far.
func (r *report) failures() int {
	n := 0
	for _, s := range r.results {
		if s == fail {
			n++
		}
	}
	return n
}

// event is a line of go test -json (cmd/test2json).
type event struct {
	Action, Package, ImportPath, Test, Output string
	Elapsed                                   float64
}

// test2json gives a writer for the lines of go test -json.
func (r *report) test2json() io.Writer { return (*lineWriter)(r) }

type lineWriter report

func (w *lineWriter) Write(p []byte) (int, error) {
	r := (*report)(w)
	r.partial = append(r.partial, p...)
	for {
		line, rest, ok := bytes.Cut(r.partial, []byte("\n"))
		if !ok {
			return len(p), nil
		}
		var e event
		if json.Unmarshal(line, &e) == nil && e.Action != "" {
			r.event(e)
		} else if len(line) > 0 {
			fmt.Fprintf(r.out, "%s\n", line)
		}
		r.partial = append([]byte(nil), rest...)
	}
}

func (r *report) event(e event) {
	if e.Package == "" {
		e.Package = e.ImportPath // of a build that fails
	}
	t := test{e.Package, e.Test}
	switch e.Action {
	case "output", "build-output":
		if r.output[t] == nil {
			r.output[t] = &strings.Builder{}
		}
		r.output[t].WriteString(e.Output)
	case "pass", "fail", "skip":
		text := ""
		if b := r.output[t]; b != nil {
			text = b.String()
			delete(r.output, t)
		}
		s := map[string]state{"pass": pass, "fail": fail, "skip": skip}[e.Action]
		if e.Test == "" {
			r.packageDone(e, s, text)
			return
		}
		if s == skip {
			text = skipReason(text)
		}
		r.result(e.Package, e.Test, s, text)
	case "build-fail":
		fmt.Fprintf(r.out, "%s", r.output[t])
	}
}

// packageDone prints the package's line. One that fails though none of its tests
// did (it does not build, a panic, the time is over) is a failure of its own.
func (r *report) packageDone(e event, s state, text string) {
	var count [3]int
	for t, s := range r.results {
		if t.pkg == e.Package && t.name != "" {
			count[s]++
		}
	}
	if s == skip || count[pass]+count[fail]+count[skip] == 0 && s == pass {
		return // no tests
	}
	short := strings.TrimPrefix(e.Package, "github.com/mip6/mip6/")
	if s == fail && count[fail] == 0 {
		for t, b := range r.output { // the test that was running
			if t.pkg == e.Package {
				text += b.String()
				delete(r.output, t)
			}
		}
		r.result(e.Package, "(package)", fail, text)
		count[fail]++
	}
	d := time.Duration(e.Elapsed * float64(time.Second)).Round(10 * time.Millisecond)
	fmt.Fprintf(r.out, "%-4s %-40s %d passed, %d failed, %d skipped in %v\n",
		map[state]string{pass: "ok", fail: "FAIL"}[s], short, count[pass], count[fail], count[skip], d)
}

// skipReason is what a skipped test said.
func skipReason(output string) string {
	var reason []string
	for _, line := range strings.Split(output, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "===") || strings.HasPrefix(line, "---") {
			continue
		}
		if _, said, ok := strings.Cut(line, ".go:"); ok { // FILE.go:LINE: what was said
			if _, text, ok := strings.Cut(said, ": "); ok {
				line = text
			}
		}
		reason = append(reason, line)
	}
	return strings.Join(reason, " ")
}

// summary prints what was skipped and why, what failed, and the last line. It gives
// the number of failures.
func (r *report) summary() int {
	var count [3]int
	why := map[string]int{}
	var failed []string
	for t, s := range r.results {
		count[s]++
		switch s {
		case skip:
			why[r.reasons[t]]++
		case fail:
			failed = append(failed, t.pkg+" "+t.name)
		}
	}
	var reasons []string
	for reason := range why {
		reasons = append(reasons, reason)
	}
	sort.Strings(reasons)
	for _, reason := range reasons {
		fmt.Fprintf(r.out, "skipped %d: %s\n", why[reason], reason)
	}
	sort.Strings(failed)
	for _, f := range failed {
		fmt.Fprintf(r.out, "failed: %s\n", f)
	}
	fmt.Fprintf(r.out, "%d passed, %d failed, %d skipped\n", count[pass], count[fail], count[skip])
	return count[fail]
}

func indent(s string) string { return "    " + strings.ReplaceAll(s, "\n", "\n    ") }
