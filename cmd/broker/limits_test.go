package main

import (
	"errors"
	"testing"
)

func TestMemoryLimitIsThatOfTheGroupAndThoseAbove(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  int64
	}{
		"no control groups": {nil, 0},
		"version 2":         {map[string]string{"/proc/self/cgroup": "0::/a/b\n", "/sys/fs/cgroup/a/b/memory.max": "1000\n"}, 1000},
		"no limit":          {map[string]string{"/proc/self/cgroup": "0::/a\n", "/sys/fs/cgroup/a/memory.max": "max\n"}, 0},
		"the one above is less": {map[string]string{"/proc/self/cgroup": "0::/a/b\n", "/sys/fs/cgroup/a/b/memory.max": "max\n",
			"/sys/fs/cgroup/a/memory.max": "500\n"}, 500},
		"inside a container": {map[string]string{"/proc/self/cgroup": "0::/\n", "/sys/fs/cgroup/memory.max": "700\n"}, 700},
		"version 1": {map[string]string{"/proc/self/cgroup": "5:cpu:/x\n4:memory:/docker/1\n",
			"/sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes": "9000\n", "/sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}, 9000},
		"version 1, no limit":  {map[string]string{"/proc/self/cgroup": "4:memory:/\n", "/sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}, 0},
		"a path that escapes":  {map[string]string{"/proc/self/cgroup": "0::/../../x\n", "/sys/fs/cgroup/x/memory.max": "5\n"}, 5},
		"something else there": {map[string]string{"/proc/self/cgroup": "nonsense\n\n0::/\n", "/sys/fs/cgroup/memory.max": "-3\n"}, 0},
	} {
		got := memoryLimit(func(name string) ([]byte, error) {
			text, ok := c.files[name]
			if !ok {
				return nil, errors.New("none")
			}
			return []byte(text), nil
		})
		if got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}
