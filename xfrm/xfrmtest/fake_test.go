package xfrmtest

import (
	"context"
	"errors"
	"testing"

	"github.com/mip6/mip6/xfrm"
)

func TestFake(t *testing.T) {
	Run(t, func(t *testing.T) xfrm.Backend { return New() })
}

func TestFakeAcquireAnswered(t *testing.T) {
	f := New()
	out := TunnelPolicy(xfrm.Out, CareOf1, HomeAgent, 2)
	f.Apply(context.Background(), []xfrm.Op{xfrm.PutPolicy{Policy: out}})
	seq := f.Miss(out.ID(), 0, xfrm.Selector{})
	if seq == 0 || f.Miss(out.ID(), 0, xfrm.Selector{}) != 0 {
		t.Fatal("want one acquire for two packets")
	}
	s := ESP(CareOf1, HomeAgent, 0x2001, 2)
	s.Acquire = seq
	if err := f.Apply(context.Background(), []xfrm.Op{xfrm.PutSA{SA: s}})[0]; err != nil {
		t.Fatal(err)
	}
	if now := f.Snapshot(); len(now.SAs) != 1 || now.SAs[0].Larval {
		t.Fatalf("after the answer: %+v", now.SAs)
	}
}

func TestFakeRefuses(t *testing.T) {
	f, refused := New(), errors.New("no")
	f.Refuse = func(op xfrm.Op) error {
		if _, ok := op.(xfrm.PutSA); ok {
			return refused
		}
		return nil
	}
	errs := f.Apply(context.Background(), []xfrm.Op{xfrm.PutSA{}, xfrm.DelSA{}})
	if !errors.Is(errs[0], refused) || errs[1] != nil {
		t.Fatal(errs)
	}
}
