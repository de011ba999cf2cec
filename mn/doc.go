// Package mn is the mobile node's machine for one home address (RFC 6275 §11): it
// chooses the care-of address, has the binding protected, registers it, moves
// it, returns home and leaves again.
//
// The machine is pure: events in, an ordered list of actions out, time and
// randomness as arguments. It knows neither IKE nor the kernel; package
// internal/couple translates its KeyUp, KeyMoved and KeyDown for IKE.
//
// Actions of one machine are to be carried out in the order in which they come,
// whatever their kind. The machine asks for an answer (HostDone, XfrmDone) and
// waits for it only where a decision hangs on success; above all a Binding Update
// leaves only after the migration before it has completed.
//
// New(Config, xfrm.Caps, io.Reader) makes a Machine; Step, Tick and Deadline drive it; Info
// shows it, Want and WantHost are what should be installed, for reconciling.
package mn
