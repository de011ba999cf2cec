// Package conformance tests mip6d from outside, packet by packet, as conformance
// suites do: one node under test at the end of one wire, and at the other end a
// Tester that plays everything else: the router, the mobile nodes and the home agent
// behind it.
//
//	Tester (R0, and behind it MN, HA …) ──── wire ──── node under test
//
// The Tester builds its packets itself, right and wrong ones, and computes its
// authenticators itself: it shares no line of that with what it tests. It reads what
// comes back, with package mobility, which has vectors of its own, and holds every packet to the rules that no case need repeat:
// checksums, reserved fields, lengths.
//
// A Wire is either a veth pair between two network namespaces with mip6d in one of
// them (NewHost, for a kernel with MIP6) or a model in this process, in which time
// passes at will. Cases are functions of a Tester, in tables by role (cn*_test.go);
// each runs alone with a wire and a daemon of its own, so that cases that wait for
// minutes wait all at the same time.
//
// Cases carry the ids of the TAHI project's suites, whose procedures and judgements
// they follow in our own words and code; of those files nothing is here, and they are
// read only to see that no case is missing. docs/conformance.md lists the outcome.
package conformance
