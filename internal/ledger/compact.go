package ledger

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// maybeCompact rewrites the file where much of it is dead. That it could not is no
// failure of the change that was just written.
func (l *Ledger) maybeCompact() {
	dead := l.size - int64(headerLen) - l.live
	if dead <= max(compactSlack, l.live) || l.size < l.retryAt {
		return
	}
	data := make([]byte, l.size)
	_, err := l.file.ReadAt(data, 0)
	if err == nil {
		err = l.compactFrom(data)
	}
	l.compactErr, l.retryAt = err, 0
	if err != nil {
		l.retryAt = l.size + compactSlack
	}
}

// compactFrom writes the live records to a new file and puts it in the place of
// the old one. A crash leaves the one or the other.
func (l *Ledger) compactFrom(data []byte) error {
	out := make([]byte, 0, int64(headerLen)+l.live)
	out = append(out, l.header()...)
	ids := l.inOrder()
	for _, k := range ids {
		s := l.index[k]
		out = append(out, data[s.off:s.off+s.len]...)
	}
	temp := filepath.Join(l.dir, tempName)
	f, err := os.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_TRUNC|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return fmt.Errorf("ledger: compact: %w", err)
	}
	if _, err = f.Write(out); err == nil {
		err = os.Rename(temp, filepath.Join(l.dir, fileName))
	}
	if err != nil {
		f.Close()
		os.Remove(temp)
		return fmt.Errorf("ledger: compact: %w", err)
	}
	l.file.Close()
	l.file = f
	off := int64(headerLen)
	for _, k := range ids {
		s := l.index[k]
		s.off = off
		l.index[k] = s
		off += s.len
	}
	l.size, l.live = off, off-int64(headerLen)
	return nil
}
