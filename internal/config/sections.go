package config

import (
	"fmt"
	"math"
	"path/filepath"
	"time"
)

// daemon reads [daemon].
func (ld *loader) daemon(root *table, c *Config) {
	c.Daemon = defaultDaemon()
	ld.spdAuto = true
	t := root.sub("daemon")
	if t == nil {
		return
	}
	defer t.finish()
	d := &c.Daemon
	if oneOf(t, "dataplane", &d.DataPlane, Auto, Kernel, Userspace) && d.DataPlane == Userspace {
		t.fail("dataplane", `the userspace data plane is not built yet; expected "auto" or "kernel"`)
	}
	t.absPath("control", &d.Control)
	t.str("control_group", &d.ControlGroup)
	t.absPath("state_dir", &d.StateDir)
	oneOf(t, "log_level", &d.LogLevel, "debug", "info", "warn", "error")
	t.keyLog("ike_keylog", &d.IKEKeyLog)
	t.keyLog("esp_keylog", &d.ESPKeyLog)
	var hash string
	if t.str("spd_hash", &hash) {
		ld.spdHash(t, hash, d)
	}
}

// keyLog reads the path of a file that gets keys.
func (t *table) keyLog(key string, dst *string) {
	if t.absPath(key, dst) {
		t.ld.warn(join(t.path, key), "whoever reads %s reads the traffic; for debugging only", *dst)
	}
}

// spdHash reads "auto", "off" or "LOCAL/REMOTE" in bits.
func (ld *loader) spdHash(t *table, s string, d *Daemon) {
	if s == "auto" {
		return
	}
	ld.spdAuto = false
	if s == "off" {
		return
	}
	var local, remote uint8
	if n, err := fmt.Sscanf(s, "%d/%d", &local, &remote); n != 2 || err != nil || max(local, remote) > 128 ||
		s != fmt.Sprintf("%d/%d", local, remote) {
		t.wrong("spd_hash", `"auto", "off" or two numbers of bits, local and remote, such as "0/128"`, s)
		return
	}
	d.SPDHash = SPDHash{Set: true, Local: local, Remote: remote}
}

// absPath reads an absolute path of a file or folder.
func (t *table) absPath(key string, dst *string) bool {
	var s string
	if !t.str(key, &s) {
		return false
	}
	if !filepath.IsAbs(s) {
		t.wrong(key, "a path that begins with /", s)
		return false
	}
	*dst = filepath.Clean(s)
	return true
}

const (
	day      = 24 * time.Hour
	longTime = 365 * day
)

// ike reads [ike].
func (ld *loader) ike(root *table, c *Config) {
	c.IKE = defaultIKE()
	t := root.sub("ike")
	if t == nil {
		return
	}
	defer t.finish()
	k := &c.IKE
	integer(t, "port", 1, math.MaxUint16, &k.Port)
	integer(t, "cookie_threshold", -1, 1<<20, &k.CookieThreshold)
	if k.CookieThreshold == 0 {
		t.fail("cookie_threshold", "expected -1 (always) or a number from 1 on, found 0")
	}
	integer(t, "half_open_max", 1, 1<<20, &k.HalfOpenMax)
	integer(t, "half_open_per_source", 1, 1<<20, &k.HalfOpenPerSource)
	t.duration("half_open_timeout", time.Second, 10*time.Minute, &k.HalfOpenTimeout)
	t.duration("retransmit_first", 20*time.Millisecond, time.Minute, &k.RetransmitFirst)
	t.duration("retransmit_max", 20*time.Millisecond, 10*time.Minute, &k.RetransmitMax)
	if k.RetransmitMax < k.RetransmitFirst {
		t.fail("retransmit_max", "expected at least ike.retransmit_first, %s", short(k.RetransmitFirst))
	}
	integer(t, "retransmit_tries", 1, 100, &k.RetransmitTries)
	integer(t, "fragment_size", 0, math.MaxUint16, &k.FragmentSize)
	if n := k.FragmentSize; n > 0 && n < 256 {
		t.fail("fragment_size", "expected 0 (no fragments) or a number from 256 on, found %d", n)
	}
	if t.fraction("jitter", &k.Jitter); k.Jitter == 0 {
		k.Jitter = -1
	}
	integer(t, "replay_window", 32, 4096, &k.ReplayWindow)
	t.lifetimes(&lifetimes{&k.DPD, &k.IKERekey, &k.IKEHard, &k.ChildRekey, &k.ChildHard, &k.Reauth, &k.ChildBytes, &k.ChildPackets})
	oneOf(t, "unique", &k.Unique, UniqueContact, UniqueReplace, UniqueKeep, UniqueNever)
	t.offers("ike_proposals", ikeOffers, false, &k.IKEProposals)
	t.offers("esp_proposals", espOffers, false, &k.ESPProposals)
	t.offers("ah_proposals", ahOffers, false, &k.AHProposals)
}

// lifetimes are the times and volumes that both [ike] and [[peer]] may set.
type lifetimes struct {
	dpd, ikeRekey, ikeHard, childRekey, childHard, reauth *time.Duration
	bytes, packets                                        *Volume
}

func (t *table) lifetimes(l *lifetimes) {
	t.duration("dpd", 0, day, l.dpd)
	t.pairOfTimes("ike_rekey", "ike_hard", l.ikeRekey, l.ikeHard)
	t.pairOfTimes("child_rekey", "child_hard", l.childRekey, l.childHard)
	t.volume("child_rekey_bytes", "child_hard_bytes", true, 1<<10, l.bytes)
	t.volume("child_rekey_packets", "child_hard_packets", false, 100, l.packets)
	t.duration("reauth", 0, longTime, l.reauth)
	if *l.reauth > 0 && *l.reauth < 10*time.Second {
		t.fail("reauth", `expected "0s" (never) or a duration from 10s on, found %q`, short(*l.reauth))
		*l.reauth = 0
	}
}

// pairOfTimes reads when to rekey and when the end is. Where only the first is said,
// the end follows at a tenth more.
func (t *table) pairOfTimes(rekey, hard string, softDst, hardDst *time.Duration) {
	t.duration(rekey, 10*time.Second, longTime, softDst)
	if t.has(rekey) && !t.has(hard) {
		*hardDst = *softDst + *softDst/10
	}
	t.duration(hard, 10*time.Second, longTime, hardDst)
	if *hardDst <= *softDst {
		t.fail(hard, "expected more than %s, which is %s", rekey, short(*softDst))
		*hardDst = *softDst + *softDst/10
	}
}
