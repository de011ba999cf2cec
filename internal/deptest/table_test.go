package deptest

// room is one package of the module: what it may import of the others and of
// other modules (the standard library is free, but for pure rooms), and why no more.
type room struct {
	imports []string // rooms, by path within the module
	modules []string // prefixes of packages of other modules
	pure    bool     // above the purity line: see pure_test.go
	why     string   // printed with a violation
}

const (
	whyVocabulary = "a vocabulary says what things are; whoever knows them must not be known by it"
	whyCodec      = "a codec turns octets into values and back; timers, policy and sockets are elsewhere"
	whyRole       = "role machines know neither each other nor ike; internal/couple translates between them"
	whyIKE        = "ike negotiates keys and knows neither who owns a policy nor where packets go"
	whyActs       = "a room that acts on the host does what it is told; what to do is decided above"
	whyOuter      = "configuration, telemetry and the ledger serve the daemon; they hold no decisions"
)

const (
	sys     = "golang.org/x/sys/unix"
	netlink = "github.com/vishvananda/netlink"
	netns   = "github.com/vishvananda/netns"
)

// arithmetic is what a pure room may import of other modules: it computes and does no more.
var arithmetic = []string{"filippo.io/bigmod", "golang.org/x/crypto/chacha20poly1305"}

// rooms is the house (docs/architecture.md has the picture). A package that is not
// here fails the test: decide first what it may know. Rooms whose time has not come
// stand here already.
var rooms = map[string]room{
	"mobility":         {pure: true, why: whyCodec},
	"mobility/binding": {imports: []string{"mobility"}, pure: true, why: "tables of bindings know no machine and no wire"},
	"mobility/rr":      {imports: []string{"mobility"}, pure: true, why: "return routability computes tokens; it has no clock and sends nothing"},
	"mobility/protect": {imports: []string{"mobility", "mobility/binding", "xfrm"}, pure: true,
		why: "it says which policies and states should be; it knows neither sockets nor IKE"},

	"mn":          {imports: []string{"mobility", "mobility/binding", "mobility/rr", "mobility/protect", "xfrm", "internal/host"}, pure: true, why: whyRole},
	"mn/optimise": {imports: []string{"mobility", "mobility/binding", "mobility/rr", "mobility/protect", "xfrm", "internal/host"}, pure: true, why: whyRole},
	"ha":          {imports: []string{"mobility", "mobility/binding", "mobility/protect", "xfrm", "internal/host"}, pure: true, why: whyRole},
	"cn":          {imports: []string{"mobility", "mobility/binding", "mobility/rr", "mobility/protect", "xfrm", "internal/host"}, pure: true, why: whyRole},

	"ike/message":   {pure: true, why: whyCodec},
	"ike/transform": {imports: []string{"ike/message"}, modules: arithmetic, pure: true, why: "transforms compute; they know no exchange"},
	"ike/pki":       {imports: []string{"ike/message", "ike/transform"}, pure: true, why: "who holds the private key stays apart from who reads packets"},
	"ike":           {imports: []string{"ike/message", "ike/transform", "ike/pki"}, pure: true, why: whyIKE},

	"xfrm":          {pure: true, why: whyVocabulary},
	"internal/host": {pure: true, why: whyVocabulary},

	"internal/couple": {imports: []string{"mn", "mn/optimise", "ha", "cn", "ike", "ike/message", "ike/transform", "ike/pki", "mobility", "mobility/protect",
		"xfrm", "internal/host"}, pure: true, why: "it turns actions of one machine into events of another, for the daemon and the simulator alike"},

	"xfrm/kernel":    {imports: []string{"xfrm", "internal/netns"}, modules: []string{netlink + "/nl", netns, sys}, why: whyActs},
	"xfrm/esp":       {imports: []string{"xfrm"}, pure: true, why: "ESP is arithmetic on packets"},
	"xfrm/userspace": {imports: []string{"xfrm", "xfrm/esp", "mobility"}, modules: []string{sys}, why: whyActs},
	"xfrm/xfrmtest":  {imports: []string{"xfrm"}, why: "one suite and a fake for all backends: it must not know any of them"},

	"internal/netns":      {modules: []string{sys}, why: "where a socket is made; nothing else"},
	"internal/sockbypass": {modules: []string{sys}, why: "one socket option; nothing else"},
	"internal/host/linux": {imports: []string{"internal/host", "internal/netns", "internal/sockbypass", "mobility"},
		modules: []string{netlink, netns, sys, "golang.org/x/net", "golang.org/x/sync/errgroup"}, why: whyActs},

	"internal/loop":      {why: "the loop runs any machine and so knows none"},
	"internal/pcap":      {why: "captures are files; what is in them is for the reader"},
	"internal/vectors":   {why: "it finds files for tests"},
	"internal/deptest":   {why: "it looks at the others from outside"},
	"internal/telemetry": {why: whyOuter},
	"internal/ledger":    {imports: []string{"xfrm", "internal/host"}, modules: []string{sys}, why: whyOuter},
	"internal/config": {imports: []string{"ike/message", "ike/transform", "ike/pki"},
		modules: []string{"github.com/BurntSushi/toml"}, why: whyOuter},
	"internal/control": {modules: []string{sys}, why: "the API is what others see: it must not drag the daemon's inside along"},
	"internal/doctor":  {imports: []string{"internal/control", "xfrm", "xfrm/kernel"}, modules: []string{sys}, why: "it tries what a host can do, and is asked without a daemon"},

	"internal/daemon": {imports: []string{"mn", "mn/optimise", "mobility/rr", "ha", "cn", "ike", "ike/message", "ike/transform", "ike/pki", "mobility", "mobility/protect", "xfrm",
		"xfrm/kernel", "xfrm/userspace", "internal/config", "internal/control", "internal/couple", "internal/doctor", "internal/host",
		"internal/host/linux", "internal/ledger", "internal/loop", "internal/telemetry"},
		modules: []string{sys, "golang.org/x/sync/errgroup"}, why: "the daemon owns and connects; decisions and protocol belong above, packets and captures elsewhere"},

	"cmd/mip6d":   {imports: []string{"internal/config", "internal/daemon", "internal/telemetry"}, why: "a command reads its call and hands over"},
	"cmd/mip6ctl": {imports: []string{"internal/control", "internal/doctor"}, why: "what mip6ctl wants to know it asks the daemon"},
}
