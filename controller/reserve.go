package controller

import (
	"os"
	"path/filepath"

	"cordwood/segment/vfs"

	"go.uber.org/zap"
)

const (
	reserveFile  = "reserve"
	reserveBytes = 8 << 20
)

// reserve is space on the metadata disk that is given up when the disk is full, so that
// the node can go on deciding, above all moving leaderships away (R16). It is taken again
// at the next start.
type reserve struct {
	fs   vfs.FS
	name string
	held bool
	log  *zap.Logger
}

// holdReserve takes the space if there is any; without it the node works as well.
func holdReserve(fs vfs.FS, dir string, log *zap.Logger) *reserve {
	r := &reserve{fs: fs, name: filepath.Join(dir, reserveFile), log: log}
	f, err := fs.Open(r.name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return r
	}
	r.held = f.Preallocate(0, reserveBytes) == nil
	if err := f.Close(); err != nil {
		r.held = false
	}
	return r
}

// release gives the space up; false if there was none.
func (r *reserve) release() bool {
	if !r.held {
		return false
	}
	r.held = false
	r.log.Error("the metadata disk is full: gave up the reserve", zap.String("event", "CW-0404"), zap.Int("bytes", reserveBytes))
	return r.fs.Remove(r.name) == nil
}
