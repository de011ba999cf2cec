package host

import "errors"

// Errors of a Host; test with errors.Is.
var (
	ErrDuplicate  = errors.New("host: address is in use on the link")
	ErrNoLink     = errors.New("host: no such link")
	ErrPermission = errors.New("host: not permitted (root or CAP_NET_ADMIN and CAP_NET_RAW are needed)")
	ErrNoCounter  = errors.New("host: packets cannot be counted")
)
