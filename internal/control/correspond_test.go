package control

import (
	"context"
	"errors"
	"reflect"
	"testing"
)

// routes knows of route optimization.
type routes struct{ answers }

func (routes) RO(_ context.Context, p Page) (Routes, error) {
	if p.After == "" {
		return Routes{Routes: []Route{{State: "optimised", LastStatus: -1}}, Next: "1"}, nil
	}
	return Routes{Routes: []Route{{State: "refused", Why: "it knows no Mobile IPv6"}}}, nil
}

func TestRO(t *testing.T) {
	_, path := start(t, routes{})
	ctx := context.Background()
	first, err := Call[Routes](ctx, path, Request{Cmd: CmdRO})
	if err != nil || first.Next != "1" || first.Routes[0].LastStatus != -1 {
		t.Errorf("%v: %+v", err, first)
	}
	rest, err := Call[Routes](ctx, path, Request{Cmd: CmdRO, Page: Page{After: first.Next}})
	if want := (Routes{Routes: []Route{{State: "refused", Why: "it knows no Mobile IPv6"}}}); err != nil || !reflect.DeepEqual(rest, want) {
		t.Errorf("%v: %+v", err, rest)
	}
	_, path = start(t, answers{})
	var re RemoteError
	if _, err := Call[Routes](ctx, path, Request{Cmd: CmdRO}); !errors.As(err, &re) || err.Error() != `unknown command "ro"` {
		t.Errorf("a daemon that knows nothing of it: %v", err)
	}
}

func TestROCounts(t *testing.T) {
	var c ROCounts
	for _, s := range []string{"counting", "testing", "binding", "optimised", "tunnelled", "unbinding", "refused", "refused"} {
		c.Add(s)
	}
	if want := (ROCounts{Optimised: 1, UnderWay: 3, Tunnelled: 2, Refused: 2}); c != want || c.Total() != 8 {
		t.Errorf("%+v", c)
	}
}
