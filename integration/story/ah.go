package story

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"strconv"
	"strings"
)

// ahKey is what an AH state of the kernel says of its integrity check value.
type ahKey struct {
	spi  uint32
	new  func() hash.Hash
	key  []byte
	size int // octets of the ICV
	esn  bool
}

// ahHashes are the kernel's names.
var ahHashes = map[string]func() hash.Hash{"hmac(sha1)": sha1.New, "hmac(sha256)": sha256.New, "hmac(sha384)": sha512.New384, "hmac(sha512)": sha512.New}

// parseAH reads the AH states of `ip xfrm state`.
func parseAH(all []state) (keys []ahKey, err error) {
	for _, x := range all {
		if x.Proto != "ah" {
			continue
		}
		k := ahKey{esn: strings.Contains(x.Text, "flag esn") || strings.Contains(x.Text, " esn")}
		spi, err := strconv.ParseUint(x.SPI, 0, 32)
		if err != nil {
			return nil, err
		}
		k.spi = uint32(spi)
		for _, line := range strings.Split(x.Text, "\n") {
			f := strings.Fields(line)
			if len(f) < 4 || f[0] != "auth-trunc" {
				continue
			}
			bits, err := strconv.Atoi(f[3])
			if err != nil {
				return nil, err
			}
			if k.key, err = hex.DecodeString(strings.TrimPrefix(f[2], "0x")); err != nil {
				return nil, err
			}
			k.new, k.size = ahHashes[f[1]], bits/8
		}
		if k.new == nil {
			return nil, fmt.Errorf("story: AH state with an unknown algorithm:\n%s", x.Text)
		}
		keys = append(keys, k)
	}
	return keys, nil
}

var errAH = errors.New("story: packet without a whole authentication header")

// verify computes the integrity check value of a captured packet anew and compares.
func (k ahKey) verify(packet []byte) error {
	have, rest, err := ahInput(packet, k.size)
	if err != nil {
		return err
	}
	mac := hmac.New(k.new, k.key)
	mac.Write(rest)
	if k.esn { // the high half of the extended number follows (RFC 4302 §3.3.3.2.3), here 0
		mac.Write(make([]byte, 4))
	}
	if want := mac.Sum(nil)[:k.size]; !hmac.Equal(want, have) {
		return fmt.Errorf("story: ICV %x in the packet, %x by computation", have, want)
	}
	return nil
}

// ahInput is what an authentication header's ICV covers, as RFC 4302 §3.3.3 and RFC
// 6275 (§6.4.1 with §9.3.2 for the type 2 routing header, §11.3.2 for the home address
// option) say: mutable fields zero, and addresses as the receiver's upper layers see
// them. icv is the value in the packet, whose place in the input is zero.
func ahInput(packet []byte, size int) (icv, input []byte, err error) {
	if len(packet) < 40 || packet[0]>>4 != 6 {
		return nil, nil, errAH
	}
	b := append([]byte(nil), packet[:min(len(packet), 40+int(binary.BigEndian.Uint16(packet[4:])))]...)
	// §3.3.3.1.2.1: traffic class, flow label and hop limit are mutable.
	b[0], b[1], b[2], b[3], b[7] = 0x60, 0, 0, 0, 0
	next, at := b[6], 40
	for next != 51 {
		if next != 0 && next != 43 && next != 60 || len(b) < at+8 || len(b) < at+8+int(b[at+1])*8 {
			return nil, nil, errAH
		}
		h := b[at : at+8+int(b[at+1])*8]
		switch {
		case next == 43 && h[2] == 2 && len(h) == 24:
			// As it is at the receiver: the home address is the destination, no segment left.
			swap(b[24:40], h[8:24])
			h[3] = 0
		case next == 0, next == 60:
			if err := ahOptions(b, h[2:]); err != nil {
				return nil, nil, err
			}
		default:
			return nil, nil, fmt.Errorf("story: routing header of type %d before AH", h[2])
		}
		next, at = h[0], at+len(h)
	}
	if len(b) < at+12+size || len(b) < at+8+int(b[at+1])*4 || 8+int(b[at+1])*4 < 12+size {
		return nil, nil, errAH
	}
	// The ICV is zero for the computation; its padding to 64 bits is not (§3.3.3.2.1).
	icv = append([]byte(nil), b[at+12:at+12+size]...)
	clear(b[at+12 : at+12+size])
	return icv, b, nil
}

// ahOptions zeroes the data of options that may change on the way (§3.3.3.1.2.2: third
// bit of the type), and swaps the home address option's address with the source.
func ahOptions(b, options []byte) error {
	for o := options; len(o) > 0; {
		if o[0] == 0 {
			o = o[1:]
			continue
		}
		if len(o) < 2 || len(o) < 2+int(o[1]) {
			return errAH
		}
		data := o[2 : 2+int(o[1])]
		switch {
		case o[0] == 201 && len(data) == 16:
			swap(b[8:24], data)
		case o[0]&0x20 != 0:
			clear(data)
		}
		o = o[2+len(data):]
	}
	return nil
}

func swap(a, b []byte) {
	for i := range a {
		a[i], b[i] = b[i], a[i]
	}
}
