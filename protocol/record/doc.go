// Package record is Kafka's record batch, version 2: a view over its bytes, the complete check of a produced batch,
// iteration, building and control batches.
//
// A batch, big endian; V is a zigzag varint:
//
//	 0 baseOffset int64          stamped by the leader      not covered by the CRC
//	 8 batchLength int32         bytes after this field     not covered
//	12 leaderEpoch int32         stamped by the leader      not covered
//	16 magic int8 = 2                                       not covered
//	17 crc uint32                CRC-32C of everything from byte 21 on
//	21 attributes int16          bits 0-2 codec, 3 LogAppendTime, 4 transactional, 5 control, 6 delete horizon
//	23 lastOffsetDelta int32
//	27 baseTimestamp int64
//	35 maxTimestamp int64
//	43 producerID int64
//	51 producerEpoch int16
//	53 baseSequence int32
//	57 count int32
//	61 payload                   count records, as one compressed stream when a codec is set
//
//	record: length V | attributes int8 | timestampDelta V | offsetDelta V | keyLength V, key | valueLength V, value
//	        | headerCount V | { keyLength V, key | valueLength V, value } ...
//
// Invariants:
//
//	B1  A Batch returned by Next is exactly one batch: 12+batchLength bytes, magic 2, at least Overhead bytes.
//	B2  A Batch returned by Validate has base offset 0, a right CRC, offset deltas 0,1,2.., the largest timestamp of
//	    its records in its header (or LogAppendTime), and a payload of exactly count well-formed records.
//	B3  Nothing is allocated because of a number that a client wrote; memory grows with the bytes that are there.
//	B4  Validation of a batch that is stored as sent allocates nothing.
//
// The package is pure: no goroutines, no locks. A Validator, Iter or Builder belongs to one goroutine at a time.
//
// Not here: the codecs (handed in as Codecs), idempotence (segment/producer), which offset a batch gets (partition),
// the rule that zstd needs Produce v7 and the check of segment.bytes (callers).
package record
