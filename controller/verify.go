package controller

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"

	"cordwood/protocol/record"
	"cordwood/segment/vfs"
)

// durableEnd finds the end of what must be in the log, whatever a crash did: the first
// entry of the newest write that can be read. It looks behind damage too, in the newest
// segment that holds anything: a later write proves that the damaged one was durable.
func durableEnd(fsys vfs.FS, dir string) (int64, error) {
	entries, err := fsys.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return firstIndex, nil
	}
	if err != nil {
		return 0, err
	}
	for i := len(entries) - 1; i >= 0; i-- {
		digits, isLog := strings.CutSuffix(entries[i].Name(), ".log")
		base, err := strconv.ParseInt(digits, 10, 64)
		if !isLog || err != nil {
			continue
		}
		raw, err := vfs.ReadFile(fsys, filepath.Join(dir, entries[i].Name()), 1<<31)
		if err != nil {
			return 0, err
		}
		if start, found := newestWrite(raw, base); found {
			return start, nil
		}
	}
	return firstIndex, nil
}

// newestWrite returns the first index of the last write of which any entry can be read.
func newestWrite(raw []byte, base int64) (start int64, found bool) {
	for at := 0; at < len(raw); {
		b, ok := entryAt(raw[at:], base)
		if !ok {
			at++
			continue
		}
		if l, back, err := decodeLog(b); err == nil {
			start, found = int64(l.Index-back), true
			at += len(b)
			continue
		}
		at++
	}
	return start, found
}

// entryAt says whether a batch of this segment may begin here; only then is a checksum
// worth its time.
func entryAt(raw []byte, base int64) (record.Batch, bool) {
	if len(raw) < record.Overhead || raw[16] != record.Magic {
		return nil, false
	}
	if offset := int64(binary.BigEndian.Uint64(raw)); offset < base || offset-base > 1<<31 {
		return nil, false
	}
	b, _, err := record.Next(raw)
	return b, err == nil
}
