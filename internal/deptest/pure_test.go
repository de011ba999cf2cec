package deptest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// impure are packages of the standard library that a pure room may not import: a
// machine that decides is given the time, the randomness and the facts.
var impure = map[string]string{
	"os": "it touches the operating system", "os/exec": "it touches the operating system", "os/signal": "it touches the operating system",
	"syscall": "it touches the operating system", "io/fs": "it touches the operating system", "net": "packets come as events and go as actions",
	"net/http": "packets come as events and go as actions", "sync": "one goroutine owns the state", "sync/atomic": "one goroutine owns the state",
	"context": "nothing here waits", "math/rand": "randomness is an argument", "math/rand/v2": "randomness is an argument",
	"crypto/rand": "randomness is an argument", "unsafe": "it is not needed", "runtime": "it touches the operating system", "log": "notes are actions",
}

// exceptions are rooms that need one of them all the same.
var exceptions = map[string]map[string]string{
	"xfrm":          {"context": "the Backend interface, whose implementations wait"},
	"internal/host": {"context": "the Host interface, whose implementations wait"},
}

// clocks are functions that ask the computer what time it is, or wait.
var clocks = map[string][]string{
	"time": {"Now", "Since", "Until", "After", "AfterFunc", "Sleep", "Tick", "NewTicker", "NewTimer"},
	"slog": {"Default", "SetDefault", "Debug", "Info", "Warn", "Error", "Log", "LogAttrs", "New"},
}

func TestPureRooms(t *testing.T) {
	files, fset := sources(t)
	seen := map[string]bool{}
	for _, f := range files {
		if f.test || !rooms[f.room].pure {
			continue
		}
		seen[f.room] = true
		for _, m := range impurities(fset, f.file, f.room) {
			t.Errorf("%s: %s", f.path, m)
		}
	}
	if len(seen) < 8 {
		t.Errorf("looked at %v only", seen)
	}
}

// impurities lists what a file has that a pure room may not.
func impurities(fset *token.FileSet, file *ast.File, room string) []string {
	var out []string
	say := func(pos token.Pos, format string, args ...any) {
		out = append(out, fmt.Sprintf("line %d: ", fset.Position(pos).Line)+fmt.Sprintf(format, args...))
	}
	local := map[string]string{} // name in the file → package whose functions are looked at
	for _, i := range file.Imports {
		p, _ := strconv.Unquote(i.Path.Value)
		if why, bad := impure[p]; bad && exceptions[room][p] == "" {
			say(i.Pos(), "%s is pure and may not import %q: %s", room, p, why)
		}
		name := p[strings.LastIndex(p, "/")+1:]
		if _, watched := clocks[name]; watched && (p == "time" || p == "log/slog") {
			use := name
			if i.Name != nil {
				use = i.Name.Name
			}
			local[use] = name
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			say(n.Pos(), "%s is pure and may not start a goroutine: one goroutine owns the state", room)
		case *ast.SelectorExpr:
			x, ok := n.X.(*ast.Ident)
			if ok && local[x.Name] != "" && slices.Contains(clocks[local[x.Name]], n.Sel.Name) {
				say(n.Pos(), "%s is pure and may not use %s.%s: time is an argument, notes are actions", room, x.Name, n.Sel.Name)
			}
		}
		return true
	})
	return out
}

// TestImpurities tries the finder on a file with one of each.
func TestImpurities(t *testing.T) {
	const bad = `package mn
import (
	"context"
	"net"
	"net/netip"
	clock "time"
	"log/slog"
)
func f(c context.Context, a netip.Addr, d clock.Duration, l slog.Attr) {
	go f(c, a, d, l)
	clock.Now()
	slog.Info("x")
	_ = net.IP{}
}`
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, "bad.go", bad, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	got := impurities(fset, file, "mn")
	want := []string{`line 3: `, `line 4: `, `line 10: `, `line 11: `, `line 12: `}
	if len(got) != len(want) {
		t.Fatalf("%q", got)
	}
	for i := range want {
		if !strings.HasPrefix(got[i], want[i]) {
			t.Errorf("%q, want %q", got[i], want[i])
		}
	}
	if got := impurities(fset, file, "xfrm"); len(got) != len(want)-1 {
		t.Errorf("an exception is not heeded: %q", got)
	}
}
