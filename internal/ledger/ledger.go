// Package ledger is the journal of what this program put into the host and of
// what it must know after a crash: IPsec objects, addresses, routes, values found
// in sysctls, bindings, sequence numbers, peer endpoints. A change is written
// before it is applied, so that what a killed daemon left behind is in the
// journal, plus perhaps the one change that it did not come to apply.
//
// The journal is one append-only file on /run, which is memory: a write(2) that
// returned outlives the process, and a crash of the kernel takes the journal and
// the objects alike, so nothing is synced to a disk. A record that was cut short
// by the crash is recognised by its length and checksum and dropped. Keys of SAs
// are never written.
//
// A Ledger belongs to one goroutine; it does no locking of its own.
package ledger

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// Errors of this package; test with errors.Is.
var (
	ErrInUse  = errors.New("ledger: another mip6d is using this state directory")
	ErrFormat = errors.New("ledger: the file is not a journal of this program")
	ErrTooBig = errors.New("ledger: record is too big")
	ErrClosed = errors.New("ledger: closed")
)

// Kind says what a record is about. The numbers are in the file: never reuse one.
type Kind uint8

// The kinds of records.
const (
	KindSA       Kind = 1 // an ro state, or an SA without a request id: StateKey → StateInfo
	KindPolicy   Kind = 2 // a policy: PolicyKey → xfrm.PolicyID
	KindHost     Kind = 3 // an address, route, rule or proxy: HostKey → the host.Op
	KindSysctl   Kind = 4 // a sysctl: its name → the value found
	KindSPD      Kind = 5 // SPD hash thresholds found
	KindBinding  Kind = 6 // state of a home agent for a home address
	KindNode     Kind = 7 // state of a mobile node for a home address
	KindEndpoint Kind = 8 // IKE endpoint of a peer
	KindOther    Kind = 9
	KindRoute    Kind = 10 // state of a mobile node for a correspondent
	KindPeer     Kind = 11 // state of a correspondent for a mobile node
)

// Change is one record: Value under Kind and Key, or its removal.
type Change struct {
	Kind  Kind
	Key   string
	Value []byte // opaque; not kept after the call
	Del   bool
}

// Record is a Value that stands in the ledger.
type Record struct {
	Kind  Kind
	Key   string
	Value []byte
}

// Recovered is what an earlier run left, in the order in which it was first
// written: later records rest on earlier ones, so undo from the end.
type Recovered struct {
	Records []Record
	// Torn counts octets at the end of the file that were no whole record.
	Torn int64
	// Rebooted says that the host was started anew since: objects are gone,
	// bindings are still worth having.
	Rebooted bool
}

// Ledger is an open journal.
type Ledger struct {
	dir  string
	file *os.File
	lock *os.File
	boot [16]byte

	size  int64 // of the file
	live  int64 // octets of it that still count
	index map[id]span
	order uint64
	buf   []byte
	err   error // of a failed write that could not be taken back
	// compactErr is of the last compaction, which is tried again from size retryAt on.
	compactErr error
	retryAt    int64
}

type id struct {
	kind Kind
	key  string
}

// span is where a live record is and when its key was first written.
type span struct {
	off   int64
	len   int64
	order uint64
}

const (
	fileName = "ledger"
	lockName = "ledger.lock"
	tempName = "ledger.new"
)

// Open takes the state directory dir, which it makes if need be (mode 0700), and
// reads what is there. It fails with ErrInUse where another process has it.
func Open(dir string) (*Ledger, Recovered, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, Recovered{}, fmt.Errorf("ledger: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, Recovered{}, fmt.Errorf("ledger: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, Recovered{}, fmt.Errorf("%w: %s", ErrInUse, dir)
		}
		return nil, Recovered{}, fmt.Errorf("ledger: lock %s: %w", dir, err)
	}
	l := &Ledger{dir: dir, lock: lock, boot: bootID(), index: map[id]span{}}
	rec, err := l.open()
	if err != nil {
		if l.file != nil {
			l.file.Close()
		}
		lock.Close()
		return nil, Recovered{}, err
	}
	return l, rec, nil
}

// Put writes value under kind and key in place of what stands there.
func (l *Ledger) Put(kind Kind, key string, value []byte) error {
	return l.Batch([]Change{{Kind: kind, Key: key, Value: value}})
}

// Del removes what stands under kind and key; nothing there is no error.
func (l *Ledger) Del(kind Kind, key string) error {
	return l.Batch([]Change{{Kind: kind, Key: key, Del: true}})
}

// Batch writes all changes with one system call. A crash in its midst leaves a
// prefix of them.
func (l *Ledger) Batch(changes []Change) error {
	if l.file == nil {
		return ErrClosed
	}
	if l.err != nil {
		return l.err
	}
	l.buf = l.buf[:0]
	puts := false
	for _, c := range changes {
		if c.Del && !puts {
			if _, there := l.index[id{c.Kind, c.Key}]; !there {
				continue // nothing to remove
			}
		}
		puts = puts || !c.Del
		var err error
		if l.buf, err = appendRecord(l.buf, c); err != nil {
			return err
		}
	}
	if len(l.buf) == 0 {
		return nil
	}
	if err := l.write(l.buf); err != nil {
		return err
	}
	l.note(l.buf)
	l.maybeCompact()
	return nil
}

// write appends b, and takes back what came through of a write that failed, so
// that the next record does not stand behind a torn one.
func (l *Ledger) write(b []byte) error {
	n, err := l.file.WriteAt(b, l.size)
	if err == nil {
		return nil
	}
	err = fmt.Errorf("ledger: write: %w", err)
	if n > 0 {
		if terr := l.file.Truncate(l.size); terr != nil {
			l.err = err
		}
	}
	return err
}

// Has tells whether a record stands under kind and key.
func (l *Ledger) Has(kind Kind, key string) bool {
	_, ok := l.index[id{kind, key}]
	return ok
}

// Len is the number of records that stand in the ledger, Size the length of its
// file in octets.
func (l *Ledger) Len() int    { return len(l.index) }
func (l *Ledger) Size() int64 { return l.size }

// CompactErr is why the last rewrite of the file failed, or nil. The journal goes
// on growing then, and nothing is lost.
func (l *Ledger) CompactErr() error { return l.compactErr }

// Dir is the state directory.
func (l *Ledger) Dir() string { return l.dir }

// Close leaves the content for the next run and gives the directory free.
func (l *Ledger) Close() error {
	if l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file = nil
	return errors.Join(err, l.lock.Close())
}

// Clean is Close after an orderly end: nothing of ours is in the host any more, so the content goes
// too, but for the kinds that have to outlive it.
func (l *Ledger) Clean(keep ...Kind) error {
	if l.file == nil {
		return ErrClosed
	}
	var gone []Change
	kept := 0
	for k := range l.index {
		if slices.Contains(keep, k.kind) {
			kept++
			continue
		}
		gone = append(gone, Change{Kind: k.kind, Key: k.key, Del: true})
	}
	var err error
	if kept == 0 {
		err = os.Remove(filepath.Join(l.dir, fileName))
	} else {
		err = l.Batch(gone)
	}
	return errors.Join(err, l.Close())
}
