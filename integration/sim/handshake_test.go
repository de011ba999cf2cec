package sim

import (
	"fmt"
	"testing"
	"time"
)

// TestAgentCrashInHandshake: whichever message of the first handshake the agent's program dies
// at, the node has begun anew some seconds after the agent is back.
func TestAgentCrashInHandshake(t *testing.T) {
	const down = 300 * time.Millisecond
	for at := 1; at <= 6; at++ { // IKE_SA_INIT, IKE_AUTH, CREATE_CHILD_SA, each with its answer
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			w := New(Options{Seed: uint64(at), Nodes: 1})
			w.Log = trace(t)
			w.Start()
			n, agent := 0, w.Agent()
			w.Drop = func(p Packet) bool {
				if p.Kind != IKE {
					return false
				}
				if n++; n == at {
					w.After(w.Delay-time.Microsecond, agent.Crash) // a request is not answered, an answer still arrives
					w.After(down, agent.Start)
				}
				return false
			}
			h := w.Node(0)
			w.Attach(h, wlan, w.Links[1])
			took := registered(t, w, h, 12*time.Second)
			if at <= 3 && took < down {
				t.Errorf("registered after %v: the crash was not where it should be", took)
			}
			w.Run(4 * time.Minute)
			settled(t, w)
		})
	}
}
