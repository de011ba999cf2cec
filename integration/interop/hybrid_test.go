package interop

import (
	"testing"

	"github.com/mip6/mip6/ike"
)

// TestFragmentsWithCharon: both ends cut whatever is longer than a small packet.
func TestFragmentsWithCharon(t *testing.T) {
	f := debian
	f.extra = "fragment_size = 400"
	needCharon(t, f)
	eachRole(t, f, []path{{"small", ike.ESP, "aes128gcm16-modp4096", "aes128gcm16-modp4096", "aes128gcm16", "aes128gcm16-prfsha256-modp2048"}}, 300)
}

// strongswan6 is a strongSwan 6, which Debian 12 does not have, built with
// --prefix=/opt/strongswan6 --enable-ml and its plugins for the rest.
var strongswan6 = flavour{program: "/opt/strongswan6/libexec/ipsec/charon", load: "ml sha3 drbg"}

// TestHybridWithCharon: IKE_INTERMEDIATE and multiple key exchanges with ML-KEM, in children and
// in rekeys of either side too, with its messages in fragments.
func TestHybridWithCharon(t *testing.T) {
	needCharon(t, strongswan6)
	eachRole(t, strongswan6, []path{
		{"mlkem768", ike.ESP, "aes128gcm16", "aes128gcm16", "aes128gcm16", "aes128gcm16-prfsha256-x25519-ke1_mlkem768"},
		{"mlkem1024", ike.ESP, "aes256gcm16", "aes256gcm16", "aes256gcm16", "aes256gcm16-prfsha384-ecp384-ke1_mlkem1024"},
		{"child", ike.ESP, "aes128gcm16-x25519-ke1_mlkem768", "aes128gcm16-x25519-ke1_mlkem768", "aes128gcm16",
			"aes128gcm16-prfsha256-x25519-ke1_mlkem768"},
		{"alone", ike.ESP, "aes128gcm16-mlkem768", "aes128gcm16-mlkem768", "aes128gcm16", "aes128gcm16-prfsha256-x25519"},
		{"three", ike.ESP, "aes256gcm16-ecp256-ke1_mlkem768-ke2_x25519", "aes256gcm16-ecp256-ke1_mlkem768-ke2_x25519",
			"aes256gcm16", "aes256-sha256-prfsha512-x25519-ke1_mlkem768-ke2_mlkem1024-ke3_ecp256"},
	}, 0)
}
