package main

import (
	"fmt"
	"hash/crc32"
	"time"
)

// digest is what a producer and a consumer can compare: a count, the bytes of keys and values, and a checksum that does
// not depend on the order of the records. Its parts add up, so it can be kept per goroutine and merged.
type digest struct {
	records, bytes int64
	sum            uint64
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (d *digest) add(key, value []byte) {
	d.records++
	d.bytes += int64(len(key) + len(value))
	d.sum += mix(uint64(crc32.Checksum(key, castagnoli))<<32|uint64(crc32.Checksum(value, castagnoli)), len(key), len(value))
}

// mix spreads the two checksums over 64 bits (splitmix64's finish), so that sums of different records do not meet.
func mix(x uint64, keyLen, valueLen int) uint64 {
	x ^= uint64(keyLen)<<40 ^ uint64(valueLen)
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// summary is a digest with the time it took, as it is printed.
type summary struct {
	Records     int64   `json:"records"`
	Bytes       int64   `json:"bytes"`
	Checksum    string  `json:"checksum"`
	Seconds     float64 `json:"seconds"`
	RecordsRate float64 `json:"records_per_second"`
	BytesRate   float64 `json:"bytes_per_second"`
}

func (d *digest) summary(took time.Duration) summary {
	s := summary{Records: d.records, Bytes: d.bytes, Checksum: fmt.Sprintf("%016x", d.sum), Seconds: took.Seconds()}
	if s.Seconds > 0 {
		s.RecordsRate, s.BytesRate = float64(d.records)/s.Seconds, float64(d.bytes)/s.Seconds
	}
	return s
}

func (s summary) String() string {
	return fmt.Sprintf("%d records, %d bytes, checksum %s, %.0f records/s, %.1f MB/s", s.Records, s.Bytes, s.Checksum, s.RecordsRate, s.BytesRate/1e6)
}
