// Package compress is the pooled gzip, snappy, lz4 and zstd codecs of record batches, every one with a cap on its output.
package compress
