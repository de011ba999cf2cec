package transform

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
)

const cmacLen = aes.BlockSize

// cmac is AES-CMAC with a key of 16 octets (RFC 4493): CBC-MAC whose last block
// is masked by a subkey. Neither the standard library nor x/crypto has it.
func cmac(key []byte, data ...[]byte) []byte {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil
	}
	var k1, x, last [cmacLen]byte
	block.Encrypt(k1[:], k1[:])
	double(&k1)
	n := 0 // octets in last, which is held back until more follow
	for _, d := range data {
		for len(d) > 0 {
			if n == cmacLen {
				mix(block, &x, &last)
				n = 0
			}
			c := copy(last[n:], d)
			n, d = n+c, d[c:]
		}
	}
	if n < cmacLen { // §2.4: padded with a one, and masked by the second subkey
		double(&k1)
		last[n] = 0x80
		clear(last[n+1:])
	}
	subtle.XORBytes(last[:], last[:], k1[:])
	mix(block, &x, &last)
	return x[:]
}

func mix(block cipher.Block, x, b *[cmacLen]byte) {
	subtle.XORBytes(x[:], x[:], b[:])
	block.Encrypt(x[:], x[:])
}

// double multiplies by x in GF(2^128), in constant time (§2.3).
func double(b *[cmacLen]byte) {
	carry := b[0] >> 7
	for i := range cmacLen - 1 {
		b[i] = b[i]<<1 | b[i+1]>>7
	}
	b[cmacLen-1] = b[cmacLen-1]<<1 ^ 0x87*carry
}

// cmacPRF is AES-CMAC-PRF-128: a key of another length than 16 octets is made
// one by AES-CMAC under the zero key (RFC 4615 §3).
func cmacPRF(key []byte, data ...[]byte) []byte {
	if len(key) != cmacLen {
		key = cmac(make([]byte, cmacLen), key)
	}
	return cmac(key, data...)
}
