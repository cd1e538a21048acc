// Package compress is the pooled gzip, snappy, lz4 and zstd codecs of record batches, every one with a cap on its output.
//
//	record.Validate ─┐
//	record.Iter ─────┼─> Pool.Reader(codec, src, limit) ─> pooled decoder ─> at most limit bytes, then ErrTooLarge
//	                 │
//	record.Builder ──┼─> Pool.Compress(codec, level, dst, src)
//	record.Validate ─┴─> Pool.Writer(codec, level, dst), when a batch is written anew
//
// What is accepted per codec, the rest is ErrCorrupt:
//
//	gzip    one or more members up to the end of the source
//	snappy  one raw block, or xerial framing: 0x82 "SNAPPY" 0, version, compatible version, {length int32, block}...;
//	        plain snappy only, not the S2 extensions that other readers do not know
//	lz4     exactly one frame of at least one block; blocks to 4 MiB, dependent ones too; no legacy or skippable frame
//	zstd    any number of frames, skippable ones are skipped; window to 128 MiB, no dictionary
//
// Invariants:
//
//	C1  A reader hands out at most limit bytes; asking for more is ErrTooLarge, however the source was made.
//	C2  Memory follows the bytes that a source holds or really decompresses to, never a length it claims: a zstd
//	    window is bounded by what the frame's blocks can produce, a snappy length is counted before it is believed.
//	C3  The end of the output is the end of the source: a truncated source and bytes behind its end are ErrCorrupt.
//	C4  Nothing of one source can be seen while decompressing another.
//
// The codec numbers are those of the attributes of a record batch: 1 gzip, 2 snappy, 3 lz4, 4 zstd.
//
// A Pool is used by many goroutines, a reader by one. There are no goroutines and no locks but those inside sync.Pool.
//
// Not here: what the decompressed bytes mean (protocol/record) and which error code a client gets for it.
package compress
