package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func open(t *testing.T, dir string) (*Ledger, Recovered) {
	t.Helper()
	l, rec, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l, rec
}

func text(records []Record) string {
	var b strings.Builder
	for _, r := range records {
		fmt.Fprintf(&b, "%d %s=%s\n", r.Kind, r.Key, r.Value)
	}
	return b.String()
}

func put(k Kind, key, value string) Change { return Change{Kind: k, Key: key, Value: []byte(value)} }
func del(k Kind, key string) Change        { return Change{Kind: k, Key: key, Del: true} }

func TestReopen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "mip6")
	l, rec := open(t, dir)
	if len(rec.Records) != 0 || rec.Torn != 0 || rec.Rebooted {
		t.Errorf("a new ledger has %+v", rec)
	}
	for _, batch := range [][]Change{
		{put(KindSA, "a", "1"), put(KindPolicy, "a", "2")},
		{put(KindBinding, "b", "3"), del(KindSA, "a"), del(KindSA, "never there")},
		{put(KindPolicy, "a", "4"), put(KindSA, "c", "")},
		{put(KindHost, "passing", "x"), del(KindHost, "passing")},
		{del(KindHost, "nothing")},
	} {
		if err := l.Batch(batch); err != nil {
			t.Fatal(err)
		}
	}
	want := "2 a=4\n6 b=3\n1 c=\n"
	now, err := l.Records()
	if err != nil || text(now) != want || l.Len() != 3 {
		t.Errorf("%v, %d:\n%s", err, l.Len(), text(now))
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l, rec = open(t, dir)
	if text(rec.Records) != want || rec.Torn != 0 || rec.Rebooted {
		t.Errorf("%+v\n%s", rec, text(rec.Records))
	}
	for _, name := range []string{fileName, lockName} {
		if st, err := os.Stat(filepath.Join(dir, name)); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, st.Mode(), err)
		}
	}
	if st, _ := os.Stat(dir); st.Mode().Perm() != 0o700 {
		t.Errorf("the folder has mode %v", st.Mode())
	}
	if err := l.Clean(); err != nil {
		t.Fatal(err)
	}
	if _, rec = open(t, dir); len(rec.Records) != 0 {
		t.Errorf("left after Clean:\n%s", text(rec.Records))
	}
}

// TestCutAnywhere: a crash at every octet of the file leaves a prefix of what was
// written, record by record, and a ledger that works.
func TestCutAnywhere(t *testing.T) {
	src := t.TempDir()
	l, _ := open(t, src)
	var states []string // after each record
	var ends []int64
	for i, c := range []Change{
		put(KindSA, "one", "a"), put(KindBinding, "two", strings.Repeat("b", 40)), put(KindSA, "one", "c"),
		del(KindBinding, "two"), put(KindNode, "three", ""), put(KindBinding, "two", "d"),
	} {
		if i == 0 {
			states, ends = append(states, ""), append(ends, l.Size())
		}
		if err := l.Batch([]Change{c}); err != nil {
			t.Fatal(err)
		}
		recs, err := l.Records()
		if err != nil {
			t.Fatal(err)
		}
		states, ends = append(states, text(recs)), append(ends, l.Size())
	}
	l.Close()
	whole, err := os.ReadFile(filepath.Join(src, fileName))
	if err != nil || int64(len(whole)) != ends[len(ends)-1] {
		t.Fatalf("%v, %d octets", err, len(whole))
	}
	dir := t.TempDir()
	path := filepath.Join(dir, fileName)
	for cut := 0; cut <= len(whole); cut++ {
		for _, tail := range []string{"", "\x00\x00\x00\x00\x00\x00", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"} {
			if cut == len(whole) && tail != "" || cut < headerLen && tail != "" {
				continue
			}
			if err := os.WriteFile(path, append(whole[:cut:cut], tail...), 0o600); err != nil {
				t.Fatal(err)
			}
			n := 0
			for n+1 < len(ends) && ends[n+1] <= int64(cut) {
				n++
			}
			checkCut(t, dir, fmt.Sprintf("cut at %d, tail %x", cut, tail), states[n])
		}
	}
}

// checkCut opens a ledger that was cut, writes to it, and opens it again.
func checkCut(t *testing.T, dir, name, want string) {
	t.Helper()
	l, rec, err := Open(dir)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if got := text(rec.Records); got != want {
		t.Errorf("%s: got\n%swant\n%s", name, got, want)
	}
	if err := l.Put(KindOther, "after", []byte("x")); err != nil {
		t.Fatal(err)
	}
	l.Close()
	l, rec, err = Open(dir)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	l.Close()
	if got := text(rec.Records); got != want+"9 after=x\n" || rec.Torn != 0 {
		t.Errorf("%s: then got\n%s", name, got)
	}
}

// TestDamage: a flipped bit ends what is believed, and never more than was written is read.
func TestDamage(t *testing.T) {
	dir := t.TempDir()
	l, _ := open(t, dir)
	if err := l.Batch([]Change{put(KindSA, "one", "a"), put(KindSA, "two", "b")}); err != nil {
		t.Fatal(err)
	}
	l.Close()
	path := filepath.Join(dir, fileName)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	prefixes := map[string]bool{"": true, "1 one=a\n": true}
	for bit := 8 * headerLen; bit < 8*len(whole); bit++ {
		b := bytes.Clone(whole)
		b[bit/8] ^= 1 << (bit % 8)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		l, rec, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		if !prefixes[text(rec.Records)] || rec.Torn == 0 {
			t.Errorf("bit %d: %s", bit, text(rec.Records))
		}
	}
}

func TestNotAJournal(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, fileName)
	if err := os.WriteFile(path, []byte("somebody's shopping list, longer than the header"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Open(dir); !errors.Is(err, ErrFormat) {
		t.Errorf("%v", err)
	}
	if b, _ := os.ReadFile(path); !bytes.HasPrefix(b, []byte("somebody's")) {
		t.Error("the foreign file was changed")
	}
	os.Remove(path)
	open(t, dir) // the failed Open gave the lock back
}

func TestRebooted(t *testing.T) {
	dir := t.TempDir()
	l, _ := open(t, dir)
	if l.boot == [16]byte{} {
		t.Fatal("this host tells no boot id")
	}
	if err := l.Put(KindBinding, "b", []byte("1")); err != nil {
		t.Fatal(err)
	}
	l.Close()
	path := filepath.Join(dir, fileName)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(magic)] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	l, rec := open(t, dir)
	if !rec.Rebooted || text(rec.Records) != "6 b=1\n" {
		t.Errorf("%+v", rec)
	}
	l.Close()
	if _, rec = open(t, dir); rec.Rebooted {
		t.Error("told twice")
	}
}

func TestOneOwner(t *testing.T) {
	dir := t.TempDir()
	l, _ := open(t, dir)
	if _, _, err := Open(dir); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), dir) {
		t.Errorf("%v", err)
	}
	l.Close()
	open(t, dir)
}

// TestBounded: what is dead does not stay, however long the daemon runs.
func TestBounded(t *testing.T) {
	dir := t.TempDir()
	l, _ := open(t, dir)
	value := bytes.Repeat([]byte("v"), 500)
	if err := l.Put(KindOther, "old", []byte("stays")); err != nil {
		t.Fatal(err)
	}
	biggest := int64(0)
	for i := range 20000 { // 10 MB in all
		if err := l.Put(KindBinding, fmt.Sprint(i%100), value); err != nil {
			t.Fatal(err)
		}
		biggest = max(biggest, l.Size())
	}
	if limit := int64(compactSlack + 100*600 + 2000); biggest > limit || l.CompactErr() != nil {
		t.Errorf("%d octets, more than %d; %v", biggest, limit, l.CompactErr())
	}
	want, err := l.Records()
	if err != nil || len(want) != 101 || want[0].Key != "old" {
		t.Fatalf("%v, %d records", err, len(want))
	}
	l.Close()
	if _, rec := open(t, dir); !reflect.DeepEqual(rec.Records, want) {
		t.Error("another content after compaction and reopening")
	}
}

// TestTempLeft: a compaction that was cut short changes nothing.
func TestTempLeft(t *testing.T) {
	dir := t.TempDir()
	l, _ := open(t, dir)
	if err := l.Put(KindSA, "a", []byte("1")); err != nil {
		t.Fatal(err)
	}
	l.Close()
	temp := filepath.Join(dir, tempName)
	if err := os.WriteFile(temp, []byte(magic+"half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, rec := open(t, dir); text(rec.Records) != "1 a=1\n" {
		t.Errorf("%s", text(rec.Records))
	}
	if _, err := os.Stat(temp); !errors.Is(err, os.ErrNotExist) {
		t.Error("the temporary file is left")
	}
}

func TestRefusals(t *testing.T) {
	l, _ := open(t, t.TempDir())
	before := l.Size()
	if err := l.Batch([]Change{put(KindSA, "small", "x"), put(KindSA, "big", strings.Repeat("x", maxRecord))}); !errors.Is(err, ErrTooBig) {
		t.Errorf("%v", err)
	}
	if err := l.Put(KindSA, strings.Repeat("k", 1<<16), nil); !errors.Is(err, ErrTooBig) {
		t.Errorf("%v", err)
	}
	if l.Size() != before || l.Len() != 0 {
		t.Error("a batch that was refused left something")
	}
	l.Close()
	if err := l.Put(KindSA, "a", nil); !errors.Is(err, ErrClosed) {
		t.Errorf("%v", err)
	}
	if err := l.Clean(); !errors.Is(err, ErrClosed) {
		t.Errorf("%v", err)
	}
}

func FuzzOpen(f *testing.F) {
	b, _ := appendRecord(nil, put(KindSA, "key", "value"))
	f.Add(append(append([]byte(magic), make([]byte, 16)...), b...))
	f.Add([]byte(magic))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(filepath.Join(dir, fileName), data, 0o600); err != nil {
			t.Fatal(err)
		}
		l, rec, err := Open(dir)
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Fatal(err)
			}
			return
		}
		l.Close()
		l, again, err := Open(dir)
		if err != nil || len(again.Records) != len(rec.Records) || again.Torn != 0 {
			t.Fatalf("%v: %d records, then %d", err, len(rec.Records), len(again.Records))
		}
		l.Close()
	})
}

// BenchmarkBatch is a move of one node: a binding and two ro states.
func BenchmarkBatch(b *testing.B) {
	dir, err := os.MkdirTemp("/dev/shm", "ledger")
	if err != nil {
		b.Skip(err)
	}
	defer os.RemoveAll(dir)
	l, _, err := Open(dir)
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	value := bytes.Repeat([]byte("v"), 300)
	for i := range 100_000 {
		if err := l.Put(KindBinding, fmt.Sprint("2001:db8::", i), value); err != nil {
			b.Fatal(err)
		}
	}
	i := 0
	for b.Loop() {
		key := fmt.Sprint("2001:db8::", i%100_000)
		if err := l.Batch([]Change{{Kind: KindBinding, Key: key, Value: value}, {Kind: KindSA, Key: key, Value: value[:150]},
			{Kind: KindSA, Key: key + "r", Value: value[:150]}}); err != nil {
			b.Fatal(err)
		}
		i++
	}
}

// An orderly end takes all but what has to outlive it.
func TestCleanKeeps(t *testing.T) {
	dir := t.TempDir()
	l, _, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	for kind, key := range map[Kind]string{KindSA: "a", KindPeer: "b", KindNode: "c"} {
		if err := l.Put(kind, key, []byte(key)); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Clean(KindPeer); err != nil {
		t.Fatal(err)
	}
	l, rec, err := Open(dir)
	if err != nil || len(rec.Records) != 1 || rec.Records[0].Kind != KindPeer || string(rec.Records[0].Value) != "b" {
		t.Fatalf("left: %+v %v", rec, err)
	}
	if err := l.Clean(KindSA); err != nil {
		t.Fatal(err)
	}
	if l, rec, err = Open(dir); err != nil || len(rec.Records) != 0 {
		t.Fatalf("left: %+v %v", rec, err)
	}
	l.Close()
}
