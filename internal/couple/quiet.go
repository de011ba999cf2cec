package couple

import "time"

// refusalNotes is how many peers a second that were turned away are told of. Whoever can reach
// us can cause such notes, as many as it likes.
const refusalNotes = 10

// quiet counts the notes about peers that were turned away.
type quiet struct {
	second time.Time // when the count began
	shown  int
	hidden int
}

// turnedAway tells of a peer that was turned away, unless there were many in this second.
func (n *Node) turnedAway(note Note, out []Action) []Action {
	q := &n.quiet
	if d := n.now.Sub(q.second); d >= time.Second || d < 0 {
		out = n.tellHidden(out)
		q.second, q.shown = n.now, 0
	}
	if q.shown == refusalNotes {
		q.hidden++
		return out
	}
	q.shown++
	return append(out, note)
}

// hiddenAt is when those that were not told of are counted out; zero: there are none.
func (q *quiet) hiddenAt() time.Time {
	if q.hidden == 0 {
		return time.Time{}
	}
	return q.second.Add(time.Second)
}

func (n *Node) tellHidden(out []Action) []Action {
	count := n.quiet.hidden
	if n.quiet.hidden = 0; count == 0 {
		return out
	}
	return append(out, note(Warn, "more peers were refused than are told of one by one", "count", count))
}
