package segment

// Follows says how far this log, a copy in the making, is the same as the one it is made from: to its own end, or to a
// smaller offset, where the other one was truncated since; what is left is to be asked again. Of two logs that have a
// record of the same epoch at the same offset everything before it is the same, so the epochs tell (R9).
func (l *Log) Follows(from *Log) int64 {
	end := l.End()
	if end == l.Start() { // nothing to compare
		return min(end, from.End())
	}
	epoch, to := from.EndOffsetFor(min(l.LastEpoch(), from.LastEpoch()))
	if epoch < 0 {
		return min(l.Start(), from.End())
	}
	if epoch < l.LastEpoch() {
		_, mine := l.EndOffsetFor(epoch)
		to = min(to, mine)
	}
	return min(end, to)
}

// TakeState gives a copy that is complete what its records do not tell: epochs without a record (Z4), and producers
// whose records retention has dropped. The other log must not be written to any more, unless this one is given up. It
// returns what WriteState writes.
func (l *Log) TakeState(from *Log) (snapshot []byte) {
	l.touched = true
	l.epochs.Store(from.epochs.Load())
	l.producers, l.lazyState = from.Producers(), nil
	if l.producers.Len() == 0 {
		return nil
	}
	return l.producers.Encode(l.End())
}

// WriteState puts the producers beside the copy; durable with the next Sync. A copy that cannot is whole all the same (Z22).
func (l *Log) WriteState(snapshot []byte) { l.writeSnapshot(snapshot, l.End()) }
