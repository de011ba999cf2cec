// Package telemetry sets up the log.
package telemetry

import (
	"fmt"
	"io"
	"log/slog"
)

// Level reads a level of the configuration: debug, info, warn or error.
func Level(name string) (slog.Level, error) {
	switch name {
	case "debug":
		return slog.LevelDebug, nil
	case "info":
		return slog.LevelInfo, nil
	case "warn":
		return slog.LevelWarn, nil
	case "error":
		return slog.LevelError, nil
	}
	return 0, fmt.Errorf("telemetry: no log level %q", name)
}

// Logger writes lines of text to w. The level may be changed later through the
// LevelVar.
func Logger(w io.Writer, level slog.Level) (*slog.Logger, *slog.LevelVar) {
	lv := new(slog.LevelVar)
	lv.Set(level)
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: lv})), lv
}
