// Package vfs is the only door through which the house touches files.
//
//	segment, partition, controller ──> FS, File
//	                                    │
//	      ┌─────────────────────────────┼─────────────────────────────┐
//	     OS()                        NewMem()                    NewFault(fs, decide)
//	 the real disk            a disk with a page cache       any FS, but operations fail,
//	                          that can lose power            hang or lie as decide says
//
// What a power cut leaves, for Mem exactly and for a real disk at least:
//
//	written, not synced       per 4 KiB block: old, new, or a mix of 512-byte sectors
//	Sync, Datasync            the file's bytes and size are there, if its name is
//	create, rename, remove    there or not, each operation on its own, until SyncDir
//
// Invariants
//
//	V1  Bytes are durable only after File.Sync or File.Datasync returned nil.
//	V2  A name is durable only after SyncDir of its directory returned nil (Z34); syncing the file does not do it.
//	V3  A failed sync is final: the kernel has marked the pages clean, so the caller never tries again (Z26).
//	V4  No name below a data directory is a symbolic link: OS refuses to open, list, sync or lock through one
//	    as the last part of a name, and Stat shows the link itself (bad input 147).
//	V5  Files are made 0600 and directories 0700 at most, whatever the caller asks for.
//	V6  One process holds a lock name; the second is told the first one's process id (bad input 150).
//
// Goroutines: none. Locks: Mem has one mutex, held only while memory is copied, never while something waits, so
// all of this runs in a testing/synctest bubble; OS and Fault have none. An OS file may be closed while another
// goroutine uses it: that use ends first and later ones fail with os.ErrClosed.
//
// Not here: which files exist and what is in them (segment), and when to sync (partition).
package vfs
