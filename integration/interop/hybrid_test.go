package interop

import (
	"testing"

	"github.com/mip6/mip6/ike"
)

// TestFragmentsWithCharon: both ends cut whatever is longer than a small packet.
func TestFragmentsWithCharon(t *testing.T) {
	f := debian
	f.extra = "fragment_size = 400"
	f.need(t)
	f.eachRole(t, []path{{name: "small", proto: ike.ESP, ours: "aes128gcm16-modp4096", theirs: "aes128gcm16-modp4096", suite: "aes128gcm16", ike: "aes128gcm16-prfsha256-modp2048"}}, 300)
}

// strongswan6 is a strongSwan 6, which Debian 12 does not have, built with
// --prefix=/opt/strongswan6 --enable-ml and its plugins for the rest.
var strongswan6 = flavour{program: "/opt/strongswan6/libexec/ipsec/charon", load: "ml sha3 drbg"}

// TestHybridWithCharon: IKE_INTERMEDIATE and multiple key exchanges with ML-KEM, in children and
// in rekeys of either side too, with its messages in fragments.
func TestHybridWithCharon(t *testing.T) {
	strongswan6.need(t)
	if quick() {
		t.Skip("not in the quick half (MIP6_INTEROP)")
	}
	strongswan6.eachRole(t, []path{
		{name: "mlkem768", proto: ike.ESP, ours: "aes128gcm16", theirs: "aes128gcm16", suite: "aes128gcm16", ike: "aes128gcm16-prfsha256-x25519-ke1_mlkem768"},
		{name: "mlkem1024", proto: ike.ESP, ours: "aes256gcm16", theirs: "aes256gcm16", suite: "aes256gcm16", ike: "aes256gcm16-prfsha384-ecp384-ke1_mlkem1024"},
		{name: "child", proto: ike.ESP, ours: "aes128gcm16-x25519-ke1_mlkem768", theirs: "aes128gcm16-x25519-ke1_mlkem768", suite: "aes128gcm16", ike: "aes128gcm16-prfsha256-x25519-ke1_mlkem768"},
		{name: "alone", proto: ike.ESP, ours: "aes128gcm16-mlkem768", theirs: "aes128gcm16-mlkem768", suite: "aes128gcm16", ike: "aes128gcm16-prfsha256-x25519"},
		{name: "three", proto: ike.ESP, ours: "aes256gcm16-ecp256-ke1_mlkem768-ke2_x25519", theirs: "aes256gcm16-ecp256-ke1_mlkem768-ke2_x25519", suite: "aes256gcm16", ike: "aes256-sha256-prfsha512-x25519-ke1_mlkem768-ke2_mlkem1024-ke3_ecp256"},
	}, 0)
}
