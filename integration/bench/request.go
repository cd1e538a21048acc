package main

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"time"
)

var be = binary.BigEndian

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

const batchHeader = 61

// newBatch encodes one record batch of at most size bytes with records of recordSize random bytes, at least one.
func newBatch(size, recordSize int) []byte {
	b := make([]byte, batchHeader, size+recordSize)
	value := make([]byte, recordSize)
	n := 0
	for n == 0 || len(b)+recordSize+16 <= size {
		_, _ = rand.Read(value) // never fails
		r := []byte{0, 0}       // attributes, timestamp delta
		r = binary.AppendVarint(r, int64(n))
		r = binary.AppendVarint(r, -1) // no key
		r = binary.AppendVarint(r, int64(recordSize))
		r = append(r, value...)
		r = append(r, 0) // no headers
		b = binary.AppendVarint(b, int64(len(r)))
		b = append(b, r...)
		n++
	}
	be.PutUint32(b[8:], uint32(len(b)-12))
	b[16] = 2 // magic
	be.PutUint32(b[23:], uint32(n-1))
	now := uint64(time.Now().UnixMilli())
	be.PutUint64(b[27:], now)
	be.PutUint64(b[35:], now)
	for i := 43; i < 57; i++ { // no producer
		b[i] = 0xff
	}
	be.PutUint32(b[57:], uint32(n))
	be.PutUint32(b[17:], crc32.Checksum(b[21:], castagnoli))
	return b
}

// batchRecords is the number of records in a batch.
func batchRecords(b []byte) int { return int(be.Uint32(b[57:])) }

// header begins a request with a length to be filled in by sealed.
func header(key, version int16) []byte {
	b := []byte{0, 0, 0, 0}
	b = be.AppendUint16(b, uint16(key))
	b = be.AppendUint16(b, uint16(version))
	return append(b, 0, 0, 0, 1, 0, 5, 'b', 'e', 'n', 'c', 'h')
}

func sealed(b []byte) []byte {
	be.PutUint32(b, uint32(len(b)-4))
	return b
}

func appendString(b []byte, s string) []byte {
	return append(be.AppendUint16(b, uint16(len(s))), s...)
}

// Produce version 7: every broker of the last years has it, and its answer has a fixed size.

func produceRequest(topic string, partition int32, acks int16, batch []byte) []byte {
	b := header(0, 7)
	b = be.AppendUint16(b, 0xffff) // no transactional id
	b = be.AppendUint16(b, uint16(acks))
	b = be.AppendUint32(b, 30_000)
	b = be.AppendUint32(b, 1)
	b = appendString(b, topic)
	b = be.AppendUint32(b, 1)
	b = be.AppendUint32(b, uint32(partition))
	b = be.AppendUint32(b, uint32(len(batch)))
	return sealed(append(b, batch...))
}

func produceAnswerSize(topic string) int { return 4 + 4 + 4 + 2 + len(topic) + 4 + 30 + 4 }

// produceCode checks an answer's frame and returns its error code.
func produceCode(b []byte, topic string) (int16, error) {
	if got, want := int(be.Uint32(b))+4, len(b); got != want {
		return 0, fmt.Errorf("an answer of %d bytes to Produce, want %d", got, want)
	}
	return int16(be.Uint16(b[4+4+4+2+len(topic)+4+4:])), nil
}

// Fetch version 11: the last one without compact fields.

func fetchRequest(topic string, partition int32, offset int64, maxBytes int32) []byte {
	b := header(1, 11)
	b = be.AppendUint32(b, ^uint32(0)) // a consumer
	b = be.AppendUint32(b, 500)
	b = be.AppendUint32(b, 1)
	b = be.AppendUint32(b, 50<<20)
	b = append(b, 0)
	b = be.AppendUint32(b, 0) // no session
	b = be.AppendUint32(b, ^uint32(0))
	b = be.AppendUint32(b, 1)
	b = appendString(b, topic)
	b = be.AppendUint32(b, 1)
	b = be.AppendUint32(b, uint32(partition))
	b = be.AppendUint32(b, ^uint32(0))
	b = be.AppendUint64(b, uint64(offset))
	b = be.AppendUint64(b, ^uint64(0))
	b = be.AppendUint32(b, uint32(maxBytes))
	b = be.AppendUint32(b, 0)
	b = be.AppendUint16(b, 0)
	return sealed(b)
}

// fetchHead is the size of an answer before the record bytes; fetchCode is where the partition's error code stands.
func fetchHead(topic string) int { return fetchCode(topic) + 2 + 8 + 8 + 8 + 4 + 4 + 4 }
func fetchCode(topic string) int { return 4 + 4 + 4 + 2 + 4 + 4 + 2 + len(topic) + 4 + 4 }
