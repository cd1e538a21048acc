package main

import (
	"math"
	"os"
	"path"
	"runtime/debug"
	"strconv"
	"strings"

	"go.uber.org/zap"
)

// setLimits tells the garbage collector how much memory there is: inside a container the heap must stay below the
// container's limit, or the kernel ends the process. GOMEMLIMIT counts more. How often it collects is left alone: the record
// bytes of a broker live in the page cache and its hot path allocates nothing, so a larger heap would save no time.
func setLimits(log *zap.Logger) {
	if limit := memoryLimit(os.ReadFile); limit > 0 && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(limit / 10 * 9) // the rest is for what the runtime does not count
		log.Info("memory limit of the control group", zap.Int64("bytes", limit))
	}
}

// memoryLimit is the limit of this process's control group or of one above it; 0 when there is none.
func memoryLimit(read func(name string) ([]byte, error)) int64 {
	groups, err := read("/proc/self/cgroup")
	if err != nil {
		return 0
	}
	least := int64(math.MaxInt64)
	for line := range strings.SplitSeq(strings.TrimSpace(string(groups)), "\n") {
		f := strings.SplitN(line, ":", 3) // 0::/path, or 4:memory:/path in version 1
		if len(f) != 3 {
			continue
		}
		root, file := "/sys/fs/cgroup", "memory.max"
		if f[1] == "memory" {
			root, file = "/sys/fs/cgroup/memory", "memory.limit_in_bytes"
		} else if f[1] != "" {
			continue
		}
		for dir := path.Clean("/" + f[2]); ; dir = path.Dir(dir) {
			text, err := read(path.Join(root, dir, file))
			if n, perr := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && perr == nil && n > 0 {
				least = min(least, n)
			}
			if dir == "/" {
				break
			}
		}
	}
	if least >= 1<<60 { // version 1 writes "no limit" as a huge number
		return 0
	}
	return least
}
