package daemon

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"

	"github.com/mip6/mip6/cn"
	"github.com/mip6/mip6/ha"
	"github.com/mip6/mip6/internal/control"
	"github.com/mip6/mip6/internal/couple"
	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/internal/ledger"
	"github.com/mip6/mip6/mn"
	"github.com/mip6/mip6/mn/optimise"
	"github.com/mip6/mip6/xfrm"
)

// journal lets several executors write to the ledger, which belongs to one
// goroutine at a time, and knows what an earlier run left there.
type journal struct {
	log *slog.Logger
	mu  sync.Mutex
	l   *ledger.Ledger
	old map[string]ledger.Record // of an earlier run, not put again since
	// order of old: later records rest on earlier ones.
	order     []string
	recovered int
	err       error // of the last write
}

// openJournal takes the state directory. What it finds from before a reboot is
// of no use but for the bindings.
func openJournal(dir string, log *slog.Logger) (*journal, ledger.Recovered, error) {
	l, rec, err := ledger.Open(dir)
	if err != nil {
		return nil, rec, err
	}
	j := &journal{log: log, l: l, old: make(map[string]ledger.Record), recovered: len(rec.Records)}
	var gone []ledger.Change
	for _, r := range rec.Records {
		switch r.Kind {
		case ledger.KindSA, ledger.KindPolicy, ledger.KindHost, ledger.KindSysctl, ledger.KindSPD:
			if rec.Rebooted {
				gone = append(gone, ledger.Change{Kind: r.Kind, Key: r.Key, Del: true})
				continue
			}
			k := oldKey(r.Kind, r.Key)
			j.old[k] = r
			j.order = append(j.order, k)
		}
	}
	if err := l.Batch(gone); err != nil {
		l.Close()
		return nil, rec, err
	}
	return j, rec, nil
}

func oldKey(k ledger.Kind, key string) string { return fmt.Sprintf("%d %s", k, key) }

// write puts changes in before they are carried out.
func (j *journal) write(changes []ledger.Change) error {
	if len(changes) == 0 {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, c := range changes {
		delete(j.old, oldKey(c.Kind, c.Key)) // it is ours again
	}
	j.err = j.l.Batch(changes)
	return j.err
}

func (j *journal) saveMN(r mn.Record) error {
	return j.save(ledger.KindNode, r.Home, r)
}

func (j *journal) saveHA(r ha.Record) error {
	return j.save(ledger.KindBinding, r.Home, r)
}

func (j *journal) saveRoute(r optimise.Record) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return j.write([]ledger.Change{{Kind: ledger.KindRoute, Key: routeKey(r.Home, r.Remote), Value: b}})
}

func (j *journal) saveCN(r cn.Record) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return j.write([]ledger.Change{{Kind: ledger.KindPeer, Key: routeKey(r.Local, r.Home), Value: b}})
}

func (j *journal) forgetCN(local, home netip.Addr) error {
	return j.write([]ledger.Change{{Kind: ledger.KindPeer, Key: routeKey(local, home), Del: true}})
}

func (j *journal) forgetRoute(home, remote netip.Addr) error {
	return j.write([]ledger.Change{{Kind: ledger.KindRoute, Key: routeKey(home, remote), Del: true}})
}

func routeKey(home, remote netip.Addr) string { return home.String() + " " + remote.String() }

func (j *journal) save(k ledger.Kind, home netip.Addr, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return j.write([]ledger.Change{{Kind: k, Key: home.String(), Value: b}})
}

func (j *journal) forget(home netip.Addr, agent bool) error {
	k := ledger.KindNode
	if agent {
		k = ledger.KindBinding
	}
	return j.write([]ledger.Change{{Kind: k, Key: home.String(), Del: true}})
}

// leftPolicies and leftStates are the objects of an earlier run that nobody has
// put again; leftHost the operations that undo the others, the last put first.
func (j *journal) left() (policies []xfrm.PolicyID, states []xfrm.ID, undo []host.Op) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, k := range slices.Backward(j.order) {
		r, ok := j.old[k]
		if !ok {
			continue
		}
		switch r.Kind {
		case ledger.KindPolicy:
			if id, err := r.Policy(); err == nil {
				policies = append(policies, id)
			}
		case ledger.KindSA:
			if s, err := r.State(); err == nil {
				states = append(states, s.ID)
			}
		case ledger.KindHost:
			if op, err := r.Undo(); err == nil {
				undo = append(undo, op)
			}
		}
	}
	return policies, states, undo
}

// all is what stands in the ledger now, to be undone at the end.
func (j *journal) all() ([]ledger.Record, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.l.Records()
}

// records decodes what the roles had saved.
func records(rec ledger.Recovered) (begin couple.Start, err error) {
	for _, r := range rec.Records {
		switch r.Kind {
		case ledger.KindNode:
			var v mn.Record
			if err := json.Unmarshal(r.Value, &v); err != nil {
				return begin, fmt.Errorf("ledger: node %s: %w", r.Key, err)
			}
			begin.MN = append(begin.MN, v)
		case ledger.KindBinding:
			var v ha.Record
			if err := json.Unmarshal(r.Value, &v); err != nil {
				return begin, fmt.Errorf("ledger: binding %s: %w", r.Key, err)
			}
			begin.HA = append(begin.HA, v)
		case ledger.KindRoute:
			var v optimise.Record
			if err := json.Unmarshal(r.Value, &v); err != nil {
				return begin, fmt.Errorf("ledger: correspondent %s: %w", r.Key, err)
			}
			begin.Optimise = append(begin.Optimise, v)
		case ledger.KindPeer:
			var v cn.Record
			if err := json.Unmarshal(r.Value, &v); err != nil {
				return begin, fmt.Errorf("ledger: node %s: %w", r.Key, err)
			}
			begin.CN = append(begin.CN, v)
		}
	}
	return begin, nil
}

// close ends the journal. After an orderly end hardly anything is left to know.
func (j *journal) close(clean bool) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if clean {
		return j.l.Clean(ledger.KindPeer) // an old update by a static key must not count as new
	}
	return j.l.Close()
}

// info is what status tells of the ledger.
func (j *journal) info() *control.LedgerInfo {
	j.mu.Lock()
	defer j.mu.Unlock()
	i := &control.LedgerInfo{Dir: j.l.Dir(), Records: j.l.Len(), Bytes: j.l.Size(), Recovered: j.recovered}
	if err := errors.Join(j.err, j.l.CompactErr()); err != nil {
		i.Error = err.Error()
	}
	return i
}

// has tells whether an object stands in the ledger: whether it is ours.
func (j *journal) has(k ledger.Kind, key string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.l.Has(k, key)
}
