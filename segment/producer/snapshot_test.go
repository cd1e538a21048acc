package producer

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"strings"
	"testing"

	"cordwood/protocol/record"
)

func decoded(t *testing.T, b []byte) *State {
	t.Helper()
	s, err := Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	s.invariants(t)
	return s
}

// seal puts a header before entries.
func seal(entries ...[]byte) []byte {
	body := binary.BigEndian.AppendUint32(nil, uint32(len(entries)))
	body = append(body, bytes.Join(entries, nil)...)
	b := binary.BigEndian.AppendUint16(nil, 1)
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)))
	return append(b, body...)
}

// TestSnapshotIsKafkasFile pins the bytes: one idempotent producer, one with an open transaction, and one that a
// marker left without batches.
func TestSnapshotIsKafkasFile(t *testing.T) {
	s := New()
	s.Append(given{id: 1, epoch: 2, seq: 40, count: 3, offset: 100, ts: 1700}.batch(), 0)
	s.Append(given{id: 2, epoch: 0, seq: 0, count: 1, offset: 103, ts: 1701, txn: true}.batch(), 0)
	s.CompleteTxn(given{id: 3, epoch: 5, offset: 104, ts: 1702}.marker(), record.Control{CoordinatorEpoch: 6}, 0)
	want := strings.Join([]string{
		"0001", "493f02ac", "00000003",
		"0000000000000001", "0002", "0000002a", "0000000000000066", "00000002", "00000000000006a4", "ffffffff", "ffffffffffffffff",
		"0000000000000002", "0000", "00000000", "0000000000000067", "00000000", "00000000000006a5", "ffffffff", "0000000000000067",
		"0000000000000003", "0005", "ffffffff", "ffffffffffffffff", "00000000", "00000000000006a6", "00000006", "ffffffffffffffff",
	}, " ")
	got := s.Encode(105)
	if hex.EncodeToString(got) != strings.ReplaceAll(want, " ", "") {
		t.Fatalf("snapshot is\n%x, want\n%s", got, want)
	}
	back := decoded(t, got)
	if a, b := fmt.Sprint(s.Producers()), fmt.Sprint(back.Producers()); a != b {
		t.Errorf("read back %s, want %s", b, a)
	}
	wantUnstable(t, back, 103)
}

func TestSnapshotKeepsRetriesAcrossARestart(t *testing.T) {
	s := New()
	for i := range int32(8) {
		s.Append(given{id: 9, epoch: 1, seq: i * 2, count: 2, offset: int64(i) * 10, ts: int64(i)}.batch(), 0)
	}
	b := s.Encode(72)
	back := decoded(t, b)
	for i := range int32(8) {
		dup, err := back.Check(given{id: 9, epoch: 1, seq: i * 2, count: 2}.batch(), 0)
		if i < 3 {
			if err == nil {
				t.Errorf("batch %d is older than the five, yet taken", i)
			}
			continue
		}
		if dup == nil || dup.BaseOffset != int64(i)*10 || dup.Timestamp != int64(i) {
			t.Errorf("retry of batch %d: %+v, %v", i, dup, err)
		}
	}
	// Kafka's reader: the last entry of a producer id wins.
	last := parseEntry(b[len(b)-entrySize:])
	if last.batch.lastSequence != 15 || last.batch.lastOffset != 71 || last.epoch != 1 {
		t.Errorf("Kafka would read %+v", last)
	}
}

func TestSnapshotOfAKafkaBrokerKeepsItsOneBatch(t *testing.T) {
	e := entry{id: 5, epoch: 3, coordinatorEpoch: -1, txnFirst: -1,
		batch: batch{lastOffset: 99, lastSequence: 19, offsetDelta: 9, timestamp: 7}}
	s := decoded(t, seal(e.append(nil)))
	if dup, err := s.Check(given{id: 5, epoch: 3, seq: 10, count: 10}.batch(), 0); dup == nil || dup.BaseOffset != 90 {
		t.Errorf("retry: %+v, %v", dup, err)
	}
	if _, err := s.Check(given{id: 5, epoch: 3, seq: 20}.batch(), 0); err != nil {
		t.Errorf("next: %v", err)
	}
	if s.End() != 100 || s.Encode(99) != nil || s.Encode(100) == nil {
		t.Errorf("end %d, or a snapshot that is ahead of its log", s.End())
	}
}

func TestSnapshotAboveTheCapacityLosesTheOldest(t *testing.T) {
	var entries [][]byte
	for i := range int64(MaxProducers + 10) {
		e := entry{id: i, coordinatorEpoch: -1, txnFirst: -1, batch: batch{lastOffset: (i * 7919) % 1000003}}
		entries = append(entries, e.append(nil))
	}
	s := decoded(t, seal(entries...))
	if s.Len() != MaxProducers {
		t.Fatalf("%d producers", s.Len())
	}
	if s.producers[0] != nil { // offset 0: the oldest
		t.Error("the oldest producer was kept")
	}
}

func TestBadSnapshotsAreRefused(t *testing.T) {
	good := entry{id: 1, epoch: 0, coordinatorEpoch: -1, txnFirst: 4, batch: batch{lastOffset: 5, offsetDelta: 1}}
	change := func(f func(e *entry)) []byte {
		e := good
		f(&e)
		return e.append(nil)
	}
	sealed := seal(good.append(nil))
	if _, err := Decode(sealed); err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(sealed)
	flipped[20] ^= 1
	version := bytes.Clone(sealed)
	version[1] = 2
	counted := func(n uint32, b []byte) []byte {
		b = bytes.Clone(b)
		binary.BigEndian.PutUint32(b[6:], n)
		binary.BigEndian.PutUint32(b[2:], crc32.Checksum(b[6:], castagnoli))
		return b
	}
	for name, b := range map[string][]byte{
		"empty":                    nil,
		"short":                    sealed[:9],
		"cut":                      sealed[:len(sealed)-1],
		"longer":                   append(bytes.Clone(sealed), 0),
		"bit flip":                 flipped,
		"other version":            version,
		"too few entries":          counted(0, sealed),
		"too many entries":         counted(2, sealed),
		"negative count":           counted(1<<31, sealed),
		"huge count":               counted(1<<31-1, sealed),
		"negative producer":        seal(change(func(e *entry) { e.id = -1 })),
		"negative epoch":           seal(change(func(e *entry) { e.epoch = -2 })),
		"negative coordinator":     seal(change(func(e *entry) { e.coordinatorEpoch = -2 })),
		"negative transaction":     seal(change(func(e *entry) { e.txnFirst = -2 })),
		"negative offset":          seal(change(func(e *entry) { e.batch.lastOffset = -2 })),
		"largest offset":           seal(change(func(e *entry) { e.batch.lastOffset = 1<<63 - 1 })),
		"negative sequence":        seal(change(func(e *entry) { e.batch.lastSequence = -2 })),
		"negative delta":           seal(change(func(e *entry) { e.batch.offsetDelta = -1 })),
		"delta below offset 0":     seal(change(func(e *entry) { e.batch.offsetDelta = 6 })),
		"offset without sequence":  seal(change(func(e *entry) { e.batch.lastSequence = -1 })),
		"sequence without offset":  seal(change(func(e *entry) { e.batch.lastOffset = -1 })),
		"two transactions at once": seal(good.append(nil), change(func(e *entry) { e.id = 2 })),
	} {
		if s, err := Decode(b); !errors.Is(err, ErrCorrupt) || s != nil {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

// TestReplayFromAnySnapshotIsTheSame is P1: a log applied from the start, and from a snapshot taken anywhere in it,
// leads to the same snapshot and transactions.
func TestReplayFromAnySnapshotIsTheSame(t *testing.T) {
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 0))
		log := randomLog(rng, 60)
		whole := New()
		for _, apply := range log {
			apply(whole)
		}
		whole.Advance(1 << 40)
		end := whole.End()
		for cut := range log {
			s := New()
			for _, apply := range log[:cut] {
				apply(s)
			}
			s = decoded(t, s.Encode(s.End()))
			for _, apply := range log[cut:] {
				apply(s)
			}
			s.Advance(1 << 40)
			s.invariants(t)
			if !bytes.Equal(s.Encode(end), whole.Encode(end)) {
				t.Fatalf("seed %d, snapshot before batch %d: %v, want %v", seed, cut, s.Producers(), whole.Producers())
			}
			a, okA := s.FirstUnstable()
			if b, okB := whole.FirstUnstable(); a != b || okA != okB {
				t.Fatalf("seed %d, snapshot before batch %d: first unstable %d, want %d", seed, cut, a, b)
			}
		}
	}
}

// randomLog is batches and markers of a few producers as a log may hold them.
func randomLog(rng *rand.Rand, n int) []func(*State) {
	var log []func(*State)
	offset := int64(0)
	next, epoch, txn := map[int64]int32{}, map[int64]int16{}, map[int64]bool{}
	for range n {
		id := rng.Int64N(4)
		g := given{id: id, offset: offset, ts: rng.Int64N(100), count: 1 + rng.Int32N(5)}
		switch kind := rng.IntN(10); {
		case kind == 0:
			g.id = -1
		case kind == 1:
			epoch[id], next[id] = epoch[id]+1, 0
		case kind <= 3:
			c := record.Control{Type: record.ControlType(rng.IntN(2)), CoordinatorEpoch: 1}
			g.count, g.epoch, txn[id] = 1, epoch[id], false
			b := g.marker()
			log = append(log, func(s *State) { s.CompleteTxn(b, c, 0) })
			offset++
			continue
		case kind <= 6:
			txn[id] = true
		}
		g.epoch, g.seq, g.txn = epoch[id], next[id], txn[id]
		next[id] += g.count
		b := g.batch()
		log = append(log, func(s *State) { s.Append(b, 0) })
		offset += int64(g.count)
	}
	return log
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte{})
	f.Add(seal())
	for seed := range uint64(5) {
		s := New()
		for _, apply := range randomLog(rand.New(rand.NewPCG(seed, 0)), 40) {
			apply(s)
		}
		f.Add(s.Encode(s.End()))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		// Let the fuzzer past the CRC.
		if len(b) >= headerSize {
			b = bytes.Clone(b)
			binary.BigEndian.PutUint32(b[2:], crc32.Checksum(b[6:], castagnoli))
		}
		s, err := Decode(b)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatalf("error %v does not say corrupt", err)
			}
			return
		}
		s.invariants(t)
		canonical := s.Encode(s.End())
		if len(canonical) > len(b) {
			t.Fatalf("%d bytes became %d", len(b), len(canonical))
		}
		again := decoded(t, canonical)
		if !bytes.Equal(again.Encode(again.End()), canonical) {
			t.Fatal("the canonical snapshot is not stable")
		}
	})
}
