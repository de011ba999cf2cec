// Package control is the API between mip6d and mip6ctl: JSON over a unix socket,
// one line a request, one line an answer; only "watch" answers with many.
//
// The package holds the types, a server that cannot hang the daemon, and a
// client. The daemon gives the content by implementing Handler.
package control

import (
	"context"
	"encoding/json"
	"time"
)

// DefaultSocket is where the daemon listens unless configured otherwise.
const DefaultSocket = "/run/mip6/control"

// The commands.
const (
	CmdStatus     = "status"
	CmdBindings   = "bindings"
	CmdRO         = "ro"
	CmdSAs        = "sas"
	CmdMigrations = "migrations"
	CmdDoctor     = "doctor"
	CmdWatch      = "watch"
	CmdRekey      = "rekey"
)

// Request is one line to the daemon.
type Request struct {
	Cmd   string `json:"cmd"`
	Page  Page   `json:"page,omitzero"`  // bindings, ro, sas
	Rekey *Rekey `json:"rekey,omitzero"` // rekey
}

// Page asks for a part of a long list: at most Limit entries behind the one that
// the last answer named in Next.
type Page struct {
	After string `json:"after,omitempty"`
	Limit int    `json:"limit,omitempty"` // 0: as many as the daemon sees fit
}

// Rekey names the child to rekey: by its inbound SPI, or by home address and name.
type Rekey struct {
	SPI  uint32 `json:"spi,omitempty"`
	Home string `json:"home,omitempty"`
	Name string `json:"name,omitempty"` // "mh" or "payload"; "ike" for the IKE SA itself
}

// Response is one line from the daemon. Error is empty where all went well.
type Response struct {
	Error string          `json:"error,omitempty"`
	Body  json.RawMessage `json:"body,omitempty"`
	End   bool            `json:"end,omitempty"` // last line of a watch
}

// Handler gives the content. Its functions are called by many goroutines at once
// and must return when ctx ends.
type Handler interface {
	Status(ctx context.Context) (Status, error)
	Bindings(ctx context.Context, p Page) (Bindings, error)
	SAs(ctx context.Context, p Page) (SAs, error)
	Migrations(ctx context.Context) (Migrations, error)
	Doctor(ctx context.Context) ([]Finding, error)
	Rekey(ctx context.Context, r Rekey) (RekeyResult, error)
}

// RouteHandler is a Handler that knows of route optimization.
type RouteHandler interface {
	Handler
	RO(ctx context.Context, p Page) (Routes, error)
}

// Bindings answers "bindings".
type Bindings struct {
	Bindings []Binding `json:"bindings"`
	Next     string    `json:"next,omitempty"` // Page.After of the next request; "": this was the last
}

// SAs answers "sas".
type SAs struct {
	SAs      []SA     `json:"sas"`
	Policies []Policy `json:"policies,omitempty"`
	Next     string   `json:"next,omitempty"`
}

// Migrations answers "migrations": the last moves, newest last.
type Migrations struct {
	Moves []Move `json:"moves"`
}

// RekeyResult answers "rekey".
type RekeyResult struct {
	Started bool   `json:"started"`
	Detail  string `json:"detail,omitempty"`
}

// Notice is one line of "watch".
type Notice struct {
	Time   time.Time         `json:"time"`
	Kind   string            `json:"kind"` // "registration", "move", "ro", "binding", "ike", "child", "migrate", "link", "log", "lost"
	Home   string            `json:"home,omitempty"`
	Text   string            `json:"text"`
	Fields map[string]string `json:"fields,omitempty"`
}

// Finding is one line of "doctor": a feature of the host that is wanted.
type Finding struct {
	Feature string `json:"feature"`
	OK      bool   `json:"ok"`
	Needed  bool   `json:"needed"` // without it the main job does not work; else it is good to have
	Detail  string `json:"detail,omitempty"`
	Remedy  string `json:"remedy,omitempty"` // what to do, in a sentence; empty with OK
}
