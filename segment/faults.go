package segment

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"

	"go.uber.org/zap"

	"cordwood/segment/vfs"
)

// A .fault file beside a segment remembers which of its ranges are damaged, so that a later recovery, which does not read
// below the recovery point, neither serves nor cuts them. A checkpoint of lines "from to position position", and a last
// line with the CRC-32C of the others in hex, for it overrules what the log says. It goes with the segment.

func (l *Log) readFaults(base int64, aux map[string]bool) ([]fault, error) {
	name := fileName(l.Dir(), base, faultSuffix)
	if !aux[filepath.Base(name)] {
		return nil, nil
	}
	b, err := vfs.ReadFile(l.fs, name, maxCheckpointFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil && !errors.Is(err, vfs.ErrTooLarge) {
		return nil, err
	}
	var faults []fault
	if err == nil {
		faults, err = decodeFaults(b)
	}
	if err != nil {
		// The damage will be found again by whoever reads it.
		l.log.Warn("fault file ignored", zap.String("event", "CW-0316"), zap.String("file", name), zap.Error(err))
		return nil, nil
	}
	return faults, nil
}

func decodeFaults(b []byte) ([]fault, error) {
	body, sum, _ := bytes.Cut(b, []byte("crc "))
	if want, err := strconv.ParseUint(strings.TrimSpace(string(sum)), 16, 32); err != nil || uint32(want) != checksum(body) {
		return nil, errors.New("checksum")
	}
	var faults []fault
	last := fault{}
	err := decodeCheckpoint(body, 4, func(f []string) error {
		var n [4]int64
		for i := range n {
			v, err := parseInt(f[i], 64)
			if err != nil {
				return err
			}
			n[i] = v
		}
		x := fault{n[0], n[1], n[2], n[3]}
		if x.from < last.to || x.to < x.from || x.fromPos < last.toPos || x.toPos < x.fromPos {
			return fmt.Errorf("range %v after %v", x, last)
		}
		faults, last = append(faults, x), x
		return nil
	})
	return faults, err
}

func (l *Log) writeFaults(s *Segment) error {
	return vfs.WriteFileAtomic(l.fs, fileName(l.Dir(), s.base, faultSuffix), encodeFaults(s.faults()))
}

func encodeFaults(faults []fault) []byte {
	b := fmt.Appendf(nil, "0\n%d\n", len(faults))
	for _, x := range faults {
		b = fmt.Appendf(b, "%d %d %d %d\n", x.from, x.to, x.fromPos, x.toPos)
	}
	return fmt.Appendf(b, "crc %08x\n", checksum(b))
}
