package interop

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// charon is strongSwan's IKE daemon in a network namespace.
type charon struct {
	t          testing.TB
	dir, netns string
}

const charonProgram = "/usr/lib/ipsec/charon"

// flavour is which charon, with what more in its configuration.
type flavour struct {
	program string
	load    string            // plugins beside the usual ones
	extra   string            // lines of its section
	files   map[string][]byte // in swanctl's folder
}

// debian is the one of Debian's packages.
var debian = flavour{program: charonProgram}

// startCharon starts Debian's with the connections of swanctl's configuration.
func startCharon(t testing.TB, netns, swanctl string) *charon {
	t.Helper()
	return debian.start(t, netns, swanctl)
}

// start starts one of a flavour.
func (f flavour) start(t testing.TB, netns, swanctl string) *charon {
	t.Helper()
	c := &charon{t: t, dir: t.TempDir(), netns: netns}
	for name, data := range f.files {
		path := filepath.Join(c.dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(c.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("swanctl.conf", swanctl)
	write("strongswan.conf", fmt.Sprintf(`charon {
  load = random nonce openssl aes gcm ctr cmac chapoly gmp sha1 sha2 hmac kdf pem kernel-netlink socket-default vici %s
  %s
  install_routes = no
  delete_rekeyed_delay = 0
  retransmit_timeout = 1.0
  plugins {
    kernel-netlink { roam_events = no }
    vici { socket = unix://%s }
  }
  filelog { log {
    path = %s
    default = 1
    ike = 2
    chd = 2
    cfg = 2
  } }
}
`, f.load, f.extra, c.socket(), filepath.Join(c.dir, "log")))
	cmd := exec.Command("ip", "netns", "exec", netns, f.program)
	cmd.Env = append(os.Environ(), "STRONGSWAN_CONF="+filepath.Join(c.dir, "strongswan.conf"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(c.dir, "log"))
			t.Logf("charon's log:\n%s", log[max(0, len(log)-20000):])
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for limit := time.Now().Add(20 * time.Second); ; {
		if out, err := c.run("--load-all", "--file", filepath.Join(c.dir, "swanctl.conf")); err == nil {
			return c
		} else if time.Now().After(limit) {
			t.Fatalf("charon does not start: %v %s", err, out)
		}
		<-time.After(100 * time.Millisecond)
	}
}

func (c *charon) socket() string { return filepath.Join(c.dir, "vici") }

func (c *charon) run(args ...string) (string, error) {
	cmd := exec.Command("swanctl", append(args, "--uri", "unix://"+c.socket())...)
	cmd.Env = append(os.Environ(), "SWANCTL_DIR="+c.dir, "STRONGSWAN_CONF="+filepath.Join(c.dir, "strongswan.conf"))
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// swanctl gives charon an order and wants it done.
func (c *charon) swanctl(args ...string) string {
	c.t.Helper()
	out, err := c.run(args...)
	if err != nil {
		c.t.Fatalf("swanctl %s: %v %s", strings.Join(args, " "), err, out)
	}
	return out
}

// eventually gives an order that charon may not be ready for yet: after a rekey
// of the IKE SA it computes keys before its children are there again.
func (c *charon) eventually(args ...string) {
	c.t.Helper()
	for limit := time.Now().Add(20 * time.Second); ; {
		out, err := c.run(args...)
		if err == nil {
			return
		}
		if time.Now().After(limit) {
			c.t.Fatalf("swanctl %s: %v %s", strings.Join(args, " "), err, out)
		}
		<-time.After(100 * time.Millisecond)
	}
}
