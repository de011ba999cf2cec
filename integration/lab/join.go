package lab

import (
	"context"
	"fmt"
	"slices"
)

// Join adds a second mobile node, MN2, on a link: a host as MN is, with a wire of its
// own to the links. A capture that runs holds its interface from now on.
func (l *Lab) Join(ctx context.Context, on Link) error {
	if slices.Contains(l.names, MN2) {
		return fmt.Errorf("lab: %s is there already", MN2)
	}
	if err := l.makeHost(MN2); err != nil {
		return err
	}
	if err := l.addWire(MN2, MNIface, Links, portOf(MN2), byte(len(wires))); err != nil {
		return err
	}
	if err := l.settleMN(MN2); err != nil {
		return err
	}
	if l.caps != nil {
		if err := l.caps.host(l.Host(MN2)); err != nil {
			return err
		}
	}
	_, _, err := l.MoveNode(ctx, MN2, on)
	return err
}
