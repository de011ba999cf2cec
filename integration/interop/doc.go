// Package interop holds tests against other programs that speak our protocols.
// They run on a real kernel (integration/cmd/vmtest) and skip, with the reason,
// where the other program is not installed.
package interop
