package linux

import (
	"encoding/binary"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// nft is a socket for requests to nf_tables (uapi linux/netfilter/nf_tables.h). One call at a
// time. Tables that it makes for itself alone go with it, also when the program dies.
type nft struct {
	s   *socket
	seq uint32
}

// nftError is the kernel's answer to one message of a batch: at counts them, 0 is the batch itself.
type nftError struct {
	at  int
	err unix.Errno
}

func (e *nftError) Error() string { return fmt.Sprintf("message %d: %v", e.at, e.err) }
func (e *nftError) Unwrap() error { return e.err }

// nftWait bounds the time for an answer. The kernel has answered when sending returns.
const nftWait = 5 * time.Second

func openNFT() (*nft, error) {
	s, err := newSocket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER, "nf_tables")
	if err != nil {
		return nil, err
	}
	err = s.control(func(fd int) error { return unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}) })
	if err != nil {
		s.close()
		return nil, place("open a netfilter socket", err)
	}
	return &nft{s: s}, nil
}

// nftMessage is one request: NFT_MSG_… and its attributes.
type nftMessage struct {
	typ   int
	flags int
	attrs []byte
}

// append appends a netlink message with struct nfgenmsg: family, version, resource in network order.
func (n *nft) append(b []byte, typ, flags int, family uint8, resource uint16, attrs []byte) []byte {
	n.seq++
	b = binary.NativeEndian.AppendUint32(b, uint32(unix.SizeofNlMsghdr+4+len(attrs)))
	b = binary.NativeEndian.AppendUint16(b, uint16(typ))
	b = binary.NativeEndian.AppendUint16(b, uint16(unix.NLM_F_REQUEST|flags))
	b = binary.NativeEndian.AppendUint32(b, n.seq)
	b = binary.NativeEndian.AppendUint32(b, 0)
	b = binary.BigEndian.AppendUint16(append(b, family, 0), resource)
	return append(b, attrs...)
}

const nftType = unix.NFNL_SUBSYS_NFTABLES << 8

// batch carries out all messages or none. The error is an *nftError where the kernel refused one.
func (n *nft) batch(ms ...nftMessage) error {
	b := n.append(nil, unix.NFNL_MSG_BATCH_BEGIN, 0, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES, nil)
	first := n.seq
	for i, m := range ms {
		if i == len(ms)-1 {
			m.flags |= unix.NLM_F_ACK
		}
		b = n.append(b, nftType|m.typ, m.flags, unix.AF_INET6, 0, m.attrs)
	}
	last := n.seq
	b = n.append(b, unix.NFNL_MSG_BATCH_END, 0, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES, nil)
	if err := n.s.send(b, nil, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	var refused error
	return n.answers(func(typ uint16, seq uint32, body []byte) (done bool, err error) {
		if typ != unix.NLMSG_ERROR || len(body) < 4 || seq-first > last-first {
			return false, nil
		}
		if e := -int32(attr32(body)); e != 0 && refused == nil {
			refused = &nftError{at: int(seq - first), err: unix.Errno(e)}
		}
		// An error of the batch as a whole may be the only answer.
		return seq == last || seq == first, refused
	})
}

// get asks for one thing and gives the attributes of the answer.
func (n *nft) get(m nftMessage) (attrs []byte, err error) {
	b := n.append(nil, nftType|m.typ, m.flags, unix.AF_INET6, 0, m.attrs)
	mine := n.seq
	if err := n.s.send(b, nil, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, err
	}
	err = n.answers(func(typ uint16, seq uint32, body []byte) (bool, error) {
		switch {
		case seq != mine || len(body) < 4:
			return false, nil
		case typ == unix.NLMSG_ERROR:
			return true, &nftError{at: 1, err: unix.Errno(-int32(attr32(body)))}
		}
		attrs = body[4:] // behind struct nfgenmsg
		return true, nil
	})
	return attrs, err
}

// answers gives each message that comes from the kernel, until done.
func (n *nft) answers(each func(typ uint16, seq uint32, body []byte) (done bool, err error)) error {
	n.s.f.SetReadDeadline(time.Now().Add(nftWait))
	buf := make([]byte, 1<<16)
	for {
		p, err := n.s.receive(buf, nil)
		if err != nil {
			return err
		}
		if from, ok := p.from.(*unix.SockaddrNetlink); !ok || from.Pid != 0 {
			continue
		}
		var done bool
		eachMessageSeq(p.data, func(typ uint16, seq uint32, body []byte) {
			if !done {
				done, err = each(typ, seq, body)
			}
		})
		if done {
			return err
		}
	}
}

// Attributes of nf_tables: numbers are big endian, names end with a zero.

func nftNumber(b []byte, typ uint16, v uint32) []byte {
	return appendAttr(b, typ, binary.BigEndian.AppendUint32(nil, v))
}

func nftName(b []byte, typ uint16, s string) []byte {
	return appendAttr(b, typ, append([]byte(s), 0))
}

func nftNest(b []byte, typ uint16, inner []byte) []byte {
	return appendAttr(b, typ|unix.NLA_F_NESTED, inner)
}

// nftExpr appends an expression to a rule's list.
func nftExpr(b []byte, name string, data []byte) []byte {
	e := nftNest(nftName(nil, unix.NFTA_EXPR_NAME, name), unix.NFTA_EXPR_DATA, data)
	return nftNest(b, unix.NFTA_LIST_ELEM, e)
}

// nftLoad appends the expression that loads a part of the network header into a register.
func nftLoad(b []byte, register, offset, n uint32) []byte {
	d := nftNumber(nil, unix.NFTA_PAYLOAD_DREG, register)
	d = nftNumber(d, unix.NFTA_PAYLOAD_BASE, unix.NFT_PAYLOAD_NETWORK_HEADER)
	d = nftNumber(d, unix.NFTA_PAYLOAD_OFFSET, offset)
	return nftExpr(b, "payload", nftNumber(d, unix.NFTA_PAYLOAD_LEN, n))
}

// nftUnequal appends the expression that ends a rule where a register holds v.
func nftUnequal(b []byte, register uint32, v ...byte) []byte {
	d := nftNumber(nil, unix.NFTA_CMP_SREG, register)
	d = nftNumber(d, unix.NFTA_CMP_OP, unix.NFT_CMP_NEQ)
	return nftExpr(b, "cmp", nftNest(d, unix.NFTA_CMP_DATA, appendAttr(nil, unix.NFTA_DATA_VALUE, v)))
}
