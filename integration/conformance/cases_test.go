package conformance

import (
	"testing"
	"time"
)

// Case is one test of a suite.
type Case struct {
	ID string
	// Wait is how long the case waits for something to expire, about; such cases start
	// first and do not count towards those that run at once.
	Wait time.Duration
	Run  func(*testing.T, *Tester)
}

const (
	// nonceLife is longer than MAX_NONCE_LIFETIME, 240 s (RFC 6275 §12).
	nonceLife = 242 * time.Second
	// longest is longer than MAX_RR_BINDING_LIFETIME, 420 s.
	longest = 422 * time.Second
	// atLength are waits beyond which a case begins before all others.
	atLength = time.Minute
)

func all(tables ...[]Case) (cases []Case) {
	for _, t := range tables {
		cases = append(cases, t...)
	}
	return cases
}

// cnCases are the cases of the correspondent.
var cnCases = all(cnTests, cnUpdates, cnBindings, cnDeletions, cnNonces, cnErrors)
