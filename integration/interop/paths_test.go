package interop

import (
	"cmp"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/mip6/mip6/ike"
	"github.com/mip6/mip6/ike/message"
	"github.com/mip6/mip6/ike/pki"
	"github.com/mip6/mip6/ike/transform"
)

// A mobile node, abroad, and a correspondent. IKE runs between care-of address
// and correspondent, the SAs are those of the home address.
const (
	careOf        = "2001:db8:1::10"
	home          = "2001:db8:9::100"
	correspondent = "2001:db8:1::1"
)

// path is one child that both ends agree on: in our words and in charon's.
type path struct {
	name         string
	proto        uint8
	ours, theirs string // proposals
	suite        string // what comes of it, after a rekey; empty: anything
	ike          string // proposal for the IKE SA; empty: aes128gcm16-prfsha256-x25519
	theirIKE     string // charon's; empty: the same
}

// byDefault stands for proposals that are not configured.
const byDefault = "default"

func (p path) ikeProposals() (ours, theirs string) {
	ours = cmp.Or(p.ike, "aes128gcm16-prfsha256-x25519")
	return ours, cmp.Or(p.theirIKE, ours)
}

var paths = []path{
	{name: "ah", proto: ike.AH, ours: "sha256", theirs: "sha256", suite: "sha256"},
	{name: "ah-pfs-esn", proto: ike.AH, ours: "sha384-sha512-ecp256-x25519-esn-noesn", theirs: "sha512-curve25519-esn", suite: "sha512-esn"},
	{name: "esp", proto: ike.ESP, ours: "aes256gcm16-aes128gcm16", theirs: "aes128gcm16", suite: "aes128gcm16"},
}

func identity(end string, p path) message.Identity {
	return message.FQDN(p.name + "." + end + ".example.org")
}

// swanctlConf is charon's side: transport_proxy takes the addresses of an SA
// from its selectors instead of IKE's; the policies are not its business.
func swanctlConf(paths []path, local, remote, localTS, remoteTS string) string {
	var b strings.Builder
	b.WriteString("connections {\n")
	for i, p := range paths {
		kind := protoNames[p.proto] + "_proposals"
		_, theirs := p.ikeProposals()
		fmt.Fprintf(&b, `  %s {
    version = 2
    mobike = no
    local_addrs = %s
    remote_addrs = %s
    proposals = %s
    local {
      auth = psk
      id = %s
    }
    remote {
      auth = psk
      id = %s
    }
    children {
      %s {
        mode = transport_proxy
        policies = no
        reqid = %d
        %s = %s
        local_ts = %s/128
        remote_ts = %s/128
      }
    }
  }
`, p.name, local, remote, theirs, identity("charon", p), identity("ours", p), p.name, i+1, kind, p.theirs, localTS, remoteTS)
	}
	b.WriteString("}\nsecrets {\n")
	for _, p := range paths {
		fmt.Fprintf(&b, "  ike-%s {\n    id-1 = %s\n    id-2 = %s\n    secret = \"a secret of both\"\n  }\n", p.name, identity("charon", p), identity("ours", p))
	}
	return b.String() + "}\n"
}

// ourConf is our side: a connection for each path.
func ourConf(t testing.TB, paths []path) (ike.Config, *pki.Keyring) {
	t.Helper()
	var cfg ike.Config
	var creds []pki.Credentials
	for _, p := range paths {
		c := ike.Conn{Name: p.name, LocalID: identity("ours", p), RemoteID: ike.IDMatch{Exact: []message.Identity{identity("charon", p)}},
			LocalAuth: pki.PSK, RemoteAuth: pki.PSK}
		parse, into := transform.ParseOffer, &c.ESP
		if p.proto == ike.AH {
			parse, into = transform.ParseAHOffer, &c.AH
		}
		offers := func(text string, parse func(string) (transform.Offer, error)) (out []transform.Offer) {
			if text == byDefault {
				return nil
			}
			for _, one := range strings.Split(text, ", ") {
				o, err := parse(one)
				if err != nil {
					t.Fatal(err)
				}
				out = append(out, o)
			}
			return out
		}
		*into = offers(p.ours, parse)
		ours, _ := p.ikeProposals()
		c.IKE, c.Legacy = offers(ours, transform.ParseIKEOffer), true
		cfg.Conns = append(cfg.Conns, c)
		creds = append(creds, pki.Credentials{Conn: p.name, Secrets: []pki.Secret{
			{Local: c.LocalID, Peer: identity("charon", p), Key: []byte("a secret of both")}}})
	}
	keys, err := pki.NewKeyring(creds)
	if err != nil {
		t.Fatal(err)
	}
	return cfg, keys
}

// hosts are two network namespaces with a wire between them.
func hosts(t testing.TB) {
	t.Helper()
	for _, n := range []string{"mn", "cn"} {
		ip(t, "netns add "+n)
		t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", n).Run() })
	}
	for _, line := range []string{
		"link add mn0 netns mn type veth peer name cn0 netns cn",
		"-n mn link set lo up", "-n cn link set lo up", "-n mn link set mn0 up", "-n cn link set cn0 up",
		"-n mn addr add " + careOf + "/64 dev mn0 nodad", "-n mn addr add " + home + "/128 dev lo nodad",
		"-n cn addr add " + correspondent + "/64 dev cn0 nodad", "-n cn route add " + home + " via " + careOf,
	} {
		ip(t, line)
	}
}

// demand makes both hosts want this child's protection for echo messages.
func demand(t testing.TB, verb string, reqid int, proto uint8) {
	t.Helper()
	for n, a := range map[string][2]string{"mn": {home, correspondent}, "cn": {correspondent, home}} {
		for _, kind := range []int{128, 129} {
			for dir, b := range map[string][2]string{"out": a, "in": {a[1], a[0]}} {
				line := fmt.Sprintf("-n %s xfrm policy %s dir %s src %s dst %s proto ipv6-icmp type %d", n, verb, dir, b[0], b[1], kind)
				if verb == "add" {
					line += fmt.Sprintf(" tmpl src %s dst %s proto %s mode transport reqid %d", b[0], b[1], protoNames[proto], reqid)
				}
				ip(t, line)
			}
		}
	}
}

// ping sends through the pair of SAs: each end has the other's keys.
func ping(t testing.TB, when string) {
	t.Helper()
	out, err := exec.Command("ip", "netns", "exec", "mn", "ping", "-c", "3", "-i", "0.05", "-W", "2", "-I", home, correspondent).CombinedOutput()
	if err != nil {
		t.Errorf("ping %s: %v %s\n%s\n%s", when, err, out, ip(t, "-n mn -s xfrm state"), ip(t, "-n cn -s xfrm state"))
	}
}

// TestPathsWithCharon: children in transport mode, of ESP and of AH, between a
// home address and a correspondent, made, rekeyed and deleted by either side.
func TestPathsWithCharon(t *testing.T) {
	needCharon(t)
	if quick() {
		eachRole(t, paths[:1])
		return
	}
	eachRole(t, paths)
}

// quick tells whether only the quick half is wanted, as for the tests at every change.
func quick() bool { return os.Getenv("MIP6_INTEROP") == "quick" }

func needCharon(t *testing.T) {
	t.Helper()
	debian.need(t)
}

func (f flavour) need(t *testing.T) {
	t.Helper()
	if os.Getenv("MIP6_KERNEL") == "" {
		t.Skip("needs a kernel with AH and ESP: run by integration/cmd/vmtest")
	}
	if _, err := os.Stat(f.program); err != nil {
		t.Skip("strongSwan is not installed (packages strongswan-charon, strongswan-swanctl, iputils-ping)")
	}
}

// eachRole goes through the lives of these paths with us at either end.
func eachRole(t *testing.T, paths []path) { debian.eachRole(t, paths, 0) }

// eachRole does so with a flavour, with IP datagrams of ours not above a size (0:
// the usual one).
func (f flavour) eachRole(t *testing.T, paths []path, size int) {
	for _, weAre := range []string{"node", "correspondent"} {
		t.Run(weAre, func(t *testing.T) {
			hosts(t)
			ours, theirs, local, remote, localTS, remoteTS := "mn", "cn", careOf, correspondent, home, correspondent
			if weAre == "correspondent" {
				ours, theirs, local, remote, localTS, remoteTS = theirs, ours, remote, local, remoteTS, localTS
			}
			port := func(a string) netip.AddrPort { return netip.AddrPortFrom(netip.MustParseAddr(a), 500) }
			sel := func(a string) []message.Selector {
				return []message.Selector{message.PrefixSelector(netip.PrefixFrom(netip.MustParseAddr(a), 128), 0)}
			}
			cfg, keys := ourConf(t, paths)
			cfg.FragmentSize = size
			c := f.start(t, theirs, swanctlConf(paths, remote, local, remoteTS, localTS))
			asked := make(chan ike.Authorise, 16)
			p := newPeer(t, ours, port(local), cfg, keys, func(a ike.Authorise) ike.Authorised {
				asked <- a
				for i, x := range paths {
					if x.name == a.Conn {
						return ike.Authorised{Name: x.name, ReqID: uint32(i + 1), Mode: ike.Transport, Local: sel(localTS), Remote: sel(remoteTS)}
					}
				}
				return ike.Authorised{Err: ike.ErrTSUnacceptable}
			})
			for i, x := range paths {
				ok := t.Run(x.name, func(t *testing.T) {
					demand(t, "add", i+1, x.proto)
					defer demand(t, "delete", i+1, x.proto)
					if weAre == "node" {
						p.events <- ike.Initiate{Req: uint64(i + 1), Conn: x.name, Local: port(local), Remote: port(remote), Children: []ike.ChildWant{{
							Name: x.name, Proto: x.proto, Mode: ike.Transport, ReqID: uint32(i + 1), Local: sel(localTS), Remote: sel(remoteTS)}}}
					} else {
						c.swanctl("--initiate", "--child", x.name)
						if a := <-asked; a.Proto != x.proto || !a.Transport || a.Local[0].String() != localTS+"/128" {
							t.Errorf("%+v", a)
						}
					}
					life(t, p, c, x, weAre == "node", localTS, remoteTS)
				})
				if !ok {
					return
				}
			}
			if in, out := p.fragmentsIn.Load(), p.fragmentsOut.Load(); size != 0 && (in < 4 || out < 4) {
				t.Errorf("%d fragments came, %d went", in, out)
			}
		})
	}
}

// life follows a child from its making to its end.
func life(t *testing.T, p *peer, c *charon, x path, initiator bool, localTS, remoteTS string) {
	c.t = t
	sa := await[ike.SAUp](t, p, "the IKE SA").SA
	child := await[ike.ChildUp](t, p, "the child").Child
	check := func(when string) {
		t.Helper()
		suite := transform.Suite{Encr: child.Encr, Integ: child.Integ, ESN: child.ESN}
		if child.LocalAddr.String() != localTS || child.RemoteAddr.String() != remoteTS || !child.Proxy || child.Mode != ike.Transport ||
			child.Proto != x.proto || x.suite != "" && suite.String() != x.suite {
			t.Errorf("%s: %s %+v", when, suite, child)
		}
		ping(t, when)
	}
	check("at first")
	p.events <- ike.RekeyChild{SA: sa, SPIIn: child.SPIIn}
	child = await[ike.ChildRekeyed](t, p, "our rekey").Child
	check("after our rekey")
	c.swanctl("--rekey", "--child", x.name)
	child = await[ike.ChildRekeyed](t, p, "charon's rekey").Child
	check("after charon's rekey")
	p.events <- ike.RekeySA{SA: sa}
	await[ike.SARekeyed](t, p, "our rekey of the IKE SA")
	c.swanctl("--rekey", "--ike", x.name)
	sa = await[ike.SARekeyed](t, p, "charon's rekey of the IKE SA").New
	if initiator {
		p.events <- ike.CloseChild{SA: sa, SPIIn: child.SPIIn}
	} else {
		c.eventually("--terminate", "--child", x.name)
	}
	if d := await[ike.ChildDown](t, p, "the end of the child"); d.Child.SPIIn != child.SPIIn {
		t.Errorf("%+v", d)
	}
	if initiator {
		c.swanctl("--terminate", "--ike", x.name)
	} else {
		p.events <- ike.Close{SA: sa}
	}
	await[ike.SADown](t, p, "the end of the IKE SA")
	if left := ip(t, "-n "+p.netns+" xfrm state"); left != "" {
		t.Errorf("SAs left:\n%s", left)
	}
}
