package kernel

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mip6/mip6/xfrm"
	"github.com/mip6/mip6/xfrm/xfrmtest"
)

func randomAddr(r *rand.Rand) netip.Addr {
	a := [16]byte{0x20, 1, 0xd, 0xb8}
	for i := 8; i < 16; i++ {
		a[i] = byte(r.Uint32())
	}
	return netip.AddrFrom16(a)
}

func randomBytes(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32()) | 1
	}
	return b
}

func randomSelector(r *rand.Rand) xfrm.Selector {
	return xfrm.Selector{
		Src: netip.PrefixFrom(randomAddr(r), r.IntN(128)+1), Dst: netip.PrefixFrom(randomAddr(r), r.IntN(129)),
		Proto: uint8(r.Uint32()), SrcPort: uint16(r.Uint32()), SrcPortMask: uint16(r.Uint32()),
		DstPort: uint16(r.Uint32()), DstPortMask: uint16(r.Uint32()), IfIndex: r.IntN(9),
	}
}

func randomSA(r *rand.Rand) xfrm.SA {
	s := xfrm.SA{
		Src: randomAddr(r), Dst: randomAddr(r), SPI: xfrm.SPI(r.Uint32()), Proto: xfrm.ESP,
		Mode: xfrm.Mode(r.IntN(2)), ReqID: xfrm.ReqID(r.Uint32()), Mark: r.Uint32(), WildRecv: r.IntN(2) == 0,
		Life: xfrm.Lifetimes{SoftTime: time.Duration(r.IntN(99)) * time.Second, HardTime: time.Duration(r.IntN(99)) * time.Second,
			SoftBytes: r.Uint64() >> 1, HardBytes: r.Uint64() >> 1, SoftPackets: uint64(r.Uint32()), HardPackets: uint64(r.Uint32())},
		Replay: xfrm.Replay{Window: uint32(r.IntN(33)), OSeq: uint64(r.Uint32()) + 1, Seq: uint64(r.Uint32()), Bitmap: []uint32{r.Uint32()}},
	}
	if r.IntN(2) == 0 {
		s.AEAD = xfrm.AEAD{Name: "rfc4106(gcm(aes))", Key: randomBytes(r, 20), ICVBits: 128}
	} else {
		s.Crypt = xfrm.Crypt{Name: "cipher_null"}
		s.Auth = xfrm.Auth{Name: "hmac(sha512)", Key: randomBytes(r, 64), TruncBits: 256}
	}
	if r.IntN(3) == 0 {
		n := r.IntN(4096) + 1
		s.Replay = xfrm.Replay{Window: uint32(n), ESN: true, OSeq: r.Uint64(), Seq: r.Uint64(), Bitmap: make([]uint32, (n+31)/32)}
		for i := range s.Replay.Bitmap {
			s.Replay.Bitmap[i] = r.Uint32()
		}
	}
	if r.IntN(2) == 0 {
		s.Encap = &xfrm.Encap{SrcPort: 4500, DstPort: uint16(r.Uint32())}
	}
	if r.IntN(2) == 0 {
		s.Sel = randomSelector(r)
	}
	return s
}

func TestSARoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 1))
	for range 2000 {
		want := randomSA(r)
		got, err := decodeSA(saMessage(msgNewSA, want).fixed())
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%v\n got %+v\nwant %+v", err, got, want)
		}
	}
}

func TestPolicyAndMigrationRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 2))
	for range 2000 {
		p := xfrm.Policy{Sel: randomSelector(r), Dir: xfrm.Dir(r.IntN(3)), Type: xfrm.PolicyType(r.IntN(2)), Priority: r.Uint32(), Block: r.IntN(2) == 0, Mark: r.Uint32()}
		g := xfrm.Migration{Policy: p.ID(), Endpoints: &xfrm.Endpoints{Local: randomAddr(r), Remote: randomAddr(r)}}
		for range r.IntN(maxTemplates) + 1 {
			p.Templates = append(p.Templates, xfrm.Template{Src: randomAddr(r), Dst: randomAddr(r), Proto: xfrm.HAO, Mode: xfrm.RouteOpt,
				ReqID: xfrm.ReqID(r.Uint32()), SPI: xfrm.SPI(r.Uint32()), Optional: r.IntN(2) == 0})
			g.Moves = append(g.Moves, xfrm.Move{OldSrc: randomAddr(r), OldDst: randomAddr(r), NewSrc: randomAddr(r), NewDst: randomAddr(r),
				Proto: xfrm.ESP, Mode: xfrm.Tunnel, ReqID: xfrm.ReqID(r.Uint32())})
		}
		got, err := decodePolicy(policyMessage(msgUpdPolicy, p).fixed())
		if err != nil || !reflect.DeepEqual(got, p) {
			t.Fatalf("%v\n got %+v\nwant %+v", err, got, p)
		}
		ev, err := decodeEvent(msgMigrate, migrateMessage(g).fixed())
		if err != nil || !reflect.DeepEqual(ev, xfrm.Migrated{Migration: g}) {
			t.Fatalf("%v\n got %+v\nwant %+v", err, ev, g)
		}
	}
}

// TestMigrateBytes is the message as uapi/linux/xfrm.h lays it out, by hand, for
// little-endian machines.
func TestMigrateBytes(t *testing.T) {
	if b := []byte{1, 0}; host.Uint16(b) != 1 {
		t.Skip("the bytes below are little-endian")
	}
	p := xfrmtest.TunnelPolicy(xfrm.Out, coa1, ha, 2)
	m := migrateMessage(xfrmtest.Move(p, coa1, ha, coa2, ha).Migration)
	m.seal(1)
	const (
		header   = "cc00000021000100" + "01000000" + "00000000"
		any6     = "00000000000000000000000000000000"
		home     = "20010db8000100000000000000000100"
		agent    = "20010db8000100000000000000000001"
		careOf1  = "20010db8000a00000000000000000100"
		careOf2  = "20010db8000b00000000000000000100"
		selector = any6 + home + "0000000000000000" + "0a00" + "00" + "80" + "00" + "000000" + "00000000" + "00000000"
		id       = selector + "00000000" + "01" + "000000"
		migrate  = "50001100" + agent + careOf1 + agent + careOf2 + "32" + "01" + "0000" + "02000000" + "0a00" + "0a00"
		manager  = "2c001300" + careOf2 + agent + "00000000" + "0a00" + "0000"
	)
	if got := hex.EncodeToString(m); got != header+id+migrate+manager {
		t.Errorf("\n got %s\nwant %s", got, header+id+migrate+manager)
	}
}

// TestTruncated cuts every kind of message at every length: no panic, and an
// error or less than the whole.
func TestTruncated(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 3))
	sa := randomSA(r)
	sa.Replay = xfrm.Replay{Window: 64, ESN: true, Bitmap: make([]uint32, 2)}
	p := xfrmtest.TunnelPolicy(xfrm.In, ha, coa1, 2)
	for _, m := range []message{
		saMessage(msgNewSA, sa), policyMessage(msgUpdPolicy, p),
		migrateMessage(xfrmtest.Move(p, ha, coa1, ha, coa2).Migration),
	} {
		for n := range len(m.fixed()) {
			decodeAll(m.fixed()[:n])
			if n < sizePolicyID {
				for _, typ := range []uint16{msgAcquire, msgExpire, msgPolExpire, msgMigrate, msgReport} {
					if _, err := decodeEvent(typ, m.fixed()[:min(n, sizeReport-1)]); !errors.Is(err, ErrMessage) {
						t.Errorf("type %#x, %d bytes: %v", typ, n, err)
					}
				}
			}
		}
	}
}

// decodeAll gives b to every decoder.
func decodeAll(b []byte) {
	decodeSA(b)
	decodePolicy(b)
	for typ := range uint16(0x30) {
		decodeEvent(typ, b)
	}
	decodeThresholds(b)
	ackError(0x300, b)
	ackError(0x200, b)
	if m, err := rewriteSA(b, coa1, coa2, 64); err == nil {
		decodeSA(m.fixed())
	}
	messages(b, func(h header, body []byte) error { return nil })
}

func FuzzDecode(f *testing.F) {
	r := rand.New(rand.NewPCG(6, 4))
	p := xfrmtest.TunnelPolicy(xfrm.In, ha, coa1, 2)
	for range 5 {
		f.Add([]byte(saMessage(msgNewSA, randomSA(r)).fixed()))
	}
	f.Add([]byte(policyMessage(msgUpdPolicy, p).fixed()))
	f.Add([]byte(migrateMessage(xfrmtest.Move(p, ha, coa1, ha, coa2).Migration)))
	f.Add(bytes.Repeat([]byte{0xff}, 300))
	f.Add(make([]byte, 300))
	f.Fuzz(func(t *testing.T, b []byte) {
		decodeAll(b)
		if s, err := decodeSA(b); err == nil && !s.Larval {
			// What was read can be written and read again, as far as it is legal.
			if again, err := decodeSA(saMessage(msgNewSA, s).fixed()); err != nil || checkSA(s) == nil && again.ID() != s.ID() {
				t.Errorf("%v: %+v became %+v", err, s, again)
			}
		}
	})
}

func TestErrors(t *testing.T) {
	ack := make([]byte, 4+sizeHeader)
	no := -int32(unix.EPERM)
	host.PutUint32(ack, uint32(no))
	m := message(append([]byte(nil), ack...))
	copy(m.attr(1, 6), "reason")
	err := ackError(0x300, m)
	if !errors.Is(err, xfrm.ErrPermission) || !errors.Is(err, unix.EPERM) || !bytes.Contains([]byte(err.Error()), []byte("reaso")) {
		t.Errorf("%v", err)
	}
	fe := new(xfrm.FeatureError)
	if err := explain(&errnoError{errno: unix.EPROTONOSUPPORT}, "ESP6", "put SA"); !errors.As(err, &fe) || fe.Feature != "ESP6" || !errors.Is(err, xfrm.ErrUnsupported) {
		t.Errorf("%v", err)
	}
	for errno, want := range map[unix.Errno]error{
		unix.ESRCH: xfrm.ErrNotFound, unix.ENOENT: xfrm.ErrNotFound, unix.EEXIST: xfrm.ErrExists, unix.ENOPROTOOPT: xfrm.ErrUnsupported,
	} {
		if !errors.Is(&errnoError{errno: errno}, want) {
			t.Errorf("%v is not %v", errno, want)
		}
	}
}

func TestKernelRelease(t *testing.T) {
	for release, want := range map[string]bool{
		"6.1.176": true, "6.6.0-rc1": true, "6.7.0": false, "6.12.117+deb12-amd64": false, "5.10": true, "7.0": false, "": false, "x.y": false,
	} {
		if before67(release) != want {
			t.Errorf("%q: %v", release, !want)
		}
	}
}

// Copies go apart, and so do deletions that wait for what is before them.
func TestRunEnd(t *testing.T) {
	put, cp, del := xfrm.PutSA{}, xfrm.CopySA{}, xfrm.DelSA{Linger: true}
	ops := []xfrm.Op{put, put, cp, cp, put, del, del, put, del}
	var ends []int
	for i := 0; i < len(ops); i = ends[len(ends)-1] {
		ends = append(ends, runEnd(ops, i))
	}
	if want := []int{2, 4, 5, 8, 9}; !slices.Equal(ends, want) {
		t.Errorf("runs end at %v, want %v", ends, want)
	}
}
