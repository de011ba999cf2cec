package control

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Duration is a time.Duration that JSON has as seconds with fractions.
type Duration time.Duration

// MarshalJSON gives seconds.
func (d Duration) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, time.Duration(d).Seconds(), 'f', -1, 64), nil
}

// UnmarshalJSON reads seconds.
func (d *Duration) UnmarshalJSON(b []byte) error {
	f, err := strconv.ParseFloat(string(b), 64)
	if err != nil {
		return fmt.Errorf("control: %q is no number of seconds", b)
	}
	*d = Duration(f * float64(time.Second))
	return nil
}

// Hex32 is a number that JSON has as "0xc5959ac2".
type Hex32 uint32

func (h Hex32) String() string { return fmt.Sprintf("0x%08x", uint32(h)) }

// MarshalText gives hexadecimal digits.
func (h Hex32) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText reads them.
func (h *Hex32) UnmarshalText(b []byte) error {
	v, err := strconv.ParseUint(strings.TrimPrefix(string(b), "0x"), 16, 32)
	*h = Hex32(v)
	return err
}

// Hex64 is a number that JSON has as "0x58b6f8e6f23188fa".
type Hex64 uint64

func (h Hex64) String() string { return fmt.Sprintf("0x%016x", uint64(h)) }

// MarshalText gives hexadecimal digits.
func (h Hex64) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText reads them.
func (h *Hex64) UnmarshalText(b []byte) error {
	v, err := strconv.ParseUint(strings.TrimPrefix(string(b), "0x"), 16, 64)
	*h = Hex64(v)
	return err
}
