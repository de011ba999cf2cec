// Package sim is a network of mobile nodes and a home agent in virtual time. Each
// host runs the very same couple.Node as the daemon does; the network, the
// hosts' addresses and routes and the IPsec databases (xfrmtest.Fake) are
// simulated. There is one heap of events and no goroutine, and all chance comes
// from a seed: a run with the same seed is the same run.
//
// What a host's databases would do to a packet is worked out as Linux does it
// (see spd.go), so that a message of the Mobility Header arrives, and payload is
// said to pass, only where policies and states of both ends fit together.
package sim
