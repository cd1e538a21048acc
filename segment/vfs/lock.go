package vfs

import (
	"bytes"
	"strconv"
)

// The lock file holds the holder's process id in decimal and a newline. It is a message to people and to the
// second process's error; the lock itself is the flock (OS) or the entry in Mem's table.

func writePID(f File, pid int) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt(strconv.AppendInt(nil, int64(pid), 10), 0)
	return err
}

// readPID returns 0 when the file holds no process id.
func readPID(f File) int {
	var buf [20]byte
	n, _ := f.ReadAt(buf[:], 0)
	pid, err := strconv.Atoi(string(bytes.TrimSpace(buf[:n])))
	if err != nil || pid < 0 {
		return 0
	}
	return pid
}
