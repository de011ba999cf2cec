package interop

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/mip6/mip6/ike"
	"github.com/mip6/mip6/ike/message"
	"github.com/mip6/mip6/ike/pki"
	"github.com/mip6/mip6/ike/transform"
	"github.com/mip6/mip6/integration/lab"
)

// logged are IKE suites whose messages Wireshark decrypts with what we log.
var logged = []string{
	"aes128gcm16-prfsha256-x25519", "aes192gcm16-prfsha384-ecp384", "aes256gcm16-prfsha512-ecp256",
	"aes128-sha256-modp2048", "aes192-sha384-modp2048", "aes256-sha512-x25519", "aes256-aescmac-x25519",
	"aes128ctr-sha256-x25519", "aes256ctr-aescmac-x25519", "3des-sha1-modp1024", "aes128-sha1-prfsha256-ecp521",
}

// handshake sets an IKE SA up between two machines; it gives the messages and
// the line of Wireshark's table.
func handshake(t *testing.T, suite string, n byte) (sent []ike.Send, line string) {
	t.Helper()
	o, err := transform.ParseIKEOffer(suite)
	if err != nil {
		t.Fatal(err)
	}
	addr := map[string]netip.AddrPort{}
	machines, keys := map[string]*ike.Machine{}, map[string]*pki.Keyring{}
	for name, other := range map[string]string{"mn": "ha", "ha": "mn"} {
		addr[name] = netip.AddrPortFrom(netip.MustParseAddr(map[string]string{"mn": careOf, "ha": correspondent}[name]), 500)
		id, peer := message.FQDN(fmt.Sprintf("%s%d.example.org", name, n)), message.FQDN(fmt.Sprintf("%s%d.example.org", other, n))
		machines[name] = ike.New(ike.Config{KeyLog: true, Conns: []ike.Conn{{Name: "c", LocalID: id, RemoteID: ike.IDMatch{Exact: []message.Identity{peer}},
			LocalAuth: pki.PSK, RemoteAuth: pki.PSK, IKE: []transform.Offer{o}, Legacy: true}}}, rand.NewChaCha8([32]byte{n, name[0]}))
		if keys[name], err = pki.NewKeyring([]pki.Credentials{{Conn: "c", Secrets: []pki.Secret{{Local: id, Peer: peer, Key: []byte("a secret of both")}}}}); err != nil {
			t.Fatal(err)
		}
	}
	now := time.Unix(1_800_000_000, 0)
	var do func(name string, acts []ike.Action)
	do = func(name string, acts []ike.Action) {
		for _, a := range acts {
			var ev ike.Event
			switch a := a.(type) {
			case ike.Send:
				sent = append(sent, a)
				to := map[string]string{"mn": "ha", "ha": "mn"}[name]
				do(to, machines[to].Step(now, ike.Datagram{Local: a.Remote, Remote: a.Local, Data: a.Data}, nil))
			case ike.Prove:
				p, err := keys[name].Prove(a.Request)
				ev = ike.Proved{ID: a.ID, Proof: p, Err: err}
			case ike.VerifyPeer:
				p, err := keys[name].Verify(a.Request)
				ev = ike.PeerVerified{ID: a.ID, Peer: p, Err: err}
			case ike.Authorise:
				ev = ike.Authorised{ID: a.ID, ReqID: 1, Local: a.Local, Remote: a.Remote}
			case ike.AllocSPI:
				ev = ike.SPIAllocated{ID: a.ID, SPI: 0x1000 + uint32(n)}
			case ike.Install:
				ev = ike.Installed{ID: a.ID}
			case ike.Keys:
				line = a.Wireshark()
			}
			if ev != nil {
				do(name, machines[name].Step(now, ev, nil))
			}
		}
	}
	any := []message.Selector{message.PrefixSelector(netip.MustParsePrefix("::/0"), 0)}
	do("mn", machines["mn"].Step(now, ike.Initiate{Req: 1, Conn: "c", Local: addr["mn"], Remote: addr["ha"],
		Children: []ike.ChildWant{{Name: "all", Mode: ike.Tunnel, ReqID: 1, Local: any, Remote: any}}}, nil))
	if len(sent) != 4 || line == "" {
		t.Fatalf("%s: %d messages, key log %q", suite, len(sent), line)
	}
	return sent, line
}

// capture writes messages as UDP in IPv6, without checksums that anybody looks at.
func capture(t *testing.T, file string, sent []ike.Send) {
	t.Helper()
	le := binary.LittleEndian
	out := []byte{0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 229, 0, 0, 0} // LINKTYPE_IPV6
	for i, s := range sent {
		src, dst := s.Local.Addr().As16(), s.Remote.Addr().As16()
		b := []byte{0x60, 0, 0, 0}
		b = binary.BigEndian.AppendUint16(b, uint16(8+len(s.Data)))
		b = append(append(append(b, 17, 64), src[:]...), dst[:]...)
		for _, v := range []int{500, 500, 8 + len(s.Data), 0} {
			b = binary.BigEndian.AppendUint16(b, uint16(v))
		}
		b = append(b, s.Data...)
		for _, v := range []int{1_800_000_000 + i, 0, len(b), len(b)} {
			out = le.AppendUint32(out, uint32(v))
		}
		out = append(out, b...)
	}
	if err := os.WriteFile(file, out, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestWiresharkReadsOurKeyLog: with the lines of the key log, tshark tells the
// identities that IKE_AUTH hides.
func TestWiresharkReadsOurKeyLog(t *testing.T) {
	keys, err := lab.NewKeys(filepath.Join(t.TempDir(), "profile"))
	if err != nil {
		t.Fatal(err)
	}
	var all []ike.Send
	for i, s := range logged {
		sent, line := handshake(t, s, byte(i+1))
		all = append(all, sent...)
		if err := keys.AddIKE(line); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(t.TempDir(), "ike.pcap")
	capture(t, file, all)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	rows, err := lab.Tshark(ctx, keys, file, "isakmp.exchangetype == 35", "isakmp.id.data.fqdn", "isakmp.auth.method")
	if errors.Is(err, lab.ErrMissing) {
		t.Skip(err)
	}
	if err != nil || len(rows) != 2*len(logged) {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	for i, r := range rows {
		want := fmt.Sprintf("%s%d.example.org", []string{"mn", "ha"}[i%2], i/2+1)
		if i%2 == 0 { // the initiator names whom it wants, too
			want += fmt.Sprintf(",ha%d.example.org", i/2+1)
		}
		if len(r) != 2 || r[0] != want || r[1] != "2" {
			t.Errorf("%s: %q, want %q", logged[i/2], r, want)
		}
	}
}
