package ike

import (
	"fmt"

	"github.com/mip6/mip6/ike/transform"
)

// Wireshark is the line of ikev2_decryption_table for these keys: SPIs,
// encryption keys with their salts, cipher, integrity keys, integrity algorithm.
// A cipher that Wireshark has no name for stands in a comment: with one bad line
// it reads none. AES-CMAC it does not check, and wants no keys for it.
func (k Keys) Wireshark() string {
	comment, enc, ai, ar := "", k.WiresharkEnc, k.SKai, k.SKar
	if enc == "" {
		comment, enc = "# ", k.Encr.String()
	}
	if k.Integ == transform.IntegAESCMAC {
		ai, ar = nil, nil
	}
	return fmt.Sprintf("%s%016x,%016x,%x,%x,%q,%x,%x,%q", comment, k.SPIi, k.SPIr, k.SKei, k.SKer, enc, ai, ar, k.WiresharkInt)
}
