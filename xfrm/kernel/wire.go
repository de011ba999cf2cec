package kernel

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Message types and attributes of the kernel's XFRM netlink interface
// (uapi linux/xfrm.h). Numbers in structures are in the host's byte order except
// where a comment says network order.
const (
	msgNewSA        = 0x10
	msgDelSA        = 0x11
	msgGetSA        = 0x12
	msgNewPolicy    = 0x13
	msgDelPolicy    = 0x14
	msgGetPolicy    = 0x15
	msgAllocSPI     = 0x16
	msgAcquire      = 0x17
	msgExpire       = 0x18
	msgUpdPolicy    = 0x19
	msgUpdSA        = 0x1a
	msgPolExpire    = 0x1b
	msgReport       = 0x20
	msgMigrate      = 0x21
	msgNewSPDInfo   = 0x24
	msgGetSPDInfo   = 0x25
	msgMapping      = 0x26
	msgMigrateState = 0x29 // kernels after 6.18

	attrAuth       = 1
	attrCrypt      = 2
	attrEncap      = 4
	attrTmpl       = 5
	attrLifeVal    = 9
	attrReplay     = 10
	attrSrcAddr    = 13
	attrCareOf     = 14
	attrLastUsed   = 15
	attrPolicyType = 16
	attrMigrate    = 17
	attrAEAD       = 18
	attrKMAddress  = 19
	attrAuthTrunc  = 20
	attrMark       = 21
	attrReplayESN  = 23
	attrProto      = 25
	attrFilter     = 26
	attrPad        = 27

	spdThresholds6 = 4 // XFRMA_SPD_IPV6_HTHRESH

	groupAcquire = 1
	groupExpire  = 2
	groupReport  = 6
	groupMigrate = 7
	groupMapping = 8
)

// Sizes of the fixed parts.
const (
	sizeHeader     = unix.SizeofNlMsghdr
	sizeSelector   = 56
	sizeSAInfo     = 224
	sizeSAID       = 24
	sizeSPIInfo    = 232
	sizePolicyInfo = 168
	sizePolicyID   = 64
	sizeTemplate   = 64
	sizeAcquire    = 280
	sizeExpire     = 225 // with padding 232; the flag is the last byte that counts
	sizePolExpire  = 169
	sizeReport     = 60
	sizeMigrate    = 76
	sizeKMAddress  = 40
	sizeMapping    = 64
	sizeEncap      = 24
	sizeReplay     = 12
	sizeReplayESN  = 24
	sizeAlgName    = 64
)

// maxTemplates is the kernel's XFRM_MAX_DEPTH.
const maxTemplates = 6

var (
	host      = binary.NativeEndian
	wireOrder = binary.BigEndian
)

// message is one netlink message under construction: the header first.
type message []byte

// newMessage starts a message with a zeroed fixed part of size bytes.
func newMessage(typ uint16, flags uint16, size int) message {
	m := make(message, sizeHeader+align(size), sizeHeader+align(size)+512)
	host.PutUint16(m[4:], typ)
	host.PutUint16(m[6:], unix.NLM_F_REQUEST|flags)
	return m
}

// fixed is the part after the header.
func (m message) fixed() []byte { return m[sizeHeader:] }

// attr appends an attribute with a zeroed value of size bytes and gives the value
// to be filled in.
func (m *message) attr(typ uint16, size int) []byte {
	start := len(*m)
	*m = append(*m, make([]byte, 4+align(size))...)
	b := (*m)[start:]
	host.PutUint16(b, uint16(4+size))
	host.PutUint16(b[2:], typ)
	return b[4 : 4+size]
}

// seal writes length and sequence number.
func (m message) seal(seq uint32) {
	host.PutUint32(m, uint32(len(m)))
	host.PutUint32(m[8:], seq)
}

func (m message) typ() uint16 { return host.Uint16(m[4:]) }

func align(n int) int { return (n + 3) &^ 3 }

// attrs walks the attributes in b and calls each with type and value. It stops at
// the first that is cut short or malformed; what came before it counts.
func attrs(b []byte, each func(typ uint16, v []byte)) {
	for len(b) >= 4 {
		n := int(host.Uint16(b))
		if n < 4 || n > len(b) {
			return
		}
		each(host.Uint16(b[2:])&0x3fff, b[4:n]) // without NLA_F_NESTED and NLA_F_NET_BYTEORDER
		if align(n) >= len(b) {
			return
		}
		b = b[align(n):]
	}
}

// tail is b behind a fixed part of size bytes, aligned as attributes are.
func tail(b []byte, size int) []byte {
	if align8 := (size + 3) &^ 3; align8 < len(b) {
		return b[align8:]
	}
	return nil
}

func familyOf(a netip.Addr) uint16 {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// putAddr writes an xfrm_address_t of 16 bytes; an address that is not set is "::".
func putAddr(b []byte, a netip.Addr) {
	if a.Is4() {
		v := a.As4()
		copy(b, v[:])
		return
	}
	if a.IsValid() {
		v := a.As16()
		copy(b, v[:])
	}
}

// getAddr reads an xfrm_address_t; b has 16 bytes.
func getAddr(b []byte, family uint16) netip.Addr {
	if family == unix.AF_INET {
		return netip.AddrFrom4([4]byte(b[:4]))
	}
	return netip.AddrFrom16([16]byte(b[:16]))
}
