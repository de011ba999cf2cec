package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/mip6/mip6/ha"
	"github.com/mip6/mip6/ike"
	"github.com/mip6/mip6/internal/control"
	"github.com/mip6/mip6/internal/couple"
	"github.com/mip6/mip6/mn"
)

// keepMoves and keepRefusals bound what is remembered.
const (
	keepMoves    = 64
	keepRefusals = 32
)

// history remembers the last moves and refusals.
type history struct {
	mu       sync.Mutex
	moves    []control.Move
	refusals []control.Refusal
	ikeSent  uint64
	// ikeAtMove is ikeSent when the present move began.
	ikeAtMove  uint64
	migrations int
	lastMove   mn.MoveTimes
}

func (h *history) sentIKE() {
	h.mu.Lock()
	h.ikeSent++
	h.mu.Unlock()
}

// note logs what the machines say, and remembers what status and watch tell.
func (d *daemon) note(n couple.Note) {
	d.log.Log(context.Background(), slog.Level(n.Level), n.Msg, n.Attrs...)
	kind := d.history.take(n)
	if !d.control.Watched() {
		return
	}
	d.control.Publish(control.Notice{Time: time.Now(), Kind: kind, Text: n.Msg, Home: attr(n.Attrs, "home"), Fields: fields(n.Attrs)})
}

// take files an event and says of what kind it is.
func (h *history) take(n couple.Note) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch e := n.Event.(type) {
	case mn.Changed:
		if e.What == "home" || e.What == "registered" {
			h.nodeMoved(e)
		}
		return "registration"
	case ha.Changed:
		h.bindingChanged(e)
		return "registration"
	case couple.Migration:
		h.migrations++
		if !e.Ours {
			h.addMove(control.Move{Role: "other", Kind: "consumed", Start: time.Now(), Migrations: 1,
				KMAddress: e.Migration.Endpoints != nil, Detail: e.Migration.Policy.Sel.String()})
		}
		return "migrate"
	case ike.Refused:
		h.refuse(e.Peer.String()+" at "+e.Remote.String(), e.Reason)
		return "ike"
	case ike.ChildRefused:
		h.refuse(e.Peer.String(), e.Name+": "+e.Reason)
		return "child"
	case ike.SAUp, ike.SADown:
		return "ike"
	case ike.ChildUp, ike.ChildDown, ike.ChildRekeyed:
		return "child"
	}
	return "log"
}

func (h *history) refuse(who, reason string) {
	h.refusals = append(h.refusals, control.Refusal{Time: time.Now(), Who: who, Reason: reason})
	if len(h.refusals) > keepRefusals {
		h.refusals = slices.Delete(h.refusals, 0, 1)
	}
}

func (h *history) addMove(m control.Move) {
	h.moves = append(h.moves, m)
	if len(h.moves) > keepMoves {
		h.moves = slices.Delete(h.moves, 0, 1)
	}
}

// nodeMoved files a finished change of attachment of a mobile node; the same one
// told again (more of its times are known) takes the place of the first.
func (h *history) nodeMoved(e mn.Changed) {
	t := e.Info.LastMove
	if t.AckAt.IsZero() || t.AckAt.Equal(h.lastMove.AckAt) {
		return
	}
	// What happened before the last move was acknowledged (the advertisement of a link
	// that was not left) is no part of this one.
	for _, x := range []*time.Time{&t.LinkUp, &t.RouterAt, &t.CareOfAt} {
		if x.Before(h.lastMove.AckAt) {
			*x = time.Time{}
		}
	}
	var start time.Time
	for _, x := range []time.Time{t.LinkUp, t.RouterAt, t.CareOfAt, t.Migrated, t.UpdateAt} {
		if !x.IsZero() && (start.IsZero() || x.Before(start)) {
			start = x
		}
	}
	since := func(x time.Time) control.Duration {
		if x.IsZero() {
			return 0
		}
		return control.Duration(x.Sub(start))
	}
	m := control.Move{Role: "mn", Home: e.Home, From: t.From, To: t.To, Start: start, Kind: "foreign",
		LinkUp: since(t.LinkUp), RA: since(t.RouterAt), CareOf: since(t.CareOfAt), Migrated: since(t.Migrated),
		BUSent: since(t.UpdateAt), BAReceived: since(t.AckAt), Done: since(t.AckAt), Status: e.Info.Status,
		KMAddress: true, Migrations: h.migrations, IKE: int(h.ikeSent - h.ikeAtMove)}
	switch {
	case !t.From.IsValid():
		m.Kind = "first"
	case t.To == e.Home:
		m.Kind = "home"
	case t.From == e.Home:
		m.Kind = "away"
	}
	h.addMove(m)
	h.lastMove, h.ikeAtMove, h.migrations = t, h.ikeSent, 0
}

// bindingChanged files what happened to a binding at the home agent.
func (h *history) bindingChanged(e ha.Changed) {
	kind := ""
	switch e.What {
	case ha.Registered:
		kind = "first"
	case ha.Moved:
		kind = "foreign"
	case ha.Deregistered:
		kind = "home"
	case ha.Refused:
		h.refuse(e.Home.String(), fmt.Sprintf("binding update: status %d, %v", e.Status, e.Status))
		return
	default:
		return
	}
	h.addMove(control.Move{Role: "ha", Home: e.Home, From: e.Old, To: e.CareOf, Kind: kind, Start: e.At,
		Status: int(e.Status), KMAddress: true, Migrations: h.migrations, IKE: int(h.ikeSent - h.ikeAtMove)})
	h.ikeAtMove, h.migrations = h.ikeSent, 0
}

func attr(attrs []any, key string) string {
	for i := 0; i+1 < len(attrs); i++ {
		if k, ok := attrs[i].(string); ok && k == key {
			return fmt.Sprint(attrs[i+1])
		}
	}
	return ""
}

func fields(attrs []any) map[string]string {
	out := make(map[string]string)
	for i := 0; i < len(attrs); i++ {
		switch k := attrs[i].(type) {
		case slog.Attr:
			out[k.Key] = k.Value.String()
		case string:
			if i++; i < len(attrs) {
				out[k] = fmt.Sprint(attrs[i])
			}
		}
	}
	return out
}
