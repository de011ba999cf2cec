package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Keys is a folder with Wireshark's key files, for tshark and for people:
//
// ikev2_decryption_table, one IKE SA a line (Preferences, Protocols, ISAKMP):
//
//	SPI_I,SPI_R,SK_ei,SK_er,"ENCRYPTION",SK_ai,SK_ar,"INTEGRITY"
//
// SPIs and keys in hexadecimal without 0x; ENCRYPTION as Wireshark names it, such as
// "AES-GCM-256 with 16 octet ICV [RFC5282]", whose key holds the 4 octets of salt
// after the key proper; with an AEAD SK_ai and SK_ar are empty and INTEGRITY is
// "NONE [RFC4306]".
//
// esp_sa, one ESP SA a line (Preferences, Protocols, ESP):
//
//	"PROTOCOL","SRC","DST","SPI","ENCRYPTION","ENCKEY","AUTHENTICATION","AUTHKEY","SN","ESN_HIGH"
//
// PROTOCOL is "IPv4" or "IPv6"; SRC and DST are addresses as text or "*"; SPI and
// keys in hexadecimal with 0x; ENCRYPTION such as "AES-GCM with 16 octet ICV [RFC4106]", whose key
// holds the 4 octets of salt after the key proper; with it AUTHENTICATION is "NULL"
// and AUTHKEY empty. SN is "32-bit" or "64-bit" (extended sequence numbers), and
// ESN_HIGH the high half to begin with ("0"): Wireshark 4.0 has neither column, says
// so and takes the line without them; later ones want both.
// After a move the outer addresses are others: write "*" for the node's side.
//
// Both also go into a profile: the folder as WIRESHARK_CONFIG_DIR. The file
// preferences there turns decryption and sequence analysis of ESP on.
type Keys struct{ Dir string }

// ESPKey is one line of esp_sa.
type ESPKey struct {
	Src, Dst   string // addresses, or "*"
	SPI        uint32
	Encryption string // Wireshark's name; empty: AES-GCM
	Key        []byte // with the salt
	ESN        bool
}

const (
	espFile  = "esp_sa"
	ikeFile  = "ikev2_decryption_table"
	prefFile = "preferences"
	espGCM   = "AES-GCM with 16 octet ICV [RFC4106]"
)

// NewKeys makes the folder with its preferences; it may have key files already.
func NewKeys(dir string) (Keys, error) {
	k := Keys{Dir: dir}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return k, err
	}
	prefs := "esp.enable_encryption_decode: TRUE\nesp.enable_null_encryption_decode_heuristic: FALSE\nip.defragment: TRUE\ngui.update.enabled: FALSE\n"
	return k, os.WriteFile(filepath.Join(dir, prefFile), []byte(prefs), 0o600)
}

// AddESP appends a line to esp_sa.
func (k Keys) AddESP(e ESPKey) error {
	enc, sn := e.Encryption, "32-bit"
	if enc == "" {
		enc = espGCM
	}
	if e.ESN {
		sn = "64-bit"
	}
	line := fmt.Sprintf(`"IPv6","%s","%s","0x%08x","%s","0x%x","NULL","","%s","0"`, e.Src, e.Dst, e.SPI, enc, e.Key, sn)
	return k.add(espFile, line)
}

// AddIKE appends a ready line to ikev2_decryption_table.
func (k Keys) AddIKE(line string) error { return k.add(ikeFile, line) }

func (k Keys) add(file, line string) error {
	f, err := os.OpenFile(filepath.Join(k.Dir, file), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(line + "\n")
	return errors.Join(err, f.Close())
}

// Tshark reads a capture: of each packet that the display filter lets through, the
// values of the fields (several values of one field are separated by commas).
// Without fields it gives one empty row a packet, for counting. keys may be the
// zero Keys: nothing is decrypted then. It takes some 10 s in user-mode Linux: read
// captures there with ReadCapture, and let tshark work on the host afterwards.
func Tshark(ctx context.Context, keys Keys, file, filter string, fields ...string) ([][]string, error) {
	bin, err := exec.LookPath("tshark")
	if err != nil {
		return nil, fmt.Errorf("%w: tshark (apt-get install tshark)", ErrMissing)
	}
	count := len(fields) == 0
	if count {
		fields = []string{"frame.number"}
	}
	args := []string{"-n", "-r", file, "-Y", filter, "-T", "fields", "-E", "separator=/t", "-E", "aggregator=,"}
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	cmd := exec.CommandContext(ctx, bin, args...)
	cmd.Env = append(os.Environ(), "HOME="+os.TempDir())
	if keys.Dir != "" {
		cmd.Env = append(cmd.Env, "WIRESHARK_CONFIG_DIR="+keys.Dir)
	}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("lab: tshark of %s with filter %q: %w: %s", filepath.Base(file), filter, err, strings.TrimSpace(errs.String()))
	}
	var rows [][]string
	for _, line := range strings.Split(out.String(), "\n") {
		if line == "" {
			continue
		}
		if count {
			rows = append(rows, nil)
			continue
		}
		rows = append(rows, strings.Split(line, "\t"))
	}
	return rows, nil
}

// During is a display filter for packets captured in [from, to), to be joined to
// others by &&.
func During(from, to time.Time) string {
	return fmt.Sprintf("(frame.time_epoch >= %s && frame.time_epoch < %s)", epoch(from), epoch(to))
}

func epoch(t time.Time) string {
	return strconv.FormatInt(t.Unix(), 10) + "." + fmt.Sprintf("%09d", t.Nanosecond())
}
