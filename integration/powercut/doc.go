// Package powercut takes the power from the shipped binary: it runs on a mounted file system (forgetfs) that forgets
// every byte and name that was not fsynced, is killed in the middle of a load, and must have every record it
// acknowledged when it comes back. So must three of them, each with a disk of its own, that are cut off at once.
//
//	producer ─▶ bin/cordwood ─▶ forgetfs ─▶ volatile ──fsync──▶ durable
//	            (one or three)
//	                 kill -9       Cut()      gone               next mount
//
// kill -9 alone shows nothing of the kind, for the page cache survives it. The check is itself checked: with
// flush.before.ack=false it must report losses.
//
//	go test -tags process ./integration/powercut -rounds 30        (root, /dev/fuse)
package powercut
