package kernel

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/mip6/mip6/xfrm"
)

// The probes put harmless objects among addresses that no packet has (the discard
// prefix 100::/64, RFC 6666) and take them away again. What a kernel was built
// with is not asked: modules load on demand, and only trying tells.
var (
	probeSrc = netip.MustParseAddr("100::6d69:7036:1")
	probeDst = netip.MustParseAddr("100::6d69:7036:2")
)

const probeID = 0x6d697036

// probe fills b.caps. Without the right to do so it fails with xfrm.ErrPermission.
func (b *Backend) probe(assume bool) error {
	b.caps = xfrm.Caps{
		Name: "kernel", ESP6: true, AH6: true, MIP6: true, Migrate: true, SubPolicy: true,
		InboundTypes: matchesInboundTypes(),
	}
	if assume {
		return nil
	}
	var err error
	werr := b.with(context.Background(), func(s *socket) { err = b.probeWith(s) })
	return errors.Join(werr, err)
}

func (b *Backend) probeWith(s *socket) error {
	sel := xfrm.Selector{Src: netip.PrefixFrom(probeSrc, 128), Dst: netip.PrefixFrom(probeDst, 128)}
	sub := xfrm.Policy{Sel: sel, Dir: xfrm.Out, Type: xfrm.Sub, Block: true}
	esp := xfrm.SA{
		Src: probeSrc, Dst: probeDst, Proto: xfrm.ESP, SPI: probeID, ReqID: probeID,
		AEAD: xfrm.AEAD{Name: "rfc4106(gcm(aes))", Key: make([]byte, 20), ICVBits: 128},
	}
	ah := xfrm.SA{
		Src: probeSrc, Dst: probeDst, Proto: xfrm.AH, SPI: probeID, ReqID: probeID,
		Auth: xfrm.Auth{Name: "hmac(sha256)", Key: make([]byte, 32), TruncBits: 128},
	}
	hao := xfrm.SA{Src: probeSrc, Dst: probeDst, Proto: xfrm.HAO, Mode: xfrm.RouteOpt, CareOf: probeSrc}
	move := xfrm.Migration{Policy: sub.ID(), Moves: []xfrm.Move{{
		OldSrc: probeSrc, OldDst: probeDst, NewSrc: probeSrc, NewDst: probeSrc, Proto: xfrm.ESP, ReqID: probeID,
	}}}
	move.Policy.Type = xfrm.Main
	a := s.exchange([]message{
		saMessage(msgNewSA, esp), saIDMessage(msgDelSA, esp.ID(), 0),
		saMessage(msgNewSA, ah), saIDMessage(msgDelSA, ah.ID(), 0),
		saMessage(msgNewSA, hao), saIDMessage(msgDelSA, hao.ID(), 0),
		policyMessage(msgUpdPolicy, sub), policyIDMessage(msgDelPolicy, sub.ID(), 0),
		migrateMessage(move),
		newMessage(msgMigrateState, 0, 512),
	})
	if errors.Is(a[0].err, xfrm.ErrPermission) {
		return fmt.Errorf("%w: %w", xfrm.ErrPermission, explain(a[0].err, "", "look what the kernel can do"))
	}
	b.lack("ESP6", &b.caps.ESP6, a[0].err)
	b.lack("AH6", &b.caps.AH6, a[2].err)
	b.lack("MIP6", &b.caps.MIP6, a[4].err)
	b.lack("SubPolicy", &b.caps.SubPolicy, a[6].err)
	if isErrno(a[8].err, unix.ENOPROTOOPT) {
		b.lack("Migrate", &b.caps.Migrate, a[8].err)
	}
	var e *errnoError
	b.caps.MigrateState = !errors.As(a[9].err, &e) || e.errno != unix.EINVAL || e.text != ""
	return nil
}

// lack notes a feature that is missing. An object that is there already (two
// programs probing at once) shows that the feature is there.
func (b *Backend) lack(feature string, has *bool, err error) {
	if err == nil || errors.Is(err, xfrm.ErrExists) {
		return
	}
	*has = false
	named := explain(err, feature, "try "+feature)
	if fe := new(xfrm.FeatureError); !errors.As(named, &fe) {
		named = &xfrm.FeatureError{Feature: feature, Err: fmt.Errorf("%w: %w", named, xfrm.ErrUnsupported)}
	}
	b.caps.Missing = append(b.caps.Missing, xfrm.Missing{Feature: feature, Err: named, Remedy: Remedies[feature]})
}

// Remedies say in a sentence what to do about a missing feature.
var Remedies = map[string]string{
	"XFRM":      "Load the module xfrm_user (modprobe xfrm_user), or use a kernel built with CONFIG_XFRM_USER; without it there is no IPsec in this kernel.",
	"ESP6":      "Load the module esp6 (modprobe esp6), or use a kernel built with CONFIG_INET6_ESP and CONFIG_CRYPTO_GCM.",
	"AH6":       "Load the module ah6 (modprobe ah6), or use a kernel built with CONFIG_INET6_AH; needed only where a profile asks for AH.",
	"MIP6":      "Load the module mip6 (modprobe mip6), or use a kernel built with CONFIG_IPV6_MIP6.",
	"Migrate":   "Use a kernel built with CONFIG_XFRM_MIGRATE; without it policies and states are moved one by one, and a foreign IKE daemon is not told of a move.",
	"SubPolicy": "Use a kernel built with CONFIG_XFRM_SUB_POLICY; needed only for blocking policies around a move.",
}

// matchesInboundTypes tells whether inbound policies match Mobility Header types:
// Linux 6.7 took that away.
func matchesInboundTypes() bool {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return false
	}
	return before67(unix.ByteSliceToString(u.Release[:]))
}

func before67(release string) bool {
	major, rest, _ := strings.Cut(release, ".")
	minor := strings.FieldsFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
	a, err := strconv.Atoi(major)
	if err != nil || len(minor) == 0 {
		return false
	}
	b, err := strconv.Atoi(minor[0])
	return err == nil && (a < 6 || a == 6 && b < 7)
}
