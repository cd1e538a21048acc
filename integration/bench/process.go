package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ticks is the kernel's unit of CPU time in /proc; fixed for user space.
const ticks = 100

// cpuOf is the CPU time that a process has used, user and system.
func cpuOf(pid int) (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	s := string(b)
	f := strings.Fields(s[strings.LastIndexByte(s, ')')+1:])
	if len(f) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat: %q", pid, s)
	}
	user, err1 := strconv.ParseInt(f[11], 10, 64)
	system, err2 := strconv.ParseInt(f[12], 10, 64)
	return time.Duration(user+system) * (time.Second / ticks), errors.Join(err1, err2)
}

// cpuOfAll is that of several.
func cpuOfAll(pids []int) (sum time.Duration, err error) {
	for _, pid := range pids {
		cpu, err := cpuOf(pid)
		if err != nil {
			return 0, err
		}
		sum += cpu
	}
	return sum, nil
}

// memoryOf is a process's resident memory, now and at its highest, in MB.
func memoryOf(pid int) (now, peak float64, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		kb, _ := strconv.ParseFloat(f[1], 64) // 0 for lines that hold no number
		switch f[0] {
		case "VmRSS:":
			now = kb * 1024 / 1e6
		case "VmHWM:":
			peak = kb * 1024 / 1e6
		}
	}
	return now, peak, nil
}

// filesOf is the number of a process's open files.
func filesOf(pid int) (int, error) {
	d, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	return len(d), err
}

// ownCPU is the CPU time of the bench itself.
func ownCPU() time.Duration {
	var r syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &r) != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// machineCPU is the time that all cores were busy, and the time that there was.
func machineCPU() (busy, all time.Duration) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0
	}
	line, _, _ := strings.Cut(string(b), "\n")
	for i, f := range strings.Fields(line) {
		n, _ := strconv.ParseInt(f, 10, 64) // 0 for the label
		if i >= 1 && i <= 8 {
			all += time.Duration(n) * (time.Second / ticks)
			if i != 4 && i != 5 { // idle, waiting for the disk
				busy += time.Duration(n) * (time.Second / ticks)
			}
		}
	}
	return busy, all
}

// quiet waits until the machine is nearly idle, as long as the bench has patience.
func (b *bench) quiet() {
	for end := time.Now().Add(b.patience); time.Now().Before(end); {
		busy0, all0 := machineCPU()
		time.Sleep(300 * time.Millisecond)
		busy1, all1 := machineCPU()
		if float64(busy1-busy0) < 0.1*float64(all1-all0) {
			return
		}
	}
}

// ownMemory makes this machine own n free bytes before they are needed: a virtual machine gives free memory
// back to its host, and who then writes a fresh file pays for its return, several times the price of the write.
func (b *bench) ownMemory(n int64) error {
	path := filepath.Join(b.dir, "memory.dat")
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer os.Remove(path)
	defer f.Close()
	block := make([]byte, 1<<20)
	for ; n > 0; n -= int64(len(block)) {
		if _, err := f.Write(block); err != nil {
			return err
		}
	}
	return nil
}

// meter measures what processes use while something runs.
type meter struct {
	pids            []int
	began           time.Time
	broker, own     time.Duration
	busy, available time.Duration
}

// usage is what a meter found.
type usage struct {
	wall, broker, own time.Duration
	others            float64 // share of the machine that neither used
}

func startMeter(pids ...int) (*meter, error) {
	cpu, err := cpuOfAll(pids)
	if err != nil {
		return nil, err
	}
	m := &meter{pids: pids, broker: cpu, own: ownCPU()}
	m.busy, m.available = machineCPU()
	m.began = time.Now()
	return m, nil
}

func (m *meter) stop() (usage, error) {
	wall := time.Since(m.began)
	cpu, err := cpuOfAll(m.pids)
	if err != nil {
		return usage{}, err
	}
	u := usage{wall: wall, broker: cpu - m.broker, own: ownCPU() - m.own}
	busy, available := machineCPU()
	if d := available - m.available; d > 0 {
		u.others = max(0, float64(busy-m.busy-u.broker-u.own)/float64(d))
	}
	return u, nil
}
