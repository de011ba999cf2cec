package config

import (
	"time"

	"github.com/mip6/mip6/ike/transform"
)

// Limits of what a file may say.
const (
	// MaxLifetime is the longest lifetime of a binding: 16 bits of 4 seconds (RFC 6275 §6.1.7).
	MaxLifetime = 65535 * 4 * time.Second
	// MinLifetime is the shortest: one unit.
	MinLifetime = 4 * time.Second
	// maxRRLifetime is MAX_RR_BINDING_LIFETIME (RFC 6275 §12).
	maxRRLifetime = 420 * time.Second
	// maxFile bounds the size of a configuration file.
	maxFile = 16 << 20
)

// defaultDaemon is [daemon] where nothing is said.
func defaultDaemon() Daemon {
	return Daemon{
		DataPlane: Auto,
		Control:   "/run/mip6/control",
		StateDir:  "/run/mip6",
		LogLevel:  "info",
	}
}

// defaultIKE is [ike] where nothing is said.
func defaultIKE() IKE {
	return IKE{
		Port:              500,
		CookieThreshold:   64,
		HalfOpenMax:       4096,
		HalfOpenPerSource: 64,
		HalfOpenTimeout:   30 * time.Second,
		RetransmitFirst:   500 * time.Millisecond,
		RetransmitMax:     30 * time.Second,
		RetransmitTries:   7,
		FragmentSize:      1280,
		DPD:               30 * time.Second,
		IKERekey:          4 * time.Hour,
		IKEHard:           4*time.Hour + 24*time.Minute,
		ChildRekey:        time.Hour,
		ChildHard:         66 * time.Minute,
		Jitter:            0.1,
		IKEProposals: mustOffers(transform.ParseOffer, "aes128gcm16-prfsha256-x25519-ecp256", "aes256gcm16-prfsha384-prfsha256-x25519-ecp256",
			"aes128-aes256-sha256-prfsha256-x25519-ecp256-modp2048"), // RFC 8247: what every implementation has
		ESPProposals: mustOffers(transform.ParseOffer, "aes128gcm16-esn-noesn", "aes256gcm16-esn-noesn", "aes128-aes256-sha256-esn-noesn"), // RFC 8221 likewise
		AHProposals:  mustOffers(transform.ParseAHOffer, "sha256-esn-noesn"),
		ReplayWindow: 1024,
		Unique:       UniqueContact,
	}
}

// defaultMN is [mn] where nothing is said; timers of RFC 6275 §12 and §13.
func defaultMN() MN {
	return MN{
		Lifetime:    10 * time.Minute,
		KeyMobility: true,
		DAD:         DADKernel,
		Table:       6275,
		Priority:    6275,
		Timers: MNTimers{
			FirstBindAck: 1500 * time.Millisecond,
			BindAck:      time.Second,
			MaxBindAck:   32 * time.Second,
			Grace:        time.Second,
		},
		Correspondents: Correspondents{
			Max:      256,
			Lifetime: maxRRLifetime,
			Idle:     time.Minute,
			Remember: 10 * time.Minute,
		},
	}
}

// defaultHA is [ha] where nothing is said.
func defaultHA() HA {
	return HA{
		MaxBindings:     10000,
		MaxLifetime:     time.Hour,
		KeyMobility:     true,
		DAD:             DADProbe,
		HomeAddressFrom: FromTable,
	}
}

// defaultCN is [cn] where nothing is said.
func defaultCN() CN {
	return CN{
		Default:           Allow,
		MaxBindings:       10000,
		MaxLifetime:       maxRRLifetime,
		TestRate:          2000,
		TestRatePerSource: 100,
		ErrorRate:         100,
	}
}

// defaultHomePrefix does not end: a lifetime counts from the daemon's start, and a home link
// that is to be given up is the exception.
func defaultHomePrefix() HomePrefix {
	return HomePrefix{Valid: Infinite, Preferred: Infinite}
}

// mustOffers reads proposals that a test holds to be sound.
func mustOffers(parse func(string) (transform.Offer, error), names ...string) []transform.Offer {
	out := make([]transform.Offer, 0, len(names))
	for _, n := range names {
		o, err := parse(n)
		if err != nil {
			panic(err)
		}
		out = append(out, o)
	}
	return out
}

// defaultSPDHash makes the kernel hash policies by the home address alone, which is the
// remote one at an agent or a correspondent and the local one at a node, where the other
// side of the policy is ::/0. Without it a migration walks the policies of all nodes.
func defaultSPDHash(homeIsRemote bool) SPDHash {
	if homeIsRemote {
		return SPDHash{Set: true, Local: 0, Remote: 128}
	}
	return SPDHash{Set: true, Local: 128, Remote: 0}
}
