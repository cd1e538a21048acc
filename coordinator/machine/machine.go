package machine

import "time"

// Entry is one key/value fact of an internal topic. A nil Value is a tombstone.
type Entry struct {
	Key, Value []byte
}

// Answer is the late reply to a request that was parked under Token.
type Answer struct {
	Token uint64
	Reply any
}

// Effect is work for the shell that is neither a record nor an answer. It is
// carried out after the entries of the same result are committed.
type Effect any

// Result is what one step decided.
type Result struct {
	Entries []Entry  // to be replayed at once and committed before anything below leaves
	Reply   any      // to the request itself; nil: it is parked under its token
	Answers []Answer // to requests parked earlier
	Effects []Effect
}

// Machine is the state of one coordinator shard. Its request methods are the
// concrete type's own; they take a token and now and return a Result.
type Machine interface {
	// Replay applies one entry; it is the only way to change hard state. It
	// keeps nothing of the entry's bytes, which may be reused. An entry that
	// cannot be understood is skipped and reported: the error says why, and
	// the state is unchanged.
	Replay(Entry) error
	// Loaded ends loading: soft state is made from hard state and timers start.
	Loaded(now time.Time) Result
	// NextDeadline is the earliest moment at which Expire has something to do.
	NextDeadline() (time.Time, bool)
	// Expire does what is due at now. After it NextDeadline is later than now.
	Expire(now time.Time) Result
}
