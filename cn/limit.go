package cn

import (
	"encoding/binary"
	"net/netip"
	"time"
)

// rate is a limit by the time at which an evenly spaced sender would come next: no tokens to fill.
type rate struct {
	interval, burst time.Duration // between two; how far ahead of that somebody may be
	next            int64         // nanoseconds of Unix time
}

// perSecond allows n a second, and burst at once.
func perSecond(n, burst int) rate {
	i := time.Second / time.Duration(n)
	return rate{interval: i, burst: i * time.Duration(burst-1)}
}

func (r *rate) take(now time.Time) bool {
	var ok bool
	r.next, ok = r.after(now, r.next)
	return ok
}

// after is what next becomes.
func (r *rate) after(now time.Time, next int64) (int64, bool) {
	t := now.UnixNano()
	ahead := time.Duration(next - t)
	if ahead < 0 || ahead > r.burst+r.interval { // the clock went back
		next, ahead = t, 0
	}
	if ahead > r.burst {
		return next, false
	}
	return next + int64(r.interval), true
}

const (
	limitWays = 4
	limitSets = 1024
)

// limiter limits a rate for each of very many sources in memory that does not grow.
// A source that has been quiet gives its place to another one; where all places that a source may
// have are busy it shares the quietest one. Where that is cannot be told without the seed.
type limiter struct {
	rate  rate
	seed  uint64
	slots []limitSlot
}

type limitSlot struct {
	key  uint64
	next int64
}

func newLimiter(r rate, seed uint64) limiter {
	return limiter{rate: r, seed: seed, slots: make([]limitSlot, limitSets*limitWays)}
}

func (l *limiter) take(now time.Time, key uint64) bool {
	key = mix(key ^ l.seed)
	set := l.slots[key%limitSets*limitWays:][:limitWays]
	at := 0
	for i := range set {
		if set[i].key == key {
			at = i
			break
		}
		if set[i].next < set[at].next {
			at = i
		}
	}
	s := &set[at]
	if s.key != key && s.next <= now.UnixNano() { // quiet
		s.key, s.next = key, 0
	}
	var ok bool
	s.next, ok = l.rate.after(now, s.next)
	return ok
}

// subnet and address are keys for a limiter.
func subnet(a netip.Addr) uint64 {
	v := a.As16()
	return binary.BigEndian.Uint64(v[:])
}

func address(a netip.Addr) uint64 {
	v := a.As16()
	return mix(binary.BigEndian.Uint64(v[:])) + binary.BigEndian.Uint64(v[8:])
}

// mix spreads the bits of x (the finalizer of splitmix64).
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}
