//go:build race

package linux

// raced: the race detector allocates on its own.
const raced = true
