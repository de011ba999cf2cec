package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// lines of two stages: the first skips B for want of a kernel, the second runs it.
const first = `{"Action":"start","Package":"m/p"}
{"Action":"run","Package":"m/p","Test":"A"}
{"Action":"output","Package":"m/p","Test":"A","Output":"--- PASS: A\n"}
{"Action":"pass","Package":"m/p","Test":"A"}
{"Action":"output","Package":"m/p","Test":"B","Output":"    b_test.go:7: needs a kernel\n"}
{"Action":"skip","Package":"m/p","Test":"B"}
{"Action":"output","Package":"m/p","Test":"C","Output":"    c_test.go:9: wrong: 1\n"}
{"Action":"fail","Package":"m/p","Test":"C"}
{"Action":"output","Package":"m/p","Test":"D","Output":"    d_test.go:9: no file\n"}
{"Action":"skip","Package":"m/p","Test":"D"}
{"Action":"fail","Package":"m/p","Elapsed":1.5}
`
const second = `{"Action":"pass","Package":"m/p","Test":"B"}
{"Action":"pass","Package":"m/p"}
not json
{"Action":"output","Package":"m/q","Test":"E","Output":"panic: no\n"}
{"Action":"fail","Package":"m/q"}
{"ImportPath":"m/r [m/r.test]","Action":"build-output","Output":"r.go:1: undefined\n"}
{"ImportPath":"m/r [m/r.test]","Action":"build-fail"}
{"Action":"fail","Package":"m/r","FailedBuild":"m/r [m/r.test]"}
`

func TestReport(t *testing.T) {
	var out bytes.Buffer
	r := newReport(&out)
	for _, stage := range []string{first, second} {
		w := r.test2json()
		for i := 0; i < len(stage); i += 7 { // lines come in any pieces
			if _, err := w.Write([]byte(stage[i:min(i+7, len(stage))])); err != nil {
				t.Fatal(err)
			}
		}
	}
	story := filepath.Join(t.TempDir(), "report.json")
	if err := os.WriteFile(story, []byte(`{"checks":[{"name":"x","pass":true},{"name":"y","pass":false,"detail":"lost 3"}]}`), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := r.addStory("story", story); err != nil {
		t.Fatal(err)
	}
	if n := r.summary(); n != 4 {
		t.Errorf("%d failures", n)
	}
	got := out.String()
	for _, want := range []string{
		"FAIL m/p C\n    c_test.go:9: wrong: 1\n", "panic: no", "r.go:1: undefined", "not json\n", "FAIL story y\n    lost 3\n",
		"skipped 1: no file\n", "failed: m/q (package)\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the report lacks %q:\n%s", want, got)
		}
	}
	if !strings.HasSuffix(got, "\n3 passed, 4 failed, 1 skipped\n") {
		t.Errorf("last line:\n%s", got)
	}
}

func TestStoryWithoutChecks(t *testing.T) {
	r := newReport(&bytes.Buffer{})
	file := filepath.Join(t.TempDir(), "report.json")
	if err := r.addStory("story", file); err == nil {
		t.Error("no report: no error")
	}
	if err := os.WriteFile(file, []byte(`{"checks":[]}`), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := r.addStory("story", file); err == nil {
		t.Error("no checks: no error")
	}
}
