//go:build !synctests

package bubble

// clientsWait: virtual time stands still while a client's goroutine waits for a mutex, and some of them are held over a
// request. franz-go has channels in their place with the tag synctests; without it the clients of a cluster must do
// without what waits: a member of a group, whose commit may meet a rebalance.
const clientsWait = false
