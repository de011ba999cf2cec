package cn

import (
	"strings"
	"testing"

	"github.com/mip6/mip6/internal/host"
	"github.com/mip6/mip6/mobility"
)

// bound is a node with a binding, unbound one that has its tokens only.
const (
	unbound = "start; auto; tests"
	bound   = unbound + "; bu from=coa1 seq=15"
)

// TestRefusals holds a requirement in each row: what is done before, the message, and
// what is sent; nothing where it says nothing. The routes may never change.
func TestRefusals(t *testing.T) {
	for _, c := range []struct{ id, before, message, want string }{
		{"CN-6.1.7-2 multicast", unbound, "bu from=coa1 alt=mc", ""},
		{"CN-6.1.7-2 loopback", unbound, "bu from=coa1 alt=lo", ""},
		{"CN-6.1.7-2 link-local", unbound, "bu from=coa1 alt=ll", ""},
		{"CN-6.1.7-2 unspecified", unbound, "bu from=coa1 alt=any", ""},
		{"CN-6.1.7-2 deletion", bound, "bu seq=16 life=0 alt=mc", ""},
		{"CN-8.2-2 home test", "start", "hoti src=hoax", ""},
		{"CN-9.4.1-1", "start", "hoti hao=coa1", ""},
		{"CN-9.4.2-1", "start", "coti hao=coa2", ""},
		{"6.1.3 multicast source", "start", "hoti src=mc", ""},
		{"6.1.3 link-local source", "start", "hoti src=ll", ""},
		{"6.1.4 unspecified source", "start", "coti src=any", ""},
		{"not our address", "start", "coti to=other", ""},
		{"our own address", "start", "coti src=cn", ""},
		{"CN-9.5.1-1 loopback", unbound, "bu home=lo from=coa1", ""},
		{"CN-9.5.1-1 multicast", unbound, "bu home=mc from=coa1", ""},
		{"CN-9.5.1-1 our own", unbound, "bu home=cn from=coa1", ""},
		{"CN-9.5.4-5 multicast source", unbound, "bu from=mc alt=coa1", ""},
		{"CN-9.5.1-3 same", bound, "bu from=coa1 seq=15", "cn>hoa by coa1 BA 135 seq=15 life=0 signed"},
		{"CN-9.5.1-3 below", bound, "bu from=coa1 seq=14", "cn>hoa by coa1 BA 135 seq=15 life=0 signed"},
		{"CN-9.5.1-3 far", bound, "bu from=coa1 seq=32783", "cn>hoa by coa1 BA 135 seq=15 life=0 signed"},
		{"CN-9.5.1-3 last", bound, "bu from=coa1 seq=65535", "cn>hoa by coa1 BA 135 seq=15 life=0 signed"},
		{"CN-9.5.1-3 deletion", bound, "bu seq=15 life=0", "cn>hoa BA 135 seq=15 life=0 signed"},
		{"CN-9.5.4-1 135 without A", bound, "bu from=coa1 seq=15 flags=", "cn>hoa by coa1 BA 135 seq=15 life=0 signed"},
		{"CN-9.5.1-9 135 is for its sender", bound, "bu from=coa1 seq=15 auth=bad", ""},
		{"CN-9.5.1-4 no indices", unbound, "bu from=coa1 nonces=none", ""},
		{"CN-9.5.1-4 no indices, deletion", bound, "bu from=coa1 seq=16 life=0 nonces=none", ""},
		{"CN-9.5.1-4 no authenticator", unbound, "bu from=coa1 auth=none", ""},
		{"CN-9.5.1-4 no authenticator, no nonces", unbound, "bu from=coa1 auth=none home+=1", ""},
		{"CN-9.5.1-9", unbound, "bu from=coa1 auth=bad", ""},
		{"CN-9.5.1-9 deletion", bound, "bu seq=16 life=0 auth=bad", ""},
		{"CN-9.5.1-6 home", unbound, "bu from=coa1 home+=1", "cn>hoa by coa1 BA 136 seq=1 life=0"},
		{"CN-9.5.1-6 care-of", unbound, "bu from=coa1 careof+=1", "cn>hoa by coa1 BA 137 seq=1 life=0"},
		{"CN-9.5.1-6 both", unbound, "bu from=coa1 home+=7 careof+=9", "cn>hoa by coa1 BA 138 seq=1 life=0"},
		{"CN-9.5.4-1 138 without A", unbound, "bu from=coa1 home+=1 careof+=1 flags=", "cn>hoa by coa1 BA 138 seq=1 life=0"},
		{"CN-9.5.1-10 home index", bound, "bu seq=16 life=0 home+=1", "cn>hoa BA 136 seq=16 life=0"},
		{"CN-9.5.1-10 both indices", bound, "bu seq=16 life=0 home+=1 careof+=1", "cn>hoa BA 136 seq=16 life=0"},
		{"CN-5.2.7-1", unbound + "; advance 240s", "bu from=coa1", "cn>hoa by coa1 BA 138 seq=1 life=0"},
		{"HA-10.3.1-2", unbound, "bu from=coa1 flags=AH nonces=none auth=none", "cn>hoa by coa1 BA 131 seq=1 life=0"},
		{"HA-10.3.1-2 from home", unbound, "bu life=0 flags=AH nonces=none auth=none", "cn>hoa BA 131 seq=1 life=0"},
		{"CN-9.5.1-7", bound, "bu seq=16 life=0 flags=AH nonces=none auth=none", "cn>hoa BA 139 seq=16 life=0"},
		{"CN-9.5.1-8", bound, "bu seq=16 life=0 flags=AH", ""},
		{"policy", "start; auto; tests; tests home=hoa2; deny home=hoa2", "bu home=hoa2 from=coa1", "cn>hoa2 by coa1 BA 129 seq=1 life=0 signed"},
		{"policy without A", "start; auto; tests; tests home=hoa2; deny home=hoa2", "bu home=hoa2 from=coa1 flags=", ""},
		{"CN-9.5.2-2", bound + "; tests home=hoa2", "bu home=hoa2 from=coa1 flags=", "cn>hoa2 by coa1 BA 130 seq=1 life=0 signed"},
	} {
		t.Run(c.id, func(t *testing.T) {
			cfg := testConfig()
			cfg.MaxBindings = 1
			r := newRig(t, cfg)
			r.run(c.before)
			r.out = nil
			before := r.m.Counters()
			r.run(c.message)
			var got []string
			for _, a := range r.out {
				switch a := a.(type) {
				case Host:
					got = append(got, sentText(a.Ops[0].(host.SendMH).MH))
				case Note:
				default:
					t.Errorf("%s", render(a))
				}
			}
			if strings.Join(got, "; ") != c.want {
				t.Errorf("sent %q, want %q", got, c.want)
			}
			if r.m.Counters() == before {
				t.Error("it is not counted")
			}
		})
	}
}

func (r *rig) run(commands string) {
	r.t.Helper()
	for _, c := range strings.Split(commands, ";") {
		if err := r.command(c); err != nil {
			r.t.Fatal(err)
		}
	}
}

// TestAcceptances holds what has to be taken in spite of something odd.
func TestAcceptances(t *testing.T) {
	for _, c := range []struct{ id, before, message, want string }{
		{"CN-6.1.7-1 K", unbound, "bu from=coa1 flags=AK", "cn>hoa by coa1 BA 0 seq=1 life=10 signed"},
		{"6.1.7 reserved", unbound, "bu from=coa1 flags=ALMRPF", "cn>hoa by coa1 BA 0 seq=1 life=10 signed"},
		{"CN-5.2.6-1", unbound, "bu from=coa1 life=65535", "cn>hoa by coa1 BA 0 seq=1 life=105 signed"},
		{"CN-9.5.2-1", unbound, "bu from=coa1 life=1", "cn>hoa by coa1 BA 0 seq=1 life=1 signed"},
		{"CN-9.5.1-2 any", unbound, "bu from=coa1 seq=65535", "cn>hoa by coa1 BA 0 seq=65535 life=10 signed"},
		{"CN-9.5.1-2 next", bound, "bu from=coa1 seq=16", "cn>hoa by coa1 BA 0 seq=16 life=10 signed"},
		{"CN-9.5.1-2 farthest", bound, "bu from=coa1 seq=32782", "cn>hoa by coa1 BA 0 seq=32782 life=10 signed"},
		{"CN-9.5.1-2 wrap", bound + "; bu from=coa1 seq=32782; bu from=coa1 seq=65535", "bu from=coa1 seq=3",
			"cn>hoa by coa1 BA 0 seq=3 life=10 signed"},
		{"CN-9.5.1-5", unbound + "; coti src=coa2", "bu from=coa1 alt=coa2", "cn>hoa by coa1 BA 0 seq=1 life=10 signed"},
		{"CN-9.5.1-5 the same", unbound, "bu from=coa1 alt=coa1", "cn>hoa by coa1 BA 0 seq=1 life=10 signed"},
		{"CN-9.5.1-10", bound + "; advance 35s; hoti", "bu seq=16 life=0 careof+=99", "cn>hoa BA 0 seq=16 life=0 signed"},
		{"CN-9.5.3-1", unbound, "bu seq=1 life=0", "cn>hoa BA 0 seq=1 life=0 signed"},
		{"CN-9.5.4-2", unbound, "bu from=coa1 flags=", ""},
		{"CN-9.5.4-2 deletion", bound, "bu seq=16 life=0 flags=", ""},
		{"CN-5.2.7-1 not yet", unbound + "; advance 239s", "bu from=coa1", "cn>hoa by coa1 BA 0 seq=1 life=10 signed"},
		{"9.1 each address has its own", bound + "; tests to=cn2", "bu to=cn2 from=coa1 seq=1", "cn2>hoa by coa1 BA 0 seq=1 life=10 signed"},
		{"CN-9.4.3-1", bound, "hoti", "cn>hoa HoT"},
		{"CN-9.4.4-1", bound, "coti", "cn>coa1 CoT"},
	} {
		t.Run(c.id, func(t *testing.T) {
			r := newRig(t, testConfig())
			r.run(c.before)
			r.out = nil
			r.run(c.message)
			var got []string
			for _, a := range r.out {
				if a, ok := a.(Host); ok {
					got = append(got, sentText(a.Ops[0].(host.SendMH).MH))
				}
			}
			if strings.Join(got, "; ") != c.want {
				t.Errorf("sent %q, want %q", got, c.want)
			}
		})
	}
}

// TestMisplaced: what follows the authorization data, if only padding, makes the update none (CN-9.5.1-4).
func TestMisplaced(t *testing.T) {
	r := newRig(t, testConfig())
	r.run(unbound)
	good := r.bu(words{"from": "coa1"})
	for _, tail := range [][]byte{{1, 6, 0, 0, 0, 0, 0, 0}, {0, 0, 0, 0, 0, 0, 0, 0}, {4, 4, 0, 1, 0, 1, 0, 0}} {
		bad := good
		bad.MH.Data = append(append([]byte(nil), good.MH.Data...), tail...)
		bad.MH.Data[1]++
		if acts := r.step(bad); len(acts) != 0 {
			t.Errorf("%x: %s", tail, render(acts[0]))
		}
	}
	if acts := r.step(good); len(acts) == 0 {
		t.Error("the message without it is refused too")
	}
}

// TestTokensOfOthers: a token is of one address (§5.2.5), and for its own half (CN-5.2.5-1).
func TestTokensOfOthers(t *testing.T) {
	for _, steal := range []struct{ to, from string }{
		{key("careof", cast["cn"], cast["coa2"]), key("careof", cast["cn"], cast["coa1"])},
		{key("careof", cast["cn"], cast["coa2"]), key("home", cast["cn"], cast["coa2"])},
		{key("home", cast["cn"], cast["hoa"]), key("home", cast["cn"], cast["hoa2"])},
		{key("home", cast["cn"], cast["hoa"]), key("careof", cast["cn"], cast["hoa"])},
	} {
		r := newRig(t, testConfig())
		r.run("start; tests; tests home=hoa2 from=coa2; hoti src=coa2; coti src=hoa")
		if r.tokens[steal.from] == (token{}) {
			t.Fatal(steal.from)
		}
		r.tokens[steal.to] = r.tokens[steal.from]
		for _, c := range []words{{"from": "coa2"}, {"from": "coa1", "alt": "coa2"}} {
			if acts := r.step(r.bu(c)); len(acts) != 0 {
				t.Errorf("%s for %s: %s", steal.from, steal.to, render(acts[0]))
			}
		}
	}
}

// TestOtherCorrespondent: an update is for one correspondent (§6.2.7), even if the tokens are good at both.
func TestOtherCorrespondent(t *testing.T) {
	r := newRig(t, testConfig())
	r.run("start; tests; tests to=cn2")
	ev := r.bu(words{"from": "coa1"})
	ev.MH.Dst = cast["cn2"]
	if acts := r.step(ev); len(acts) != 0 {
		t.Error(render(acts[0]))
	}
}

// TestCookie: the answers carry the cookie, an index and a token (CN-9.4.3-1, CN-9.4.4-1), and each
// machine has a key of its own (CN-5.2.1-1).
func TestCookie(t *testing.T) {
	r := newRig(t, testConfig())
	r.run("start")
	cookie := mobility.Cookie{1, 2, 3, 4, 5, 6, 7, 8}
	first := r.tokenOf(mobility.HomeTestInit{Cookie: cookie})
	if first.Cookie != cookie || first.Token == (mobility.Token{}) {
		t.Errorf("%+v", first)
	}
	if again := r.tokenOf(mobility.HomeTestInit{Cookie: cookie}); again != first {
		t.Errorf("within 30 s %+v, before %+v", again, first)
	}
	r.run("advance 30s")
	if later := r.tokenOf(mobility.HomeTestInit{Cookie: cookie}); later.NonceIndex == first.NonceIndex || later.Token == first.Token {
		t.Errorf("after 30 s %+v, before %+v (CN-5.2.2-1)", later, first)
	}
	r.run("crash")
	if other := r.tokenOf(mobility.HomeTestInit{Cookie: cookie}); other.Token == first.Token {
		t.Error("the same token after a restart")
	}
}

func (r *rig) tokenOf(body mobility.Body) mobility.HomeTest {
	acts := r.step(test(words{}, body, "hoa"))
	var msg mobility.Message
	if err := msg.Decode(acts[0].(Host).Ops[0].(host.SendMH).MH.Data); err != nil {
		r.t.Fatal(err)
	}
	return msg.Body.(mobility.HomeTest)
}
