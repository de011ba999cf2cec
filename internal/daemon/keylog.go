package daemon

import (
	"fmt"
	"log/slog"
	"os"

	"golang.org/x/sys/unix"

	"github.com/mip6/mip6/ike"
)

// keyLog writes the keys of IKE SAs and of child SAs as Wireshark's tables
// ikev2_decryption_table and esp_sa have them. It exists only where the
// configuration names the files: whoever reads them reads the traffic.
type keyLog struct {
	ike, esp *os.File
	log      *slog.Logger
}

// openKeyLog opens the files that are named; an empty name is off.
func openKeyLog(ikePath, espPath string, log *slog.Logger) (*keyLog, error) {
	k := &keyLog{log: log}
	var err error
	if k.ike, err = openAppend(ikePath); err != nil {
		return nil, err
	}
	if k.esp, err = openAppend(espPath); err != nil {
		k.close()
		return nil, err
	}
	return k, nil
}

func openAppend(path string) (*os.File, error) {
	if path == "" {
		return nil, nil
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("key log: %w", err)
	}
	info, err := f.Stat()
	if err == nil && info.Mode().Perm()&0o077 != 0 {
		err = fmt.Errorf("%s may be read by others (mode %04o); chmod 600 it", path, info.Mode().Perm())
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("key log: %w", err)
	}
	return f, nil
}

func (k *keyLog) close() {
	for _, f := range []*os.File{k.ike, k.esp} {
		if f != nil {
			f.Close()
		}
	}
}

// ikeSA logs an IKE SA: SPIs, encryption keys with their salts, cipher,
// integrity keys, integrity algorithm.
func (k *keyLog) ikeSA(a ike.Keys) {
	if k.ike == nil {
		return
	}
	k.write(k.ike, fmt.Sprintf("%016x,%016x,%x,%x,%q,%x,%x,%q\n",
		a.SPIi, a.SPIr, a.SKei, a.SKer, a.WiresharkEnc, a.SKai, a.SKar, a.WiresharkInt))
}

// espSA logs one direction of a child SA. Its addresses are left open, because
// the SA outlives them: they change at each move.
func (k *keyLog) espSA(spi uint32, key []byte) {
	if k.esp == nil {
		return
	}
	k.write(k.esp, fmt.Sprintf("\"IPv6\",\"*\",\"*\",\"0x%08x\",\"AES-GCM with 16 octet ICV [RFC4106]\",\"0x%x\",\"NULL\",\"\"\n", spi, key))
}

func (k *keyLog) write(f *os.File, line string) {
	if _, err := f.WriteString(line); err != nil {
		k.log.Warn("key log", "file", f.Name(), "error", err)
	}
}
