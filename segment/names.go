package segment

import (
	"encoding/hex"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
)

// Kafka's names. A segment's files share the 20 digits of its base offset; a producer snapshot has those of its end.
const (
	logSuffix      = ".log"
	indexSuffix    = ".index"
	timeSuffix     = ".timeindex"
	txnSuffix      = ".txnindex"
	snapshotSuffix = ".snapshot"
	faultSuffix    = ".fault" // ours: damaged ranges that are kept (Z27)
	sealSuffix     = ".seal"  // ours: what a sealed segment holds (R16)
	deletedSuffix  = ".deleted"
	cleanedSuffix  = ".cleaned"
	swapSuffix     = ".swap"
	tmpSuffix      = ".tmp"

	epochFile     = "leader-epoch-checkpoint"
	partitionFile = "partition.metadata"

	deleteDirSuffix = "-delete"
	strayDirSuffix  = "-stray"
	futureDirSuffix = "-future"
	movedDirSuffix  = "-moved"
)

// fileName is DIR/00000000000000000042.log for (42, ".log").
func fileName(dir string, base int64, suffix string) string {
	return filepath.Join(dir, fmt.Sprintf("%020d%s", base, suffix))
}

// parseFileName is the inverse of the last element of fileName. Only 20 digits are a name: a shorter or longer number
// could be a second file for the same offset (bad input 148).
func parseFileName(name string) (base int64, suffix string, ok bool) {
	if len(name) < 21 || name[20] != '.' {
		return 0, "", false
	}
	for _, c := range []byte(name[:20]) {
		if c < '0' || c > '9' {
			return 0, "", false
		}
	}
	base, err := strconv.ParseInt(name[:20], 10, 64)
	return base, name[20:], err == nil
}

// splitName cuts the directory name TOPIC-N. ok is false for a directory that is no partition's.
func splitName(name string) (topic string, partition int32, ok bool) {
	i := strings.LastIndexByte(name, '-')
	if i <= 0 {
		return "", 0, false
	}
	n, err := strconv.ParseInt(name[i+1:], 10, 32)
	if err != nil || n < 0 || strconv.FormatInt(n, 10) != name[i+1:] {
		return "", 0, false
	}
	return name[:i], int32(n), true
}

// PartitionOf cuts the directory name TOPIC-N of a log; ok is false for every other directory.
func PartitionOf(name string) (topic string, partition int32, ok bool) { return splitName(name) }

// FutureName is what Kafka calls the directory of a copy of NAME that is to take its place: NAME.ID-future. The id is that of
// the data directory that it is in.
func FutureName(name string, id [16]byte) string {
	return fmt.Sprintf("%s.%x%s", name, id, futureDirSuffix)
}

// movedName is the directory of a log whose copy in the data directory of that id has taken its place.
func movedName(name string, id [16]byte) string {
	return fmt.Sprintf("%s.%x%s", name, id, movedDirSuffix)
}

// Moving takes the name of a copy's directory (future), or of one whose copy has taken its place (moved), apart.
func Moving(dir string) (name string, id [16]byte, future, moved bool) {
	suffix := futureDirSuffix
	if future = hasDirSuffix(dir, futureDirSuffix); !future {
		if suffix, moved = movedDirSuffix, hasDirSuffix(dir, movedDirSuffix); !moved {
			return "", id, false, false
		}
	}
	name = dir[:len(dir)-len(suffix)-33]
	n, err := hex.Decode(id[:], []byte(dir[len(name)+1:len(name)+33]))
	if _, _, ok := splitName(name); !ok || err != nil || n != len(id) {
		return "", [16]byte{}, false, false
	}
	return name, id, future, moved
}
