package couple

// Stats are the sizes of what a Node keeps. None may grow while the number of
// nodes and of their keys stays.
type Stats struct {
	Homes     int
	IKESAs    int // that stand or come about
	Initiates int // under way
	Asks      int // authorisations that a role is thinking about
	Asking    int // children asked for
	Installed int // pairs of child SAs in the databases
	Dying     int // SAs that have a while to go
	Stale     int // SAs of an earlier run
	Echoes    int // migrations whose notification is awaited
}

// Stats counts.
func (n *Node) Stats() Stats {
	s := Stats{Homes: len(n.order), IKESAs: len(n.sas), Initiates: len(n.reqs), Asks: len(n.asks)}
	for _, e := range n.echoes {
		if !n.now.After(e.till) { // others go with the next migration
			s.Echoes++
		}
	}
	for _, h := range n.order {
		s.Asking += len(h.asking)
		s.Installed += len(h.installed)
		s.Dying += len(h.dying)
		s.Stale += len(h.stale)
	}
	return s
}
