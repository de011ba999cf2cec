package doctor

import (
	"encoding/binary"
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/mip6/mip6/internal/control"
)

// nftables asks nf_tables for its generation, which changes nothing, but has the kernel load
// the module. Route optimization counts packets to a correspondent by it.
func nftables() control.Finding {
	f := control.Finding{Feature: "nf_tables", Detail: "counts packets, for packets = N in [[mn.optimise]]"}
	err := nftGeneration()
	switch {
	case err == nil:
		f.OK = true
	case errors.Is(err, os.ErrPermission):
		f.Detail += ": " + err.Error()
		f.Remedy = "Run as root, or with CAP_NET_ADMIN."
	default:
		f.Detail += ": " + err.Error()
		f.Remedy = "Load the module nf_tables (modprobe nf_tables), or use a kernel built with CONFIG_NF_TABLES and CONFIG_NF_TABLES_INET; " +
			"without it routes are optimised from the first packet on."
	}
	return f
}

// nftGeneration sends NFT_MSG_GETGEN and reads whether the answer is an error.
func nftGeneration() error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 1}); err != nil {
		return err
	}
	const typ = unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETGEN
	b := binary.NativeEndian.AppendUint32(nil, unix.SizeofNlMsghdr+4)
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = binary.NativeEndian.AppendUint16(b, unix.NLM_F_REQUEST)
	b = append(b, make([]byte, 8+4)...) // sequence, port, struct nfgenmsg
	if err := unix.Sendto(fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	answer := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, answer, 0)
	if err != nil {
		return err
	}
	return netlinkError(answer[:n])
}

// netlinkError is the error in a netlink message, nil where it is an answer.
func netlinkError(b []byte) error {
	if len(b) < unix.SizeofNlMsghdr {
		return unix.EPROTO
	}
	if binary.NativeEndian.Uint16(b[4:]) != unix.NLMSG_ERROR {
		return nil
	}
	if len(b) < unix.SizeofNlMsghdr+4 {
		return unix.EPROTO
	}
	if code := int32(binary.NativeEndian.Uint32(b[unix.SizeofNlMsghdr:])); code != 0 {
		return unix.Errno(-code)
	}
	return nil
}
