// Package story plays the main job of mip6 on a real kernel and checks it from
// outside: a mobile node registers with its home agent, moves between networks,
// comes home and leaves again, its daemons are killed and started anew, strangers
// are turned away. It runs in whatever kernel it is started in (root is needed); the
// commands demo and bench bring it into one that has Mobile IPv6.
//
// Every check has a name and takes its evidence from packet captures and dumps of
// the kernel's tables; the daemons' own words (mip6ctl) serve to wait for events, and
// are checked only where the words themselves are what was promised.
//
// A run has two parts. Run plays the steps inside the kernel under test and leaves
// captures, logs and record.json. Finish, on the host, reads the captures once
// more with tshark and the key files (too slow inside user-mode Linux), and writes
// report.json.
package story
