package daemon

import (
	"context"
	"errors"
	"net"

	"golang.org/x/sync/errgroup"

	"github.com/mip6/mip6/ike"
	"github.com/mip6/mip6/internal/couple"
	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/internal/host/linux"
	"github.com/mip6/mip6/internal/loop"
	"github.com/mip6/mip6/xfrm"
)

// maxDatagram is the longest UDP payload; IKE messages are shorter by far.
const maxDatagram = 65535

// readIKE feeds the IKE machine until the sockets are closed.
func (d *daemon) readIKE(ctx context.Context) error {
	context.AfterFunc(ctx, func() { d.udp.Close() })
	var g errgroup.Group
	for _, s := range d.udp.Sockets() {
		g.Go(func() error {
			err := d.readSocket(s)
			if err != nil {
				d.udp.Close() // or the others would be waited for
			}
			return err
		})
	}
	return g.Wait()
}

func (d *daemon) readSocket(s *linux.IKESocket) error {
	buf := make([]byte, maxDatagram)
	for {
		n, local, remote, _, err := s.Read(buf)
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return nil
			}
			return err
		}
		// The queue keeps it; the next message gets the buffer.
		data := append([]byte(nil), buf[:n]...)
		d.loop.Offer(loop.IKE, couple.FromIKE{Event: ike.Datagram{Local: local, Remote: remote, Data: data}})
	}
}

// onXfrm takes what the databases tell. What strangers' packets can cause is bounded.
func (d *daemon) onXfrm(ev xfrm.Event) {
	switch e := ev.(type) {
	case xfrm.Acquire, xfrm.Report, xfrm.Mapping:
		d.loop.Offer(loop.Others, couple.FromXfrm{Event: ev})
	case xfrm.Lost:
		d.log.Warn("events of the IPsec databases were lost; comparing", "error", e.Err)
		d.aside.do(reconcileKey, d.reconcile) // one at a time
	default:
		d.loop.Post(couple.FromXfrm{Event: ev})
	}
}

// onHost takes what the host tells. A Mobility Header comes from the network.
func (d *daemon) onHost(ev host.Event) {
	switch ev.(type) {
	case host.MHReceived, host.ICMPError:
		d.loop.Offer(loop.MobilityHeaders, couple.FromHost{Event: ev})
	case host.RouterSeen:
		d.loop.Offer(loop.Others, couple.FromHost{Event: ev})
	default:
		d.loop.Post(couple.FromHost{Event: ev})
	}
}
