package config

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

const (
	maxKeyFile = 1 << 20
	shortKey   = 16 // octets below which a pre-shared key is worth a warning
)

// secret reads a pre-shared key that stands in the file or in a file of its own.
func (ld *loader) secret(t *table, key, fileKey string, dst *Secret) {
	text, at := ld.secretText(t, key, fileKey)
	if text == "" {
		return
	}
	k, err := parseSecret(text)
	if err != nil {
		t.fail(at, "%v", err) // never the key itself
		return
	}
	if len(k) < shortKey {
		ld.warn(join(t.path, at), "the key has only %d octets; whoever sees the handshake can try all such keys", len(k))
	}
	*dst = k
}

// octets reads a key of n octets, which is written in hexadecimal digits.
func (ld *loader) octets(t *table, key, fileKey string, n int, dst *Secret) {
	text, at := ld.secretText(t, key, fileKey)
	if text == "" {
		return
	}
	k, err := parseSecret(text)
	switch {
	case err != nil:
		t.fail(at, "%v", err)
	case !strings.HasPrefix(text, "0x"):
		t.fail(at, `expected "0x" and %d hexadecimal digits`, 2*n)
	case len(k) != n:
		t.fail(at, `expected %d octets: "0x" and %d hexadecimal digits, found %d octets`, n, 2*n, len(k))
	default:
		*dst = k
	}
}

// secretText is what stands under key, or in the file that fileKey names, and which
// of the two it was. "" where there is none, or where that was a mistake.
func (ld *loader) secretText(t *table, key, fileKey string) (text, at string) {
	t.get(fileKey) // is known, asked for or not
	if t.str(key, &text) {
		ld.inline = true
		return text, key
	}
	var file string
	if !t.absPath(fileKey, &file) {
		return "", key
	}
	data, err := readPrivate(file)
	if err != nil {
		t.fail(fileKey, "%v", err)
		return "", fileKey
	}
	if text = strings.TrimRight(string(data), "\r\n"); text == "" {
		t.fail(fileKey, "%s is empty; expected a key", file)
	}
	return text, fileKey
}

// parseSecret reads text, or octets as "0x" and hexadecimal digits.
func parseSecret(text string) (Secret, error) {
	digits, isHex := strings.CutPrefix(text, "0x")
	if !isHex {
		return Secret(text), nil
	}
	b, err := hex.DecodeString(digits)
	if err != nil || len(b) == 0 {
		return nil, errors.New(`expected an even number of hexadecimal digits after "0x"`)
	}
	return b, nil
}

// readPrivate reads a file that nobody else may read.
func readPrivate(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%s cannot be read: %s", path, reason(err))
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("%s cannot be read: %s", path, reason(err))
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a file", path)
	}
	if mode := st.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("%s has mode %04o; expected 0600, so that only its owner may read the key", path, mode)
	}
	return readBounded(f, path)
}

func readBounded(f *os.File, path string) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return nil, fmt.Errorf("%s cannot be read: %s", path, reason(err))
	}
	if len(data) > maxKeyFile {
		return nil, fmt.Errorf("%s is bigger than %d KiB", path, maxKeyFile>>10)
	}
	return data, nil
}
