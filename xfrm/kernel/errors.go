package kernel

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/mip6/mip6/xfrm"
)

// errnoError is the kernel's refusal: an error number and, where it gives one, a
// sentence. It is the vocabulary's sentinel and the unix.Errno to errors.Is.
type errnoError struct {
	call  string // what was tried
	errno unix.Errno
	text  string // the kernel's own words
}

func (e *errnoError) Error() string {
	s := "xfrm/kernel: "
	if e.call != "" {
		s += e.call + ": "
	}
	s += e.errno.Error()
	if e.text != "" {
		s += " (" + e.text + ")"
	}
	return s
}

func (e *errnoError) Unwrap() []error {
	if s := sentinel(e.errno); s != nil {
		return []error{s, e.errno}
	}
	return []error{e.errno}
}

func sentinel(errno unix.Errno) error {
	switch errno {
	case unix.EPERM, unix.EACCES:
		return xfrm.ErrPermission
	case unix.ESRCH, unix.ENOENT:
		return xfrm.ErrNotFound
	case unix.EEXIST:
		return xfrm.ErrExists
	case unix.EPROTONOSUPPORT, unix.EAFNOSUPPORT, unix.ENOPROTOOPT, unix.EOPNOTSUPP, unix.ENOSYS:
		return xfrm.ErrUnsupported
	}
	return nil
}

func errnoOf(err error) unix.Errno {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return unix.EIO
}

// isErrno tells whether err is one of these refusals of the kernel.
func isErrno(err error, nos ...unix.Errno) bool {
	for _, n := range nos {
		if errors.Is(err, n) {
			return true
		}
	}
	return false
}

// ackError reads an acknowledgement: a negative error number, and with
// NETLINK_EXT_ACK an attribute with a sentence. The request's header stands in
// between, and all of it unless NETLINK_CAP_ACK holds.
func ackError(flags uint16, b []byte) error {
	if len(b) < 4 {
		return nil // NLMSG_DONE of an old kernel carries nothing
	}
	no := int32(host.Uint32(b))
	if no >= 0 {
		return nil
	}
	const ackTLVs, capped = 0x200, 0x100
	e := &errnoError{errno: unix.Errno(uint32(-no))}
	if flags&ackTLVs != 0 && len(b) >= 4+sizeHeader {
		skip := 4 + sizeHeader
		if n := host.Uint32(b[4:]); flags&capped == 0 && n >= sizeHeader && uint64(n) <= uint64(len(b)-4) {
			skip = 4 + align(int(n))
		}
		if skip <= len(b) {
			attrs(b[skip:], func(typ uint16, v []byte) {
				if typ == 1 && len(v) > 0 { // NLMSGERR_ATTR_MSG, with a zero at its end
					e.text = string(v[:len(v)-1])
				}
			})
		}
	}
	return e
}

// explain adds what was tried to a refusal, and turns "not supported" into the
// typed error for the feature.
func explain(err error, feature, what string) error {
	var e *errnoError
	if err == nil || !errors.As(err, &e) {
		return err
	}
	named := *e
	named.call = what
	if sentinel(e.errno) == xfrm.ErrUnsupported && feature != "" {
		return &xfrm.FeatureError{Feature: feature, Err: &named}
	}
	return &named
}

// featureOf names what an SA needs of the kernel.
func featureOf(s xfrm.SA, err error) string {
	if isErrno(err, unix.ENOSYS) { // the algorithm, not the protocol
		for _, name := range []string{s.AEAD.Name, s.Auth.Name, s.Crypt.Name} {
			if name != "" {
				return "algorithm " + name
			}
		}
	}
	suffix := "6"
	if s.Dst.Is4() {
		suffix = "4"
	}
	switch s.Proto {
	case xfrm.ESP:
		return "ESP" + suffix
	case xfrm.AH:
		return "AH" + suffix
	case xfrm.HAO, xfrm.Route2:
		return "MIP6"
	}
	return fmt.Sprint(s.Proto)
}
