// Package process runs the real binary as a real process, with real clients, and treats it badly.
//
// Start builds bin/cordwood once per test run, starts `cordwood serve` on free ports with a data directory of its
// own, and waits for the port file. Tests kill it, stop it, corrupt what it wrote, and start it again. They need the
// build tag "process":
//
//	go test -tags process ./integration/process
//
// Not here: what can be tested inside one process (package broker), lost power (integration/powercut).
package process
