package ike

import (
	"crypto/sha1"
	"encoding/binary"
	"net/netip"

	"github.com/mip6/mip6/ike/message"
)

// natHash is the data of NAT_DETECTION_*_IP: SHA-1 of SPIs, address, port (§2.23).
func natHash(spiI, spiR uint64, a netip.AddrPort) []byte {
	var b []byte
	b = binary.BigEndian.AppendUint64(b, spiI)
	b = binary.BigEndian.AppendUint64(b, spiR)
	b = append(b, a.Addr().Unmap().AsSlice()...)
	b = binary.BigEndian.AppendUint16(b, a.Port())
	h := sha1.Sum(b)
	return h[:]
}

func natPayloads(spiI, spiR uint64, local, remote netip.AddrPort) []message.Body {
	return []message.Body{
		message.Notify{Type: message.NATDetectionSource, Data: natHash(spiI, spiR, local)}.Body(),
		message.Notify{Type: message.NATDetectionDestination, Data: natHash(spiI, spiR, remote)}.Body(),
	}
}

// natDetected says whether the peer's hashes differ from what we see: one of
// its source addresses must be the one we see, the destination must be ours.
func natDetected(p *message.Payloads, h message.Header, local, remote netip.AddrPort) bool {
	sources, match, detected := 0, false, false
	for _, n := range p.Notifies {
		switch n.Type {
		case message.NATDetectionSource:
			sources++
			match = match || string(n.Data) == string(natHash(h.SPIi, h.SPIr, remote))
		case message.NATDetectionDestination:
			detected = detected || string(n.Data) != string(natHash(h.SPIi, h.SPIr, local))
		}
	}
	return detected || sources > 0 && !match
}
