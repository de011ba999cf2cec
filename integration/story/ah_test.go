package story

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mip6/mip6/integration/lab"
	"github.com/mip6/mip6/integration/vm"
)

// TestAH sets AH states and the headers of route optimization by hand between the
// node's home address and the correspondent, and computes the ICVs of the kernel's
// packets anew. One changed bit must be found.
func TestAH(t *testing.T) {
	if os.Getenv(vm.EnvKernel) == "" {
		t.Skip("needs namespaces of a kernel of its own: go run ./integration/cmd/vmtest ./integration/story")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	p := lab.DefaultPlan()
	dir := t.TempDir()
	l, err := lab.Start(ctx, p, lab.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	caps, err := l.Capture(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Solicit(ctx, lab.MN, lab.MNIface); err != nil {
		t.Fatal(err)
	}
	coa, err := l.WaitAddr(ctx, lab.MN, lab.MNIface, p.F1Prefix, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	var texts = map[string]string{}
	for host, commands := range map[string]string{
		lab.MN: `addr add HOA/128 dev lo home nodad
			xfrm state add src HOA dst CN proto hao mode ro coa COA
			xfrm state add src CN dst HOA proto route2 mode ro coa COA flag wildrecv
			xfrm policy add src HOA/128 dst CN/128 dir out tmpl src HOA dst CN proto hao mode ro tmpl src HOA dst CN proto ah mode transport reqid 9
			xfrm policy add src CN/128 dst HOA/128 dir in tmpl src CN dst HOA proto ah mode transport reqid 9 tmpl src CN dst HOA proto route2 mode ro`,
		lab.CN: `xfrm state add src HOA dst CN proto hao mode ro coa COA
			xfrm state add src CN dst HOA proto route2 mode ro coa COA
			xfrm policy add src CN/128 dst HOA/128 dir out tmpl src CN dst HOA proto route2 mode ro tmpl src CN dst HOA proto ah mode transport reqid 9
			xfrm policy add src HOA/128 dst CN/128 dir in tmpl src HOA dst CN proto ah mode transport reqid 9 tmpl src HOA dst CN proto hao mode ro`,
	} {
		key := "0x" + strings.Repeat("a7", 32)
		commands += `
			xfrm state add src HOA dst CN proto ah spi 0x1001 reqid 9 mode transport replay-window 32 auth-trunc hmac(sha256) ` + key + ` 128
			xfrm state add src CN dst HOA proto ah spi 0x1002 reqid 9 mode transport flag esn replay-window 64 auth-trunc hmac(sha256) ` + key + ` 128`
		commands = strings.NewReplacer("HOA", p.HoA.String(), "COA", coa.String(), "CN", p.CN.String()).Replace(commands)
		for _, c := range strings.Split(commands, "\n") {
			if _, err := l.Host(host).Output(ctx, "ip", strings.Fields(c)...); err != nil {
				t.Fatal(err)
			}
		}
		if texts[host], err = l.Host(host).Output(ctx, "ip", "xfrm", "state"); err != nil {
			t.Fatal(err)
		}
	}
	begin := time.Now()
	ping, err := l.Ping(lab.MN, p.HoA, p.CN, 10*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	err = ping.WaitAnswer(ctx, begin, 5*time.Second)
	ping.Stop(300 * time.Millisecond)
	if cerr := caps.Stop(); err != nil || cerr != nil {
		out, _ := l.Host(lab.CN).Output(ctx, "sh", "-c", "cat /proc/net/xfrm_stat; ip -s xfrm state")
		t.Fatal(err, cerr, out)
	}
	checkAH(t, texts[lab.CN], filepath.Join(dir, "core-router0.pcapng"), begin)
}

// checkAH computes the ICVs of a capture anew, and those of altered packets.
func checkAH(t *testing.T, states, file string, begin time.Time) {
	t.Helper()
	keys, err := parseAH(parseStates(states))
	if err != nil || len(keys) != 2 {
		t.Fatal(keys, err)
	}
	packets, err := lab.ReadPackets(file, begin, time.Now(), func(s lab.Seen) bool { return s.AH })
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for _, x := range packets {
		for _, k := range keys {
			if k.spi != x.AHSPI {
				continue
			}
			if err := k.verify(x.Data); err != nil {
				t.Errorf("SPI %#x: %v", k.spi, err)
			}
			count[fmt.Sprintf("%v %v %v esn=%v", x.HomeAddr.IsValid(), x.Type2.IsValid(), x.BadSum, k.esn)]++
			for _, at := range []int{5, 10, 30, 45, 52, len(x.Data) - 1} {
				bad := append([]byte(nil), x.Data...)
				bad[at] ^= 1
				if k.verify(bad) == nil {
					t.Errorf("a bit of octet %d changed, and nobody sees it", at)
				}
			}
			good := append([]byte(nil), x.Data...)
			good[1], good[7] = 0x1f, 3 // a router may do that
			if err := k.verify(good); err != nil {
				t.Errorf("mutable fields: %v", err)
			}
		}
	}
	if count["true false false esn=false"] < 3 || count["false true false esn=true"] < 3 || len(count) != 2 {
		t.Errorf("%v", count)
	}
}
