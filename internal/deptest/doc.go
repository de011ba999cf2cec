// Package deptest holds the tests of the house's shape: which room may import
// which, and what must not be in the pure rooms. It has no code of its own.
package deptest
