package config

import (
	"encoding/hex"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mip6/mip6/ike/message"
)

// TestVolumes: limits of [ike] are those of a peer, unless it has its own.
func TestVolumes(t *testing.T) {
	for _, c := range []struct {
		ike, peer      string
		bytes, packets Volume
		reauth         time.Duration
		unique         Unique
	}{
		{"", "", Volume{}, Volume{}, 0, UniqueContact},
		{"child_rekey_bytes = \"10GiB\"", "", Volume{10 << 30, 11 << 30}, Volume{}, 0, UniqueContact},
		{"child_rekey_bytes = 4096\nchild_hard_bytes = 5000\nreauth = \"1h\"\nunique = \"never\"", "child_rekey_packets = 1000",
			Volume{4096, 5000}, Volume{1000, 1100}, time.Hour, UniqueNever},
		{"child_rekey_bytes = 4096\nreauth = \"1h\"", "child_rekey_bytes = 0\nreauth = \"0s\"\nunique = \"keep\"", Volume{}, Volume{}, 0, UniqueKeep},
		{"child_hard_packets = 1000", "", Volume{}, Volume{0, 1000}, 0, UniqueContact},
	} {
		text := strings.Replace(goodMN, "[mn]\n", "[ike]\n"+c.ike+"\n[mn]\n", 1)
		text = strings.Replace(text, "auth = \"psk\"\n", "auth = \"psk\"\n"+c.peer+"\n", 1)
		cfg, err := Parse("f", []byte(text))
		if err != nil {
			t.Errorf("%q %q: %v", c.ike, c.peer, err)
			continue
		}
		if p := cfg.Peers[0]; p.ChildBytes != c.bytes || p.ChildPackets != c.packets || p.Reauth != c.reauth || p.Unique != c.unique || p.RSAPadding != PaddingPSS {
			t.Errorf("%q %q: %+v", c.ike, c.peer, p)
		}
	}
}

// TestDistinguishedName: our own goes out as the certificate has it, whatever the case it is written in.
func TestDistinguishedName(t *testing.T) {
	dir := t.TempDir()
	makeCert(t, filepath.Join(dir, "a"), time.Now().Add(24*time.Hour))
	certs, err := readCerts(filepath.Join(dir, "a.crt"))
	if err != nil {
		t.Fatal(err)
	}
	subject := string(certs[0].RawSubject)
	file := func(id string) string {
		s := strings.Replace(goodMN, `local_id = "mn.example.org"`, `local_id = "`+id+`"`, 1)
		s = strings.Replace(s, `remote_id = "ha.example.org"`, `remote_id = "C=DE, O=Example Networks, CN=ha"`, 1)
		return strings.Replace(s, "auth = \"psk\"\n", "auth = \"cert\"\ncertificate = \""+dir+"/a.crt\"\nprivate_key = \""+dir+"/a.key\"\nca = [\""+dir+"/a.crt\"]\n", 1)
	}
	for _, id := range []string{"CN=somebody", "cn = SomeBody", "dn:" + hex.EncodeToString([]byte(subject))} {
		c, err := Parse("f", []byte(file(id)))
		if err != nil || c.Peers[0].LocalID.Data != subject || c.Peers[0].RemoteID[0].Type != message.IDDERDN {
			t.Errorf("%q: %v", id, err)
		}
	}
	if _, err := Parse("f", []byte(file("CN=nobody"))); err == nil || !strings.Contains(err.Error(), `"CN=somebody"`) {
		t.Error(err)
	}
}
