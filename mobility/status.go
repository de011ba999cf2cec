package mobility

import "fmt"

// Status is the status of a Binding Acknowledgement. Below 128 the binding was
// accepted (RFC 6275 §6.1.8).
type Status uint8

const (
	StatusAccepted           Status = 0
	StatusPrefixDiscovery    Status = 1 // accepted, but prefix discovery necessary
	StatusUnspecified        Status = 128
	StatusProhibited         Status = 129
	StatusNoResources        Status = 130
	StatusHomeRegUnsupported Status = 131
	StatusNotHomeSubnet      Status = 132
	StatusNotHomeAgent       Status = 133
	StatusDADFailed          Status = 134
	StatusSequence           Status = 135 // sequence number out of window
	StatusExpiredHomeNonce   Status = 136
	StatusExpiredCareOfNonce Status = 137
	StatusExpiredNonces      Status = 138
	StatusTypeChange         Status = 139 // registration type change disallowed
	StatusRouterNotPermitted Status = 140 // RFC 3963 §4.2
	StatusInvalidPrefix      Status = 141
	StatusPrefixUnauthorized Status = 142
	StatusForwardingFailed   Status = 143
	StatusInvalidCareOf      Status = 174
	firstRejection           Status = 128
)

var statusText = map[Status]string{
	StatusAccepted:           "binding update accepted",
	StatusPrefixDiscovery:    "accepted but prefix discovery necessary",
	StatusUnspecified:        "reason unspecified",
	StatusProhibited:         "administratively prohibited",
	StatusNoResources:        "insufficient resources",
	StatusHomeRegUnsupported: "home registration not supported",
	StatusNotHomeSubnet:      "not home subnet",
	StatusNotHomeAgent:       "not home agent for this mobile node",
	StatusDADFailed:          "duplicate address detection failed",
	StatusSequence:           "sequence number out of window",
	StatusExpiredHomeNonce:   "expired home nonce index",
	StatusExpiredCareOfNonce: "expired care-of nonce index",
	StatusExpiredNonces:      "expired nonces",
	StatusTypeChange:         "registration type change disallowed",
	StatusRouterNotPermitted: "mobile router operation not permitted",
	StatusInvalidPrefix:      "invalid prefix",
	StatusPrefixUnauthorized: "not authorized for prefix",
	StatusForwardingFailed:   "forwarding setup failed",
	StatusInvalidCareOf:      "invalid care-of address",
}

// String is the registry's name of the status.
func (s Status) String() string {
	if t, ok := statusText[s]; ok {
		return t
	}
	return fmt.Sprintf("status %d", uint8(s))
}

// Accepted tells whether the binding was accepted.
func (s Status) Accepted() bool { return s < firstRejection }

// ErrorStatus is the status of a Binding Error (RFC 6275 §6.1.9).
type ErrorStatus uint8

const (
	ErrorUnknownBinding   ErrorStatus = 1 // unknown binding for home address destination option
	ErrorUnrecognizedType ErrorStatus = 2 // unrecognized MH type value
)

// String is the registry's name of the status.
func (s ErrorStatus) String() string {
	switch s {
	case ErrorUnknownBinding:
		return "unknown binding for home address destination option"
	case ErrorUnrecognizedType:
		return "unrecognized mobility header type"
	}
	return fmt.Sprintf("error status %d", uint8(s))
}
