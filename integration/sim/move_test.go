package sim

import (
	"flag"
	"slices"
	"testing"
	"time"
)

var traced = flag.Bool("trace", false, "log every packet and every note")

func trace(t testing.TB) func(string) {
	if !*traced {
		return nil
	}
	return func(s string) { t.Log(s) }
}

func TestRegistration(t *testing.T) {
	w := bound(t, Options{Seed: 1})
	if w.Count.PlainMH != 0 {
		t.Errorf("%d Mobility Headers without ESP", w.Count.PlainMH)
	}
	if w.Count.InRefused+w.Count.OutRefused != 0 {
		t.Errorf("databases refused: %v", w.Count.RefusedWhy)
	}
}

// TestThereAndBack: a move needs no message of IKE, keeps the SPIs and migrates at both ends.
func TestThereAndBack(t *testing.T) {
	w := bound(t, Options{Seed: 2})
	h, agent := w.Node(0), w.Agent()
	spis, messages := h.SPIs(), w.Count.IKE
	for _, to := range []string{"b", "a", "b", "a"} {
		mine, theirs := h.Migrations, agent.Migrations
		w.Attach(h, wlan, link(w, to))
		registered(t, w, h, 5*time.Second)
		w.Run(4 * time.Second)
		settled(t, w)
		if w.Count.IKE != messages {
			t.Fatalf("to %s: %d messages of IKE", to, w.Count.IKE-messages)
		}
		if !slices.Equal(h.SPIs(), spis) || !slices.Equal(agent.SPIs(), spis) {
			t.Fatalf("to %s: SPIs %v and %v, were %v", to, h.SPIs(), agent.SPIs(), spis)
		}
		if h.Migrations == mine || agent.Migrations == theirs {
			t.Fatalf("to %s: %d and %d migrations", to, h.Migrations-mine, agent.Migrations-theirs)
		}
	}
}
