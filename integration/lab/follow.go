package lab

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"sort"
	"time"
)

// Follower reads a capture file of this package while it grows: each packet is
// read and walked once, however often one looks.
type Follower struct {
	file string
	off  int64
	buf  []byte // a block whose end is not yet in the file
	seen []Seen
}

// Follow begins with the file's first packet. The file is opened at each look.
func Follow(file string) *Follower { return &Follower{file: file} }

// Between gives the IPv6 packets captured in [from, to), in the order of time. A packet
// is in the file within 0.1 s after it was on the wire.
func (f *Follower) Between(from, to time.Time) ([]Seen, error) {
	if err := f.read(); err != nil {
		return nil, err
	}
	i := sort.Search(len(f.seen), func(i int) bool { return !f.seen[i].Time.Before(from) })
	j := sort.Search(len(f.seen), func(i int) bool { return !f.seen[i].Time.Before(to) })
	return f.seen[i:max(i, j):max(i, j)], nil
}

// read takes in what was appended since the last look.
func (f *Follower) read() error {
	file, err := os.Open(f.file)
	if err != nil {
		return err
	}
	defer file.Close()
	chunk := make([]byte, 256<<10)
	for {
		n, err := file.ReadAt(chunk, f.off)
		f.off += int64(n)
		f.buf = append(f.buf, chunk[:n]...)
		f.blocks()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	// The kernel hands packets over in the order of capture, with rare exceptions.
	if !sort.SliceIsSorted(f.seen, func(i, j int) bool { return f.seen[i].Time.Before(f.seen[j].Time) }) {
		sort.SliceStable(f.seen, func(i, j int) bool { return f.seen[i].Time.Before(f.seen[j].Time) })
	}
	return nil
}

// blocks walks the whole blocks in the buffer and keeps the rest.
func (f *Follower) blocks() {
	le := binary.LittleEndian
	b := f.buf
	for len(b) >= 12 {
		n := int(le.Uint32(b[4:]))
		if n < 12 || len(b) < n {
			break
		}
		if le.Uint32(b) == blockPacket && n >= 32 {
			f.packet(b[8 : n-4])
		}
		b = b[n:]
	}
	f.buf = append(f.buf[:0], b...)
}

// packet reads an enhanced packet block: interface, time, captured length, length, data.
func (f *Follower) packet(b []byte) {
	le := binary.LittleEndian
	const head, ethernet, etherIPv6 = 20, 14, 0x86dd
	captured := int(le.Uint32(b[12:]))
	if captured < ethernet || captured > len(b)-head {
		return
	}
	frame := b[head : head+captured]
	if binary.BigEndian.Uint16(frame[12:]) != etherIPv6 {
		return
	}
	if s, ok := look(frame[ethernet:]); ok {
		s.Time = time.Unix(0, int64(uint64(le.Uint32(b[4:]))<<32|uint64(le.Uint32(b[8:]))))
		s.Length = int(le.Uint32(b[16:]))
		f.seen = append(f.seen, s)
	}
}
