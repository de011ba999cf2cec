//vmtest:timeout 15m

package interop

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/mip6/mip6/ike"
	"github.com/mip6/mip6/ike/message"
	"github.com/mip6/mip6/ike/pki"
)

// family is one IP version of the network below: a client on a private network, a box that
// translates, a server. Behind client and server is an inner address each, for tunnels.
type family struct {
	name, client, gate, outside, other, server, inC, inS string
	bits, all                                            int
}

var families = []family{
	{"ipv4", "10.0.0.2", "10.0.0.1", "198.51.100.1", "198.51.100.7", "198.51.100.9", "10.1.0.1", "10.2.0.1", 24, 32},
	{"ipv6", "fd00::2", "fd00::1", "2001:db8:5::1", "2001:db8:5::7", "2001:db8:5::9", "fd01::1", "fd02::1", 64, 128},
}

// network makes it. The box drops protocol 50: what passes it is in UDP.
func (f family) network(t testing.TB) {
	t.Helper()
	for _, n := range []string{"client", "box", "server"} {
		ip(t, "netns add "+n)
		t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", n).Run() })
	}
	flag := ""
	if f.name == "ipv6" {
		flag = " nodad"
	}
	for _, line := range []string{
		"link add c0 netns client type veth peer name b0 netns box", "link add b1 netns box type veth peer name s0 netns server",
		"-n client link set lo up", "-n box link set lo up", "-n server link set lo up",
		"-n box link set b1 address 02:00:00:00:00:01", "-n server link set s0 address 02:00:00:00:00:02",
		"-n client link set c0 up", "-n box link set b0 up", "-n box link set b1 up", "-n server link set s0 up",
		fmt.Sprintf("-n client addr add %s/%d dev c0%s", f.client, f.bits, flag), fmt.Sprintf("-n box addr add %s/%d dev b0%s", f.gate, f.bits, flag),
		fmt.Sprintf("-n box addr add %s/%d dev b1%s", f.outside, f.bits, flag), fmt.Sprintf("-n server addr add %s/%d dev s0%s", f.server, f.bits, flag),
		fmt.Sprintf("-n client addr add %s/%d dev lo%s", f.inC, f.all, flag), fmt.Sprintf("-n server addr add %s/%d dev lo%s", f.inS, f.all, flag),
		"-n client route add default via " + f.gate, "-n server route add " + f.inC + " via " + f.outside,
	} {
		ip(t, line)
	}
	// In transport mode the policies are for neighbour discovery between the two ends too.
	for _, a := range []string{f.outside, f.other} {
		ip(t, "-n server neigh replace "+a+" lladdr 02:00:00:00:00:01 dev s0 nud permanent")
	}
	ip(t, "-n box neigh replace "+f.server+" lladdr 02:00:00:00:00:02 dev b1 nud permanent")
	f.box(t, "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
	if out, err := boxRun("nft add table inet nat ; add chain inet nat post { type nat hook postrouting priority srcnat ; }"); err != nil {
		t.Skipf("the kernel translates no addresses (run on 6.12): %s", out)
	}
	f.box(t, "nft add chain inet nat through { type filter hook forward priority 0 ; } ; add rule inet nat through meta l4proto esp drop")
	f.masquerade(t, 20000)
}

func boxRun(line string) (string, error) {
	out, err := exec.Command("ip", append([]string{"netns", "exec", "box"}, strings.Fields(line)...)...).CombinedOutput()
	return string(out), err
}

func (f family) box(t testing.TB, line string) {
	t.Helper()
	if out, err := boxRun(line); err != nil {
		t.Fatalf("%s: %v %s", line, err, out)
	}
}

// masquerade has the box take ports from here on.
func (f family) masquerade(t testing.TB, first int) {
	t.Helper()
	f.box(t, "nft flush chain inet nat post")
	f.box(t, fmt.Sprintf("nft add rule inet nat post oifname b1 meta l4proto udp masquerade to :%d-%d random", first, first+999))
}

// rebind has the box forget its mappings and take others: what it masqueraded by an address
// ends with that.
func (f family) rebind(t testing.TB, from, to string, first int) {
	t.Helper()
	f.masquerade(t, first)
	flag := ""
	if f.name == "ipv6" {
		flag = " nodad"
	}
	ip(t, fmt.Sprintf("-n box addr del %s/%d dev b1", from, f.bits))
	ip(t, fmt.Sprintf("-n box addr add %s/%d dev b1%s", to, f.bits, flag))
	if from != to {
		ip(t, "-n server route replace "+f.inC+" via "+to)
	}
}

// echo sends some and wants at least one back: the first tell of a new mapping and find the old one.
func (f family) echo(t testing.TB, mode ike.Mode, when string) {
	t.Helper()
	from, to := f.inC, f.inS
	if mode == ike.Transport {
		from, to = f.client, f.server
	}
	out, err := exec.Command("ip", "netns", "exec", "client", "ping", "-c", "8", "-i", "0.25", "-W", "2", "-I", from, to).CombinedOutput()
	if err != nil {
		t.Errorf("ping %s: %v %s\n%s\n%s\n%s\n%s", when, err, out, ip(t, "-n client -s xfrm state"), ip(t, "-n server -s xfrm state"),
			ip(t, "-n client xfrm policy"), ip(t, "-n server xfrm policy"))
	}
}

func natConf(t testing.TB, local, remote string) (ike.Config, *pki.Keyring) {
	t.Helper()
	l, r := message.FQDN(local), message.FQDN(remote)
	keys, err := pki.NewKeyring([]pki.Credentials{{Conn: "nat", Secrets: []pki.Secret{{Local: l, Peer: r, Key: []byte("a secret of both")}}}})
	if err != nil {
		t.Fatal(err)
	}
	return ike.Config{Conns: []ike.Conn{{Name: "nat", LocalID: l, RemoteID: ike.IDMatch{Exact: []message.Identity{r}}, LocalAuth: pki.PSK, RemoteAuth: pki.PSK}}}, keys
}

func (f family) call(s *station, mode ike.Mode) {
	local, remote := f.inC, f.inS
	if mode == ike.Transport {
		local, remote = f.client, f.server
	}
	at := func(a string) netip.AddrPort { return netip.AddrPortFrom(netip.MustParseAddr(a), 500) }
	s.events <- ike.Initiate{Req: 1, Conn: "nat", Local: at(f.client), Remote: at(f.server), Children: []ike.ChildWant{{
		Name: "child", Mode: mode, ReqID: 7, Local: hostSelector(local), Remote: hostSelector(remote)}}}
}

func needNAT(t testing.TB) {
	t.Helper()
	if os.Getenv("MIP6_KERNEL") == "" {
		t.Skip("needs a kernel with ESP: run by integration/cmd/vmtest -kernel 6.12")
	}
	if _, err := exec.LookPath("nft"); err != nil {
		t.Skip("needs nft of nftables")
	}
}

// TestNAT: our client behind a masquerade and our server, tunnel and transport mode; the box
// forgets and gives other ports, then another address; both ends rekey.
func TestNAT(t *testing.T) {
	needNAT(t)
	for _, f := range families {
		for _, mode := range []ike.Mode{ike.Tunnel, ike.Transport} {
			t.Run(f.name+"-"+mode.String(), func(t *testing.T) {
				f.network(t)
				cc, ck := natConf(t, "client.example.org", "server.example.org")
				sc, sk := natConf(t, "server.example.org", "client.example.org")
				c, s := newStation(t, "client", cc, ck), newStation(t, "server", sc, sk)
				f.call(c, mode)
				cu, su := hear[ike.SAUp](t, c, "the IKE SA"), hear[ike.SAUp](t, s, "the IKE SA")
				cx, sx := hear[ike.ChildUp](t, c, "the child").Child, hear[ike.ChildUp](t, s, "the child").Child
				if cu.Local.Port() != 4500 || su.Remote.Addr().String() != f.outside || cx.LocalPort != 4500 || sx.RemotePort < 20000 || sx.RemotePort > 20999 {
					t.Errorf("%+v\n%+v", cx, sx)
				}
				f.echo(t, mode, "at first")
				f.rebind(t, f.outside, f.outside, 30000)
				f.echo(t, mode, "after another port")
				if r := hear[ike.Remapped](t, s, "the new port"); r.New.Port() < 30000 || r.New.Addr() != su.Remote.Addr() {
					t.Errorf("%+v", r)
				}
				c.events <- ike.RekeyChild{SA: cu.SA, SPIIn: cx.SPIIn}
				cx, sx = hear[ike.ChildRekeyed](t, c, "our rekey").Child, hear[ike.ChildRekeyed](t, s, "our rekey").Child
				f.echo(t, mode, "after a rekey by the client")
				s.events <- ike.RekeyChild{SA: su.SA, SPIIn: sx.SPIIn}
				hear[ike.ChildRekeyed](t, c, "the rekey")
				hear[ike.ChildRekeyed](t, s, "the rekey")
				f.echo(t, mode, "after a rekey by the server")
				f.rebind(t, f.outside, f.other, 40000)
				c.events <- ike.Probe{SA: cu.SA} // ESP would do as well
				if r := hear[ike.Remapped](t, s, "the new address"); r.New.Addr().String() != f.other {
					t.Errorf("%+v", r)
				}
				f.echo(t, mode, "after another address")
			})
		}
	}
}

// natSwanctl is charon's side of it.
func (f family) natSwanctl(client bool) string {
	local, remote, inL, inR := f.server, "%any", f.inS, f.inC
	if client {
		local, remote, inL, inR = f.client, f.server, f.inC, f.inS
	}
	return fmt.Sprintf(`connections {
  nat {
    version = 2
    mobike = no
    local_addrs = %s
    remote_addrs = %s
    proposals = aes128gcm16-prfsha256-x25519
    local {
      auth = psk
      id = charon.example.org
    }
    remote {
      auth = psk
      id = ours.example.org
    }
    children {
      tunnel {
        mode = tunnel
        esp_proposals = aes128gcm16
        local_ts = %s/%d
        remote_ts = %s/%d
      }
      transport {
        mode = transport
        esp_proposals = aes128gcm16
      }
    }
  }
}
secrets {
  ike-nat {
    id-1 = charon.example.org
    id-2 = ours.example.org
    secret = "a secret of both"
  }
}
`, local, remote, inL, f.all, inR, f.all)
}

// TestNATWithCharon: strongSwan on either side of the masquerade, in tunnel and in
// transport mode, and another port in between.
func TestNATWithCharon(t *testing.T) {
	needNAT(t)
	if _, err := os.Stat(charonProgram); err != nil {
		t.Skip("strongSwan is not installed (packages strongswan-charon, strongswan-swanctl, iputils-ping)")
	}
	for _, f := range families {
		for _, weAre := range []string{"client", "server"} {
			for _, mode := range []ike.Mode{ike.Tunnel, ike.Transport} {
				t.Run(strings.Join([]string{f.name, weAre, mode.String()}, "-"), func(t *testing.T) {
					f.network(t)
					cfg, keys := natConf(t, "ours.example.org", "charon.example.org")
					s := newStation(t, weAre, cfg, keys)
					theirs := map[string]string{"client": "server", "server": "client"}[weAre]
					c := startCharon(t, theirs, f.natSwanctl(theirs == "client"))
					if weAre == "client" {
						f.call(s, mode)
					} else {
						c.swanctl("--initiate", "--child", mode.String())
					}
					up := hear[ike.SAUp](t, s, "the IKE SA")
					x := hear[ike.ChildUp](t, s, "the child").Child
					if up.Local.Port() != 4500 || !up.NATDetected || x.Mode != mode || x.LocalPort != 4500 || x.Proxy {
						t.Errorf("%+v %+v", up, x)
					}
					f.echo(t, mode, "at first")
					s.events <- ike.RekeyChild{SA: up.SA, SPIIn: x.SPIIn}
					hear[ike.ChildRekeyed](t, s, "our rekey")
					f.echo(t, mode, "after our rekey")
					c.swanctl("--rekey", "--child", mode.String())
					hear[ike.ChildRekeyed](t, s, "charon's rekey")
					f.echo(t, mode, "after charon's rekey")
					f.rebind(t, f.outside, f.outside, 30000)
					f.echo(t, mode, "after another port")
					if weAre == "server" {
						if r := hear[ike.Remapped](t, s, "the new port"); r.New.Port() < 30000 {
							t.Errorf("%+v", r)
						}
					}
				})
			}
		}
	}
}
