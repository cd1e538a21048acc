package segment

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"go.uber.org/zap"

	"cordwood/segment/vfs"
)

// scrubFile is how far the scrub of a data directory has come: a checkpoint with the line "began MILLISECONDS", and
// "TOPIC-N OFFSET" if the pass is under way.
const scrubFile = "cordwood-scrub"

// ScrubPoint is how far the scrub of a data directory has come. Logs are checked in the order of their names.
type ScrubPoint struct {
	Began time.Time // of the pass, maybe in the future
	Log   string    // directory name of the log under way; empty: the pass has not begun
	From  int64     // offset in it from which on segments are not checked yet
}

// ReadScrubPoint reads DIR/cordwood-scrub. Without one that can be read a pass begins now.
func ReadScrubPoint(fsys vfs.FS, dir string, now time.Time, log *zap.Logger) (ScrubPoint, error) {
	anew := ScrubPoint{Began: now}
	b, err := vfs.ReadFile(fsys, filepath.Join(dir, scrubFile), maxMetaFile)
	if errors.Is(err, fs.ErrNotExist) {
		return anew, nil
	}
	if err != nil && !errors.Is(err, vfs.ErrTooLarge) {
		return anew, err
	}
	var p ScrubPoint
	if err == nil {
		p, err = decodeScrubPoint(b)
	}
	if err != nil {
		log.Warn("scrub begins anew", zap.String("event", "CW-0323"), zap.String("dir", dir), zap.Error(err))
		return anew, nil
	}
	return p, nil
}

func decodeScrubPoint(b []byte) (p ScrubPoint, err error) {
	err = decodeCheckpoint(b, 2, func(f []string) error {
		n, err := parseInt(f[1], 64)
		_, _, isLog := splitName(f[0])
		switch {
		case err != nil || n < 0:
			return fmt.Errorf("%q is no number", f[1])
		case f[0] == "began" && p.Began.IsZero():
			p.Began = time.UnixMilli(n)
		case isLog && p.Log == "":
			p.Log, p.From = f[0], n
		default:
			return fmt.Errorf("%q", f[0])
		}
		return nil
	})
	if err == nil && p.Began.IsZero() {
		err = errors.New("no beginning")
	}
	return p, err
}

func (p ScrubPoint) encode() []byte {
	if p.Log == "" {
		return fmt.Appendf(nil, "0\n1\nbegan %d\n", p.Began.UnixMilli())
	}
	return fmt.Appendf(nil, "0\n2\nbegan %d\n%s %d\n", p.Began.UnixMilli(), p.Log, p.From)
}

// WriteScrubPoint replaces DIR/cordwood-scrub.
func WriteScrubPoint(fsys vfs.FS, dir string, p ScrubPoint) error {
	return vfs.WriteFileAtomic(fsys, filepath.Join(dir, scrubFile), p.encode())
}
