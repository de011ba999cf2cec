package daemon

import (
	"github.com/mip6/mip6/ike/pki"
	"github.com/mip6/mip6/internal/config"
)

// keyring holds the secrets that a configuration has read.
func keyring(cfg *config.Config) (*pki.Keyring, error) {
	var all []pki.Credentials
	for _, p := range cfg.Peers {
		c := pki.Credentials{Conn: p.Name, Chain: p.Chain, Key: p.Key, CAs: p.CAs,
			PKCS1: p.RSAPadding == config.PaddingPKCS1, Legacy: p.Legacy}
		if len(p.PSK) > 0 {
			c.Secrets = append(c.Secrets, pki.Secret{Key: p.PSK})
		}
		for _, k := range cfg.PSKs {
			c.Secrets = append(c.Secrets, pki.Secret{Peer: k.ID, Key: k.Key})
		}
		all = append(all, c)
	}
	return pki.NewKeyring(all)
}
