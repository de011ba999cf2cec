package deptest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/mip6/mip6/"

// source is one Go file of the module.
type source struct {
	file *ast.File
	path string // within the module
	room string
	test bool
}

func (s source) imports() []string {
	var out []string
	for _, i := range s.file.Imports {
		p, err := strconv.Unquote(i.Path.Value)
		if err == nil {
			out = append(out, p)
		}
	}
	return out
}

// sources reads the module's files, whatever their build tags.
func sources(t *testing.T) ([]source, *token.FileSet) {
	t.Helper()
	root := filepath.Join("..", "..")
	if _, err := os.Stat(filepath.Join(root, "go.mod")); err != nil {
		t.Fatal(err)
	}
	var out []source
	fset := token.NewFileSet()
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := d.Name()
		if d.IsDir() {
			if name != root && (strings.HasPrefix(base, ".") || base == "testdata" || base == "vendor" || base == "out" || base == "bin") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(base, ".go") || strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") {
			return nil
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		f, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		out = append(out, source{file: f, path: rel, room: path.Dir(rel), test: strings.HasSuffix(base, "_test.go")})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) < 50 {
		t.Fatalf("found only %d files", len(out))
	}
	return out, fset
}

func isIntegration(room string) bool {
	return room == "integration" || strings.HasPrefix(room, "integration/")
}

// forbidden says why room may not import pkg; "" where it may.
func forbidden(name string, r room, pkg string) string {
	inside, ours := strings.CutPrefix(pkg, module)
	switch {
	case ours && isIntegration(inside):
		return "integration drives the product from outside; nothing of the product imports it"
	case ours && !slices.Contains(r.imports, inside):
		return "its rooms are " + list(r.imports) + ": " + r.why
	case !ours && strings.Contains(strings.SplitN(pkg, "/", 2)[0], "."):
		for _, m := range r.modules {
			if pkg == m || strings.HasPrefix(pkg, m+"/") {
				return ""
			}
		}
		return "its modules are " + list(r.modules) + "; a new dependency wants a reason in docs/architecture.md"
	}
	return ""
}

func list(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// TestImports holds every package to the table. Tests may import what they need,
// but for integration, which is for its own.
func TestImports(t *testing.T) {
	files, _ := sources(t)
	for _, f := range files {
		if isIntegration(f.room) {
			continue
		}
		r, known := rooms[f.room]
		if !known {
			t.Errorf("%s: the room %q is not in the table of %s/table_test.go", f.path, f.room, "internal/deptest")
			continue
		}
		for _, pkg := range f.imports() {
			if f.test && !isIntegration(strings.TrimPrefix(pkg, module)) {
				continue
			}
			if why := forbidden(f.room, r, pkg); why != "" {
				t.Errorf("%s: %s may not import %s: %s", f.path, f.room, pkg, why)
			}
		}
	}
}

// TestTable keeps the table itself in shape.
func TestTable(t *testing.T) {
	for name, r := range rooms {
		if r.why == "" {
			t.Errorf("%s: a rule without a reason", name)
		}
		for _, i := range r.imports {
			other, known := rooms[i]
			if !known || i == name {
				t.Errorf("%s may import %s, which is not in the table", name, i)
			}
			if r.pure && !other.pure {
				t.Errorf("%s is pure and may import %s, which is not", name, i)
			}
		}
		for _, m := range r.modules {
			if r.pure && !slices.Contains(arithmetic, m) {
				t.Errorf("%s is pure and may import another module: %s", name, m)
			}
		}
		if reaches(name, name, map[string]bool{}) {
			t.Errorf("%s may import itself through others", name)
		}
	}
	for _, role := range []string{"mn", "ha", "cn", "ike"} {
		for _, other := range []string{"mn", "ha", "cn", "ike"} {
			if reaches(role, other, map[string]bool{}) {
				t.Errorf("%s reaches %s: machines never know each other", role, other)
			}
		}
	}
}

func reaches(from, to string, seen map[string]bool) bool {
	for _, i := range rooms[from].imports {
		if i == to {
			return true
		}
		if !seen[i] {
			seen[i] = true
			if reaches(i, to, seen) {
				return true
			}
		}
	}
	return false
}

// TestForbidden tries the rule itself: a test that cannot fail guards nothing.
func TestForbidden(t *testing.T) {
	for _, c := range []struct {
		room, pkg string
		allowed   bool
	}{
		{"mn", module + "mobility", true},
		{"mn", module + "ha", false},
		{"mn", module + "ike", false},
		{"mn", module + "internal/host/linux", false},
		{"mn", "encoding/binary", true},
		{"mn", "golang.org/x/sys/unix", false},
		{"internal/daemon", module + "integration/lab", false},
		{"cmd/mip6ctl", module + "internal/daemon", false},
		{"xfrm/kernel", "github.com/vishvananda/netlink/nl", true},
		{"xfrm/kernel", "github.com/vishvananda/netlink", false},
		{"internal/host/linux", "golang.org/x/net/ipv6", true},
		{"internal/host/linux", "golang.org/x/network", false},
	} {
		if why := forbidden(c.room, rooms[c.room], c.pkg); (why == "") != c.allowed {
			t.Errorf("%s importing %s: %q", c.room, c.pkg, why)
		}
	}
}
