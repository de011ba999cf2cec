package control

import (
	"net/netip"
	"time"
)

// Status answers "status".
type Status struct {
	Version       string         `json:"version"`
	Started       time.Time      `json:"started"`
	Uptime        Duration       `json:"uptime"`
	PID           int            `json:"pid"`
	ConfigFile    string         `json:"config_file"`
	Roles         []string       `json:"roles"` // "mn", "ha", "cn"
	DataPlane     DataPlane      `json:"dataplane"`
	Host          HostInfo       `json:"host"`
	Listening     []string       `json:"listening"` // "[2001:db8::1]:500"
	Conns         []Conn         `json:"connections"`
	IKE           []IKESA        `json:"ike_sas"`
	IKETotal      int            `json:"ike_sas_total"` // IKE holds the first of them only
	HalfOpen      int            `json:"half_open"`
	Nodes         []Node         `json:"nodes,omitempty"`         // the mobile nodes on this host
	Agent         *Agent         `json:"agent,omitempty"`         // where this host is a home agent
	Correspondent *Correspondent `json:"correspondent,omitempty"` // where it is a correspondent node
	Moves         []Move         `json:"moves,omitempty"`         // the last ones, newest last
	Counters      []Counter      `json:"counters,omitempty"`
	XfrmStat      []XfrmCounter  `json:"xfrm_stat,omitempty"` // those above zero
	Ledger        *LedgerInfo    `json:"ledger,omitempty"`
	Warnings      []string       `json:"warnings,omitempty"`
}

// DataPlane says where IPsec is done and why there.
type DataPlane struct {
	Name     string   `json:"name"` // "kernel" or "userspace"
	Why      string   `json:"why"`
	Missing  []string `json:"missing,omitempty"`
	States   int      `json:"states"`
	Policies int      `json:"policies"`
}

// HostInfo is what the daemon runs on.
type HostInfo struct {
	Name       string `json:"name"`
	Kernel     string `json:"kernel"`
	GoVersion  string `json:"go_version"`
	MemoryKiB  int64  `json:"memory_kib,omitempty"` // resident
	Goroutines int    `json:"goroutines,omitempty"`
}

// Conn is a configured connection.
type Conn struct {
	Name      string   `json:"name"`
	LocalID   string   `json:"local_id"`
	RemoteIDs []string `json:"remote_ids"` // "*" for a template
	LocalAuth string   `json:"local_auth"` // "psk" or "cert"
	PeerAuth  string   `json:"peer_auth"`
	CAs       []string `json:"cas,omitempty"` // subjects
	IKE       []string `json:"ike_proposals"`
	ESP       []string `json:"esp_proposals"`
	AH        []string `json:"ah_proposals,omitempty"`
	Children  []string `json:"children,omitempty"` // "mh: 2001:db8::10/128[135] === 2001:db8::1/128[135]"
}

// IKESA is an IKE security association and its children.
type IKESA struct {
	Conn        string         `json:"connection"`
	State       string         `json:"state"` // "established", "connecting", ...
	Initiator   bool           `json:"initiator"`
	Local       netip.AddrPort `json:"local"`
	Remote      netip.AddrPort `json:"remote"`
	LocalID     string         `json:"local_id"`
	RemoteID    string         `json:"remote_id"`
	SPIi        Hex64          `json:"spi_i"`
	SPIr        Hex64          `json:"spi_r"`
	Proposal    string         `json:"proposal"`
	Established time.Time      `json:"established,omitzero"`
	RekeyAt     time.Time      `json:"rekey_at,omitzero"`
	ExpiresAt   time.Time      `json:"expires_at,omitzero"`
	Moves       int            `json:"moves"` // endpoints changed without a message
	Exchanges   int            `json:"exchanges,omitempty"`
	Home        netip.Addr     `json:"home,omitzero"`
	Children    []Child        `json:"children"`
}

// Child is a pair of child SAs.
type Child struct {
	Name      string    `json:"name"`  // "mh", "payload"
	State     string    `json:"state"` // "installed", "rekeying", "routed", ...
	Mode      string    `json:"mode"`  // "transport-proxy", "transport", "tunnel"
	Proto     string    `json:"proto"` // "esp" or "ah"
	ReqID     uint32    `json:"reqid"`
	SPIIn     Hex32     `json:"spi_in"`
	SPIOut    Hex32     `json:"spi_out"`
	Proposal  string    `json:"proposal"`
	Local     []string  `json:"local_ts"`
	Remote    []string  `json:"remote_ts"`
	LocalEnd  string    `json:"local_end,omitempty"` // outer addresses of a tunnel
	RemoteEnd string    `json:"remote_end,omitempty"`
	Installed time.Time `json:"installed,omitzero"`
	RekeyAt   time.Time `json:"rekey_at,omitzero"`
	ExpiresAt time.Time `json:"expires_at,omitzero"`
	In        Usage     `json:"in"`
	Out       Usage     `json:"out"`
}

// Usage counts what an SA carried.
type Usage struct {
	Bytes    uint64    `json:"bytes"`
	Packets  uint64    `json:"packets"`
	LastUsed time.Time `json:"last_used,omitzero"` // zero: never
	Replays  uint32    `json:"replays,omitempty"`  // dropped
	BadICV   uint32    `json:"bad_icv,omitempty"`  // dropped
}

// Node is a mobile node of this host.
type Node struct {
	Home        netip.Prefix `json:"home"`      // zero while the agent has given none
	HomeFrom    string       `json:"home_from"` // "configuration" or "agent"
	HomeAgent   netip.Addr   `json:"home_agent"`
	State       string       `json:"state"` // "registered", "registering", "at home", "no care-of address", ...
	Reason      string       `json:"reason,omitempty"`
	CareOf      netip.Addr   `json:"care_of,omitzero"`
	Interface   string       `json:"interface,omitempty"`
	Sequence    uint16       `json:"sequence"`
	Lifetime    Duration     `json:"lifetime"`
	Remaining   Duration     `json:"remaining"`
	RefreshAt   time.Time    `json:"refresh_at,omitzero"`
	Registered  time.Time    `json:"registered,omitzero"`
	LastStatus  int          `json:"last_status"` // of the last binding acknowledgement
	StatusText  string       `json:"status_text,omitempty"`
	KeyMobility bool         `json:"key_mobility"` // both sides set K
	DAD         string       `json:"dad"`
	Moves       int          `json:"moves"`
	RO          *ROCounts    `json:"route_optimization,omitempty"` // nil: without rules
}

// Agent is the home agent of this host.
type Agent struct {
	Address      netip.Addr `json:"address"`
	HomeLink     string     `json:"home_link"`
	Prefixes     []string   `json:"prefixes"`
	Bindings     int        `json:"bindings"`
	MaxBindings  int        `json:"max_bindings"`
	Authorised   int        `json:"authorised"` // nodes with keys, with or without a binding
	DAD          string     `json:"dad"`
	HomeFrom     string     `json:"home_address_from"`
	KeyMobility  bool       `json:"key_mobility"`
	LastRefusals []Refusal  `json:"last_refusals,omitempty"`
}

// Refusal tells of somebody who was turned away.
type Refusal struct {
	Time   time.Time `json:"time"`
	Who    string    `json:"who"`
	Reason string    `json:"reason"`
}

// SA is a state of the data plane.
type SA struct {
	Src    netip.Addr `json:"src"`
	Dst    netip.Addr `json:"dst"`
	Proto  string     `json:"proto"`
	SPI    Hex32      `json:"spi"`
	Mode   string     `json:"mode"`
	ReqID  uint32     `json:"reqid"`
	CareOf netip.Addr `json:"care_of,omitzero"`
	Alg    string     `json:"alg,omitempty"`
	Ours   bool       `json:"ours"`
	Larval bool       `json:"larval,omitempty"`
	Window uint32     `json:"replay_window,omitempty"`
	Seq    uint64     `json:"seq,omitempty"`
	OSeq   uint64     `json:"oseq,omitempty"`
	Usage  Usage      `json:"usage"`
}

// Policy is a policy of the data plane.
type Policy struct {
	Selector  string   `json:"selector"`
	Dir       string   `json:"dir"`
	Priority  uint32   `json:"priority"`
	Action    string   `json:"action"` // "allow" or "block"
	Templates []string `json:"templates,omitempty"`
	Ours      bool     `json:"ours"`
}

// Move is one change of the care-of address and where its time went. Durations
// count from Start; zero where the step did not occur.
type Move struct {
	Role       string     `json:"role"` // "mn" or "ha"; "other" for a MIGRATE of another process
	Home       netip.Addr `json:"home"`
	From       netip.Addr `json:"from,omitzero"`
	To         netip.Addr `json:"to,omitzero"`
	Kind       string     `json:"kind"` // "first", "foreign", "home", "away", "consumed"
	Start      time.Time  `json:"start"`
	LinkUp     Duration   `json:"link_up,omitempty"`
	RA         Duration   `json:"ra,omitempty"`
	CareOf     Duration   `json:"care_of_usable,omitempty"`
	Migrated   Duration   `json:"migrated,omitempty"`
	BUSent     Duration   `json:"bu_sent,omitempty"`
	BAReceived Duration   `json:"ba_received,omitempty"`
	Done       Duration   `json:"done,omitempty"`
	Status     int        `json:"status"`
	KMAddress  bool       `json:"kmaddress"`
	Migrations int        `json:"migrations"`   // MIGRATE operations done for it
	IKE        int        `json:"ike_messages"` // sent while it lasted
	Detail     string     `json:"detail,omitempty"`
}

// Counter is one counter of the daemon.
type Counter struct {
	Name  string `json:"name"`
	Value uint64 `json:"value"`
}

// XfrmCounter is a line of /proc/net/xfrm_stat with its meaning.
type XfrmCounter struct {
	Name    string `json:"name"`
	Value   uint64 `json:"value"`
	Delta   uint64 `json:"delta"` // since the daemon started
	Meaning string `json:"meaning,omitempty"`
}

// LedgerInfo tells of the ledger.
type LedgerInfo struct {
	Dir       string `json:"dir"`
	Records   int    `json:"records"`
	Bytes     int64  `json:"bytes"`
	Recovered int    `json:"recovered"` // records found at the start
	Error     string `json:"error,omitempty"`
}
