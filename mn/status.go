package mn

import "github.com/mip6/mip6/mobility"

// reaction is what to do about an acknowledgement.
type reaction uint8

const (
	accept reaction = iota
	resync          // adopt the agent's sequence number and send again at once
	later           // send again after a pause that doubles
	final           // send no more until told to
)

// react is the reaction to each status (RFC 6275 §6.1.8, §11.7.3). What may be
// better in a while is tried again: an agent that has just started may not know its
// prefixes yet (132) or not its nodes (133). What an administrator or another protocol decided is final.
func react(s mobility.Status) reaction {
	switch {
	case s.Accepted():
		return accept
	case s == mobility.StatusSequence:
		return resync
	}
	switch s {
	case mobility.StatusProhibited, mobility.StatusHomeRegUnsupported,
		mobility.StatusDADFailed, // MUST NOT use this home address again (§11.7.1)
		mobility.StatusTypeChange,
		mobility.StatusRouterNotPermitted, mobility.StatusInvalidPrefix,
		mobility.StatusPrefixUnauthorized, mobility.StatusForwardingFailed,
		144, 145, 146, // RFC 4285: an authentication that we do not offer
		151: // RFC 5149: service authorization failed
		return final
	}
	return later
}
