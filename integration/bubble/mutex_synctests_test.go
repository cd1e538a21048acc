//go:build synctests

package bubble

// clientsWait: the clients' mutexes are channels, for which virtual time goes on.
const clientsWait = true
