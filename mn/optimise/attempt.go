package optimise

import (
	"net/netip"
	"slices"
	"time"

	"github.com/mip6/mip6/mobility"
	"github.com/mip6/mip6/mobility/rr"
)

// token is a keygen token with its nonce index.
type token struct {
	Token mobility.Token
	Nonce uint16
	Until time.Time
}

// fresh tells whether a token may be used yet, and by a message that may take its time.
func (t token) fresh(now time.Time) bool { return t.Until.Add(-tokenMargin).After(now) }

type careToken struct {
	CareOf netip.Addr
	token
}

// cookie is one of a Test Init that may be answered yet.
type cookie struct {
	Cookie mobility.Cookie
	At     time.Time
}

// update is a Binding Update that may be acknowledged yet.
type update struct {
	Seq      uint16
	At       time.Time
	Lifetime mobility.Units
	CareOf   netip.Addr // what the authenticator is over: the home address in a deletion (§6.2.7)
	Abroad   bool       // sent from a care-of address
	Auth     Auth
	Key      rr.Kbm
}

// attempt is one message's retransmission with back-off (§11.8).
type attempt struct {
	At      time.Time // of the next transmission; zero: not begun
	Timeout time.Duration
	Tries   int
	Late    int // timeouts in a row that were as long as the RFC has them
	Recent  []time.Time
}

// again starts from the beginning; what has left still counts for the rate.
func (a *attempt) again() { *a = attempt{Recent: a.Recent} }

// kick sends at once what was sent and has no answer.
func (a *attempt) kick(now time.Time) {
	if a.Tries > 0 {
		a.At, a.Timeout, a.Tries = now, 0, 0
	}
}

// next is when it is due, now if it was not begun.
func (a *attempt) next(now time.Time) time.Time {
	if a.At.IsZero() {
		return now
	}
	return a.At
}

// sent notes a transmission and sets the next; initial is the first timeout.
func (a *attempt) sent(now time.Time, initial time.Duration, rate int) {
	if a.Tries == 0 {
		a.Timeout = initial
	} else {
		a.Timeout = min(2*a.Timeout, maxBindack)
	}
	a.Tries++
	a.At = now.Add(a.Timeout)
	a.Recent = append(a.Recent, now)
	if len(a.Recent) > rate {
		a.Recent = slices.Delete(a.Recent, 0, len(a.Recent)-rate)
	}
}

// free is when the rate allows the next transmission (MAX_UPDATE_RATE, §11.8).
func (a *attempt) free(rate int) time.Time {
	if len(a.Recent) < rate {
		return time.Time{}
	}
	return a.Recent[len(a.Recent)-rate].Add(time.Second)
}
