package producer

import (
	"encoding/binary"
	"testing"
)

func BenchmarkCheckAndAppend(b *testing.B) {
	for name, id := range map[string]int64{"no producer id": -1, "producer": 1} {
		b.Run(name, func(b *testing.B) {
			s := New()
			batch := given{id: id}.batch()
			b.ReportAllocs()
			for i := range b.N {
				binary.BigEndian.PutUint64(batch, uint64(i))
				binary.BigEndian.PutUint32(batch[53:], uint32(i)&(1<<31-1))
				s.Begin()
				if _, err := s.Check(batch, 0); err != nil {
					b.Fatal(err)
				}
				s.Append(batch, 0)
				s.Commit()
			}
		})
	}
}

func BenchmarkEncode(b *testing.B) {
	s := New()
	for i := range int64(1000) {
		s.Append(given{id: i, offset: i}.batch(), 0)
	}
	for range b.N {
		s.Encode(1000)
	}
}
