package telemetry

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

func TestLogger(t *testing.T) {
	var b bytes.Buffer
	level, err := Level("warn")
	if err != nil {
		t.Fatal(err)
	}
	log, lv := Logger(&b, level)
	log.Info("too quiet")
	log.Warn("heard", "n", 1)
	lv.Set(slog.LevelDebug)
	log.Debug("now too")
	if got := b.String(); strings.Contains(got, "too quiet") || !strings.Contains(got, "msg=heard n=1") || !strings.Contains(got, `msg="now too"`) {
		t.Error(got)
	}
	if _, err := Level("loud"); err == nil {
		t.Error("level loud was taken")
	}
}
