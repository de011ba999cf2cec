package daemon

import (
	"fmt"
	"log/slog"
	"os"

	"golang.org/x/sys/unix"

	"github.com/mip6/mip6/ike"
	"github.com/mip6/mip6/ike/transform"
	"github.com/mip6/mip6/xfrm"
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

// ikeSA logs an IKE SA.
func (k *keyLog) ikeSA(a ike.Keys) {
	if k.ike == nil {
		return
	}
	k.write(k.ike, a.Wireshark()+"\n")
}

// espSA logs one direction of a child SA. Its addresses are left open, because
// the SA outlives them: they change at each move. AH, whose packets are plain,
// is not for this table. ChaCha20-Poly1305 stands in a comment: Wireshark 4.0 does
// not know the name and would read no line at all, later ones do.
func (k *keyLog) espSA(sa xfrm.SA) {
	if k.esp == nil || sa.Proto != xfrm.ESP {
		return
	}
	cipher, key, integ, auth := sa.Crypt.Name, sa.Crypt.Key, sa.Auth.Name, fmt.Sprintf("0x%x", sa.Auth.Key)
	if sa.AEAD.Name != "" {
		cipher, key = sa.AEAD.Name, sa.AEAD.Key
	}
	if cipher = transform.WiresharkESP(cipher); cipher == "" || len(key) == 0 {
		return
	}
	if integ = transform.WiresharkESPAuth(integ); integ == "" {
		integ, auth = "NULL", ""
	}
	ip := "IPv6"
	if sa.Dst.Is4() {
		ip = "IPv4"
	}
	comment := ""
	if sa.AEAD.Name == transform.ChaCha20Poly1305.Linux() {
		comment = "# "
	}
	k.write(k.esp, fmt.Sprintf("%s%q,\"*\",\"*\",\"0x%08x\",%q,\"0x%x\",%q,%q\n", comment, ip, uint32(sa.SPI), cipher, key, integ, auth))
}

func (k *keyLog) write(f *os.File, line string) {
	if _, err := f.WriteString(line); err != nil {
		k.log.Warn("key log", "file", f.Name(), "error", err)
	}
}
