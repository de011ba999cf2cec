// Package vectors finds the public test vectors that live outside the project.
//
// Tests read them from the folder named by MIP6_VECTORS. Where the variable is
// unset the folder shared/vectors beside the checkout is tried, and a test that
// does not find its file skips with the reason. With the variable set a missing
// file is a failure: somebody asked for the vectors, so their absence is a fault.
package vectors

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// Env names the environment variable that holds the folder of the vectors.
const Env = "MIP6_VECTORS"

// Path returns the path of one vector file, such as "oracle/rr_vectors.json".
// It skips the test where the vectors are not here, and fails it where Env says
// that they should be.
func Path(t testing.TB, name string) string {
	t.Helper()
	dir, asked := os.LookupEnv(Env)
	if !asked || dir == "" {
		asked = false
		dir = filepath.Join(moduleRoot(t), "..", "shared", "vectors")
	}
	p := filepath.Join(dir, filepath.FromSlash(name))
	if _, err := os.Stat(p); err != nil {
		if asked {
			t.Fatalf("vectors: %s is set, but %v", Env, err)
		}
		t.Skipf("vectors: %s is not here (set %s to the folder of the public vectors)", name, Env)
	}
	return p
}

// Read returns the content of one vector file; it skips or fails as Path does.
func Read(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(Path(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// moduleRoot is the folder of go.mod, found from this file's own place.
func moduleRoot(t testing.TB) string {
	t.Helper()
	_, file, _, ok := runtime.Caller(0)
	if !ok {
		t.Fatal("vectors: no caller information")
	}
	return filepath.Join(filepath.Dir(file), "..", "..")
}
