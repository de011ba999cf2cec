package config

import (
	"github.com/mip6/mip6/ike/message"
	"github.com/mip6/mip6/ike/pki"
)

// peers reads all [[peer]].
func (ld *loader) peers(root *table, c *Config) {
	for _, t := range root.subs("peer") {
		c.Peers = append(c.Peers, ld.peer(t, c))
	}
}

func (ld *loader) peer(t *table, c *Config) Peer {
	defer t.finish()
	k := c.IKE
	p := Peer{
		NAT: NATAuto, DPD: k.DPD, IKEProposals: k.IKEProposals, ESPProposals: k.ESPProposals, AHProposals: k.AHProposals,
		ChildBytes: k.ChildBytes, ChildPackets: k.ChildPackets, Reauth: k.Reauth, Unique: k.Unique, RSAPadding: PaddingPSS,
		IKERekey: k.IKERekey, IKEHard: k.IKEHard, ChildRekey: k.ChildRekey, ChildHard: k.ChildHard,
	}
	t.need("name", "local_id", "remote_id")
	t.str("name", &p.Name)
	t.identity("local_id", &p.LocalID)
	t.remoteID(&p)
	ld.auth(t, &p)
	if t.has("psk") && t.has("psk_file") {
		t.fail("psk_file", "expected either psk or psk_file, found both")
	}
	ld.secret(t, "psk", "psk_file", &p.PSK)
	ld.certificates(t, &p)
	t.lifetimes(&lifetimes{&p.DPD, &p.IKERekey, &p.IKEHard, &p.ChildRekey, &p.ChildHard, &p.Reauth, &p.ChildBytes, &p.ChildPackets})
	oneOf(t, "unique", &p.Unique, UniqueContact, UniqueReplace, UniqueKeep, UniqueNever)
	oneOf(t, "rsa_padding", &p.RSAPadding, PaddingPSS, PaddingPKCS1)
	t.boolean("legacy", &p.Legacy)
	oneOf(t, "nat", &p.NAT, NATAuto, NATForce, NATOff)
	t.offers("ike_proposals", ikeOffers, p.Legacy, &p.IKEProposals)
	t.offers("esp_proposals", espOffers, p.Legacy, &p.ESPProposals)
	t.offers("ah_proposals", ahOffers, p.Legacy, &p.AHProposals)
	t.legacy(&p)
	return p
}

// remoteID reads one identity, a list of them, or "*".
func (t *table) remoteID(p *Peer) {
	v, ok := t.get("remote_id")
	if !ok {
		return
	}
	if v == "*" {
		p.Any = true
		return
	}
	if _, isList := v.([]any); isList {
		good := t.list("remote_id", func(s string) string {
			id, ok := parseIdentity(s)
			if !ok {
				return wantIdentity
			}
			p.RemoteID = append(p.RemoteID, id)
			return ""
		})
		if good && len(p.RemoteID) == 0 {
			t.fail("remote_id", `expected at least one identity; "*" is for any`)
		}
		return
	}
	s, _ := v.(string)
	id, ok := parseIdentity(s)
	if !ok {
		t.wrong("remote_id", wantIdentity+`; a list of them; or "*" for any that proves itself`, v)
		return
	}
	p.RemoteID = []message.Identity{id}
}

type authWord string

const (
	wordPSK  authWord = "psk"
	wordCert authWord = "cert"
)

func (w authWord) method() pki.Method {
	if w == wordCert {
		return pki.Signature
	}
	return pki.PSK
}

// auth reads how the sides prove themselves: "auth" for both, "local_auth" and
// "remote_auth" for one.
func (ld *loader) auth(t *table, p *Peer) {
	both := authWord("")
	if !t.has("local_auth") || !t.has("remote_auth") {
		t.need("auth")
	}
	oneOf(t, "auth", &both, wordPSK, wordCert)
	local, remote := both, both
	oneOf(t, "local_auth", &local, wordPSK, wordCert)
	oneOf(t, "remote_auth", &remote, wordPSK, wordCert)
	p.LocalAuth, p.RemoteAuth = local.method(), remote.method()
}

// psks reads all [[psk]].
func (ld *loader) psks(root *table, c *Config) {
	for _, t := range root.subs("psk") {
		var k PSK
		t.need("id")
		t.identity("id", &k.ID)
		if !t.has("key") && !t.has("key_file") {
			t.need("key")
		}
		if t.has("key") && t.has("key_file") {
			t.fail("key_file", "expected either key or key_file, found both")
		}
		ld.secret(t, "key", "key_file", &k.Key)
		t.finish()
		c.PSKs = append(c.PSKs, k)
	}
}
