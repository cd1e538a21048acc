package partition

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// probeFile is written over and over, and never read:
//
//	| number of the probe uint64 |
const probeFile = "cordwood-probe"

// probe writes to an idle disk and syncs, every ProbeInterval: nobody would notice that it hangs before the first record
// is lost in it, while heartbeats tell the controller that all is well (R16, Z38). The watchdog judges how long it takes.
// A disk that has synced anything since the last look needs no probe.
func (d *directory) probe(ctx context.Context) {
	every := d.set.cfg.ProbeInterval
	if every <= 0 || mutant == 38 {
		return
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	last := int64(0)
	for n := uint64(1); ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if d.isFailed() {
			return
		}
		if synced := d.counters.syncs.Load() + d.counters.rounds.Load(); synced != last {
			last = synced
			continue
		}
		d.probeSince.Store(d.set.clock())
		err := d.probeOnce(n)
		d.probeSince.Store(0)
		if err != nil && !isFull(err) && !lacksDescriptor(err) {
			d.upkeepFailed("probe", err)
		}
	}
}

func (d *directory) probeOnce(n uint64) error {
	f, err := d.set.cfg.FS.Open(filepath.Join(d.path, probeFile), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteAt(binary.BigEndian.AppendUint64(nil, n), 0); err != nil {
		return err
	}
	if err := f.Datasync(); err != nil {
		d.fail(fmt.Errorf("sync of the probe: %w", err)) // whatever it says (Z26)
	}
	return nil
}
