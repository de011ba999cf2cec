package ledger

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// The file: a header (8 octets magic, 16 octets boot id), then records:
//
//	crc    uint32   of all that follows in the record (Castagnoli)
//	length uint32   of kind, flags, key and value
//	kind   uint8
//	flags  uint8    1: removal
//	keyLen uint16
//	key, value
const (
	magic      = "mip6led1"
	headerLen  = len(magic) + 16
	prefixLen  = 8
	fixedLen   = 4
	maxRecord  = 1 << 20
	flagRemove = 1

	// compactSlack is what a file may hold of dead records before a rewrite is
	// worth it; beyond it the file stays within twice its live content.
	compactSlack = 1 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func appendRecord(b []byte, c Change) ([]byte, error) {
	body := fixedLen + len(c.Key) + len(c.Value)
	if len(c.Key) > 0xffff || body > maxRecord {
		return b, fmt.Errorf("%w: %d octets under key %.40q", ErrTooBig, body, c.Key)
	}
	start := len(b)
	b = append(b, 0, 0, 0, 0)
	var flags uint8
	value := c.Value
	if c.Del {
		flags, value = flagRemove, nil
		body = fixedLen + len(c.Key)
	}
	b = binary.BigEndian.AppendUint32(b, uint32(body))
	b = append(b, uint8(c.Kind), flags)
	b = binary.BigEndian.AppendUint16(b, uint16(len(c.Key)))
	b = append(b, c.Key...)
	b = append(b, value...)
	binary.BigEndian.PutUint32(b[start:], crc32.Checksum(b[start+4:], castagnoli))
	return b, nil
}

// readRecord reads the record at the front of b. n is its length, 0 where there
// is no whole and sound one. Key and value point into b.
func readRecord(b []byte) (kind Kind, del bool, key, value []byte, n int) {
	if len(b) < prefixLen+fixedLen {
		return
	}
	body := int(binary.BigEndian.Uint32(b[4:]))
	if body < fixedLen || body > maxRecord || len(b) < prefixLen+body {
		return
	}
	rec := b[:prefixLen+body]
	if crc32.Checksum(rec[4:], castagnoli) != binary.BigEndian.Uint32(rec) {
		return
	}
	keyLen := int(binary.BigEndian.Uint16(rec[10:]))
	if fixedLen+keyLen > body {
		return
	}
	key = rec[prefixLen+fixedLen:][:keyLen]
	return Kind(rec[8]), rec[9]&flagRemove != 0, key, rec[prefixLen+fixedLen+keyLen:], len(rec)
}

// open reads the file and makes it ready for appending.
func (l *Ledger) open() (Recovered, error) {
	os.Remove(filepath.Join(l.dir, tempName)) // a compaction that was cut short
	path := filepath.Join(l.dir, fileName)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return Recovered{}, fmt.Errorf("ledger: %w", err)
	}
	l.file = f
	data, err := io.ReadAll(f)
	if err != nil {
		return Recovered{}, fmt.Errorf("ledger: %w", err)
	}
	if len(data) >= len(magic) && string(data[:len(magic)]) != magic {
		return Recovered{}, fmt.Errorf("%w: %s (move it away to begin anew)", ErrFormat, path)
	}
	var rec Recovered
	if len(data) < headerLen { // new, or cut within the header
		rec.Torn = int64(len(data))
		return rec, l.begin()
	}
	rec.Rebooted = [16]byte(data[len(magic):headerLen]) != l.boot
	l.size = int64(headerLen)
	l.note(data[headerLen:])
	rec.Torn = int64(len(data)) - l.size
	rec.Records = l.records(data)
	if rec.Torn > 0 || rec.Rebooted {
		return rec, l.compactFrom(data)
	}
	return rec, nil
}

// begin writes the header of an empty file.
func (l *Ledger) begin() error {
	if err := l.file.Truncate(0); err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	l.size, l.live = 0, 0
	if err := l.write(l.header()); err != nil {
		return err
	}
	l.size = int64(headerLen)
	return nil
}

func (l *Ledger) header() []byte { return append([]byte(magic), l.boot[:]...) }

// note enters the records in b, which stand at the end of the file, in the index.
func (l *Ledger) note(b []byte) {
	for {
		kind, del, key, _, n := readRecord(b)
		if n == 0 {
			return
		}
		k := id{kind, string(key)}
		old, was := l.index[k]
		l.live -= old.len
		if del {
			delete(l.index, k)
		} else {
			if !was {
				l.order++
				old.order = l.order
			}
			l.index[k] = span{off: l.size, len: int64(n), order: old.order}
			l.live += int64(n)
		}
		l.size += int64(n)
		b = b[n:]
	}
}

// inOrder lists the live records by the time their keys were first written.
func (l *Ledger) inOrder() []id {
	ids := make([]id, 0, len(l.index))
	for k := range l.index {
		ids = append(ids, k)
	}
	slices.SortFunc(ids, func(a, b id) int {
		if l.index[a].order < l.index[b].order {
			return -1
		}
		return 1
	})
	return ids
}

// records reads the live records out of the whole file's content.
func (l *Ledger) records(data []byte) []Record {
	ids := l.inOrder()
	out := make([]Record, 0, len(ids))
	for _, k := range ids {
		_, _, _, value, _ := readRecord(data[l.index[k].off:])
		out = append(out, Record{Kind: k.kind, Key: k.key, Value: slices.Clone(value)})
	}
	return out
}

// Records reads what stands in the ledger, in the order of Recovered.
func (l *Ledger) Records() ([]Record, error) {
	if l.file == nil {
		return nil, ErrClosed
	}
	data := make([]byte, l.size)
	if _, err := l.file.ReadAt(data, 0); err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	return l.records(data), nil
}

// bootID tells one start of the host from another; all zero where it is unknown.
func bootID() (out [16]byte) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return out
	}
	s := strings.ReplaceAll(strings.TrimSpace(string(b)), "-", "")
	for i := 0; i < 16 && 2*i+2 <= len(s); i++ {
		fmt.Sscanf(s[2*i:2*i+2], "%02x", &out[i])
	}
	return out
}
