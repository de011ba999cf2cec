package daemon

import (
	"context"
	"reflect"
	"slices"
	"strings"

	"github.com/mip6/mip6/internal/config"
	"github.com/mip6/mip6/internal/couple"
)

// reloads reads the file again at each signal.
func (d *daemon) reloads(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-d.hangup:
			d.reload()
		}
	}
}

// reload takes over what can be changed while the machines run, and says what cannot.
func (d *daemon) reload() {
	old := d.live.Load()
	cfg, err := config.Load(d.cfg.File)
	if err != nil {
		d.log.Error("the configuration was not reloaded", "error", err)
		return
	}
	for _, w := range cfg.Warnings {
		d.log.Warn(w)
	}
	if rest := fixed(old, cfg); len(rest) > 0 {
		d.log.Warn("changes that take a restart are left alone", "of", strings.Join(rest, ", "))
	}
	live := *old
	ev := couple.Reconfigure{}
	if old.MN != nil && cfg.MN != nil {
		m := *old.MN
		m.Optimise, m.Correspondents = known(old, cfg.MN.Optimise), cfg.MN.Correspondents
		m.Interfaces, m.Lifetime, m.KeyMobility = cfg.MN.Interfaces, cfg.MN.Lifetime, cfg.MN.KeyMobility
		live.MN = &m
		d.self.Store(&m)
		mc, oc := mnConfig(&m), optimiseConfig(&m)
		mc.Answers = old.CN != nil
		ev.MN, ev.Optimise = &mc, &oc
	}
	if old.CN != nil && cfg.CN != nil {
		c := *cfg.CN
		c.Peers = old.CN.Peers
		live.CN = &c
		d.peer.Store(&c)
		cc := cnConfig(&c)
		ev.CN = &cc
	}
	d.live.Store(&live)
	d.loop.Post(ev)
	d.log.Info("the configuration was reloaded", "config", d.cfg.File)
}

// known are the rules but those whose peer has come with the new file: IKE has not been told of it.
func known(old *config.Config, rules []config.Optimise) []config.Optimise {
	return slices.DeleteFunc(slices.Clone(rules), func(r config.Optimise) bool {
		if r.Peer == "" {
			return false
		}
		_, ok := old.Peer(r.Peer)
		return !ok
	})
}

// fixed names the sections with changes that a running daemon cannot take.
func fixed(old, now *config.Config) (out []string) {
	differ := func(name string, a, b any) {
		if !reflect.DeepEqual(a, b) {
			out = append(out, name)
		}
	}
	differ("[daemon]", old.Daemon, now.Daemon)
	differ("[ike]", old.IKE, now.IKE)
	differ("[ha]", old.HA, now.HA)
	differ("[[peer]]", old.Peers, now.Peers)
	differ("[[psk]]", old.PSKs, now.PSKs)
	a, b := old.MN, now.MN
	if a != nil && b != nil {
		x, y := *a, *b
		x.Optimise, x.Correspondents, x.Interfaces, x.Lifetime, x.KeyMobility = y.Optimise, y.Correspondents, y.Interfaces, y.Lifetime, y.KeyMobility
		a, b = &x, &y
	}
	differ("[mn]", a, b)
	switch {
	case (old.CN == nil) != (now.CN == nil):
		out = append(out, "[cn]")
	case old.CN != nil:
		differ("[cn] peers", old.CN.Peers, now.CN.Peers)
	}
	return out
}
