package story

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/mip6/mip6/integration/lab"
)

// Finish reads what Run left in dir once more, with tshark and the key files, adds
// its checks, prints the tables and writes report.json. It needs neither root nor
// a special kernel.
func Finish(ctx context.Context, dir string, out io.Writer) (*Report, error) {
	r, err := loadRecord(dir)
	if err != nil {
		return nil, err
	}
	f := &finish{dir: dir, rec: r, keys: lab.Keys{Dir: dir}}
	if len(r.Away) > 0 {
		fmt.Fprintln(out, "\nreading the captures with tshark and the key files")
		f.wireshark(ctx)
	}
	if len(r.Optimised) > 0 {
		if len(r.Away) == 0 {
			fmt.Fprintln(out, "\nreading the captures with tshark and the key files")
		}
		f.optimised(ctx)
	}
	r.movesTable(out)
	r.Report.table(out)
	fmt.Fprintf(out, "\ncaptures, logs and report.json are in %s; decrypted in Wireshark by\n  WIRESHARK_CONFIG_DIR=%s wireshark %s\n",
		dir, dir, filepath.Join(dir, "core-router0.pcapng"))
	return &r.Report, writeJSON(filepath.Join(dir, reportFile), r.Report)
}

// finish is the second part of a run.
type finish struct {
	dir  string
	rec  *Record
	keys lab.Keys
}

func (f *finish) check(name string, pass bool, format string, a ...any) {
	f.rec.Report.Checks = append(f.rec.Report.Checks, Check{Name: name, Pass: pass, Detail: fmt.Sprintf(format, a...)})
}

// tshark counts the packets of a capture that a filter lets through.
func (f *finish) tshark(ctx context.Context, keys lab.Keys, name, filter string) (int, error) {
	rows, err := lab.Tshark(ctx, keys, filepath.Join(f.dir, name+".pcapng"), filter)
	return len(rows), err
}

// whileAway is a filter for the times in which the node was away.
func (f *finish) whileAway() string {
	var all []string
	for _, w := range f.rec.Away {
		all = append(all, lab.During(w.From, w.To))
	}
	return "(" + strings.Join(all, " || ") + ")"
}

// wireshark checks the captures with eyes that are not ours: without keys nothing
// of the node is to be seen, with them all of it is there.
func (f *finish) wireshark(ctx context.Context) {
	away := f.whileAway()
	// In tshark's words: what of the home address is outside ESP. The home address
	// stands in an option or routing header before ESP, which is allowed.
	bare := fmt.Sprintf("((ipv6.addr == %s && !esp) || (mipv6 && !(mip6.mhtype == 7) && !esp)) && !(icmpv6.type >= 133 && icmpv6.type <= 137) && %s", f.rec.HoA, away)
	// An error to the second node may come seconds after its packet, and quotes it.
	p := lab.DefaultPlan()
	bare += fmt.Sprintf(" && !(icmpv6.type <= 4 && (ipv6.dst == %s || ipv6.dst == %s))", p.SLAACOf(lab.MN2, lab.Foreign1), p.SLAACOf(lab.MN2, lab.Foreign2))
	for _, name := range []string{"core-router0", "router-core0"} {
		n, err := f.tshark(ctx, lab.Keys{}, name, bare)
		f.check("tshark: nothing of the node outside ESP in "+name, err == nil && n == 0, "%d packets %s", n, orFine(err, ""))
	}
	name := "core-router0"
	for _, x := range []struct{ what, filter string }{
		{"binding updates inside ESP", "mip6.mhtype == 5 && esp"},
		{"binding acknowledgements inside ESP", "mip6.mhtype == 6 && esp"},
		{"echo requests of the home address inside ESP", fmt.Sprintf("icmpv6.type == 128 && esp && ipv6.addr == %s", f.rec.HoA)},
		{"decrypted IKE_AUTH messages", "isakmp.exchangetype == 35 && isakmp.enc.decrypted"},
	} {
		shut, err := f.tshark(ctx, lab.Keys{}, name, x.filter)
		open, kerr := f.tshark(ctx, f.keys, name, x.filter)
		f.check("tshark: "+x.what+", with the key files only", err == nil && kerr == nil && open > 0 && shut == 0,
			"%d packets with the key files, %d without %s%s", open, shut, orFine(err, ""), orFine(kerr, ""))
	}
	n, err := f.tshark(ctx, lab.Keys{}, name, "ipv6.fraghdr && esp")
	f.check("tshark: no ESP packet in fragments", err == nil && n == 0, "%d fragments %s", n, orFine(err, ""))
}

// optimised checks route optimization with the same eyes.
func (f *finish) optimised(ctx context.Context) {
	name := "core-router0"
	for _, x := range []struct{ what, filter string }{
		{"home test inits inside ESP", "mip6.mhtype == 1 && esp"},
		{"home tests inside ESP", "mip6.mhtype == 3 && esp"},
	} {
		shut, err := f.tshark(ctx, lab.Keys{}, name, x.filter)
		open, kerr := f.tshark(ctx, f.keys, name, x.filter)
		f.check("tshark: "+x.what+", with the key files only", err == nil && kerr == nil && open > 0 && shut == 0,
			"%d packets with the key files, %d without %s%s", open, shut, orFine(err, ""), orFine(kerr, ""))
	}
	for _, x := range []struct{ what, header string }{
		{"a home address option", "ipv6.opt.type == 201"}, {"a type 2 routing header", "ipv6.routing.type == 2"},
	} {
		good, err := f.tshark(ctx, lab.Keys{}, name, x.header+" && icmpv6.checksum.status == 1")
		bad, berr := f.tshark(ctx, lab.Keys{}, name, x.header+" && icmpv6.checksum.status == 0")
		f.check("tshark: checksums behind "+x.what, err == nil && berr == nil && good > 0 && bad == 0, "%d right, %d wrong %s%s", good, bad, orFine(err, ""), orFine(berr, ""))
	}
}
