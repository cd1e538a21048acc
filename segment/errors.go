package segment

import "errors"

// What goes wrong, as callers tell it apart with errors.Is.
var (
	// ErrOutOfRange: the offset is below the log start or above the log end.
	ErrOutOfRange = errors.New("offset is outside the log")
	// ErrNoSpace: the disk is full. Nothing was appended, reads go on, a later append may succeed (R16).
	ErrNoSpace = errors.New("no space for the log")
	// ErrFailed: a write or sync failed. The log takes no more writes until it is opened again (R16, Z26).
	ErrFailed = errors.New("log is offline after an i/o error")
	// ErrCorrupt: the bytes of this range are damaged on disk (R16, Z27).
	ErrCorrupt = errors.New("log is corrupt in this range")
	// ErrNotContiguous: the batch does not continue the log.
	ErrNotContiguous = errors.New("batch does not continue the log")
	// ErrClosed: the log was closed or deleted.
	ErrClosed = errors.New("log is closed")
	// ErrTopicID: the directory belongs to another topic of the same name (Z20).
	ErrTopicID = errors.New("log belongs to another topic id")
	// ErrJournalFull: checkpoint (Sync every journaled log), then Reset the journal.
	ErrJournalFull = errors.New("journal is full")
)
