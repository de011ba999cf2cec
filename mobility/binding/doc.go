// Package binding is the binding cache of a home agent or a correspondent node
// (RFC 6275 §9.1, §10.1): home address → care-of address, with lifetimes,
// sequence numbers modulo 2^16, and entries that were deleted but are kept for a
// while, so that a Binding Update that was delayed is recognised.
//
// A Cache is meant for a million entries: they are packed values without a
// pointer (the garbage collector has nothing to follow), found by open
// addressing, and ordered by expiry in a heap. Time is an argument. It is not
// safe for concurrent use: one goroutine owns it.
package binding
