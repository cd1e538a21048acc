package broker

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"syscall"
	"time"

	"go.uber.org/zap"

	"cordwood/metadata"
	"cordwood/partition"
	"cordwood/segment"
	"cordwood/segment/vfs"
)

// dataDir is one of log.dirs and what its meta.properties say.
type dataDir struct {
	path string
	id   metadata.DirID
	meta segment.Meta
}

// journalLimit bounds the group-commit journal of a data directory.
const journalLimit = 256 << 20

// openDirs makes and reads the data directories; one of another cluster or node stops the start (bad input 149). No
// format step is needed: where nothing says otherwise, the first start makes the cluster's id.
func (b *Broker) openDirs() error {
	cluster := b.cfg.ClusterID
	for _, path := range b.cfg.LogDirs {
		d, err := b.readDir(path)
		if err != nil {
			return err
		}
		switch {
		case d.meta.ClusterID == "" || d.meta.ClusterID == cluster:
		case cluster == "":
			cluster = d.meta.ClusterID
		default:
			return fmt.Errorf("%w: log.dirs: %s belongs to cluster %s, not to %s; give each cluster directories of its own",
				ErrConfig, path, d.meta.ClusterID, cluster)
		}
		b.dirs = append(b.dirs, d)
	}
	if cluster == "" && b.cfg.IsLone() {
		cluster = newUUID().String()
	}
	b.cluster.Store(&cluster)
	for i := range b.dirs {
		if err := b.formatDir(&b.dirs[i]); err != nil {
			return err
		}
	}
	return nil
}

// clusterID is the id of the cluster this node belongs to; empty: it has not heard of it yet.
func (b *Broker) clusterID() string { return *b.cluster.Load() }

// learnCluster writes down the id of the cluster this node has found itself in; a node of another one ends (bad input
// 149).
func (b *Broker) learnCluster(id string) error {
	switch known := b.clusterID(); {
	case id == "" || id == known:
		return nil
	case known != "":
		return fmt.Errorf("%w: the controllers are of cluster %s, the data in log.dirs of %s", ErrConfig, id, known)
	}
	for i := range b.dirs {
		d := &b.dirs[i] // read by others meanwhile: what was read at the start stays as it is
		meta := d.meta
		meta.ClusterID = id
		if err := segment.WriteMeta(b.cfg.FS, d.path, meta); err != nil {
			return fmt.Errorf("%w: %s: %w", ErrDisk, d.path, err)
		}
	}
	b.cluster.Store(&id)
	return nil
}

// readDir makes a data directory if it is missing and reads its meta.properties.
func (b *Broker) readDir(path string) (dataDir, error) {
	d := dataDir{path: path}
	if err := vfs.MkdirAllSync(b.cfg.FS, path); err != nil {
		return d, fmt.Errorf("%w: log.dirs=%s: %w", ErrDisk, path, err)
	}
	meta, found, err := segment.ReadMeta(b.cfg.FS, path)
	switch {
	case err != nil:
		return d, fmt.Errorf("%w: %s: %w", ErrConfig, filepath.Join(path, "meta.properties"), err)
	case found && meta.NodeID != int32(b.cfg.NodeID):
		return d, fmt.Errorf("%w: node.id=%d: %s belongs to node %d; set node.id=%d or choose another directory",
			ErrConfig, b.cfg.NodeID, path, meta.NodeID, meta.NodeID)
	}
	d.id, d.meta = meta.DirectoryID, meta
	return d, nil
}

// formatDir gives a directory without an id its meta.properties, under the directory's lock: the partition set takes that
// lock for good only when it opens.
func (b *Broker) formatDir(d *dataDir) error {
	lock, err := b.cfg.FS.Lock(filepath.Join(d.path, ".lock"))
	if err != nil {
		return lockError(d.path, err)
	}
	defer lock.Close()
	if d.meta.ClusterID == b.clusterID() && !d.id.IsZero() {
		return nil
	}
	if d.id.IsZero() { // Kafka before 3.7 gave directories none
		d.id = metadata.DirID(newUUID())
	}
	d.meta = segment.Meta{NodeID: int32(b.cfg.NodeID), ClusterID: b.clusterID(), DirectoryID: d.id}
	if err := segment.WriteMeta(b.cfg.FS, d.path, d.meta); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrDisk, d.path, err)
	}
	return nil
}

// newUUID is a random id that is not reserved; one that is would be refused at the registration.
func newUUID() metadata.UUID {
	for {
		var id metadata.UUID
		rand.Read(id[:]) // never fails: crypto/rand ends the process instead
		if !id.Reserved() {
			return id
		}
	}
}

// lockError names the process that holds a directory.
func lockError(path string, err error) error {
	var locked *vfs.LockedError
	if errors.As(err, &locked) {
		return fmt.Errorf("%w: %s is in use by process %d; stop it or choose another directory", ErrLocked, path, locked.PID)
	}
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		return fmt.Errorf("%w: log.dirs=%s: %w", ErrDisk, path, err)
	}
	return fmt.Errorf("%w: %s: %w", ErrDisk, path, err)
}

// openPartitions locks the directories and recovers the logs in them.
func (b *Broker) openPartitions() error {
	began := time.Now()
	set, err := partition.Open(partition.Config{
		Self: b.cfg.NodeID, Dirs: b.cfg.LogDirs, FS: b.cfg.FS, Codecs: b.codecs, Log: b.log.Named("partitions"), Now: b.cfg.Now,
		Defaults: b.cfg.Topic, JournalLimit: journalLimit, RecoveryThreads: b.cfg.RecoveryThreads, DiskStall: b.cfg.DiskStall, ProbeInterval: b.cfg.SessionTimeout / 2,
		ScrubInterval: b.cfg.ScrubInterval, CheckpointInterval: b.cfg.CheckpointInterval, RetentionInterval: b.cfg.RetentionCheck, InitialDelay: b.cfg.InitialTaskDelay,
		Progress: b.recovering(), DirFailed: b.dirFailed,
		Link: &replicaLink{b: b, sessions: map[laneKey]fetchLane{}}, MaxLag: b.cfg.ReplicaLag, FetchWait: b.cfg.ReplicaFetch.WaitMax,
		FetchMinBytes: b.cfg.ReplicaFetch.MinBytes, FetchBytes: b.cfg.ReplicaFetch.MaxBytes,
		FetchResponseBytes: b.cfg.ReplicaFetch.ResponseBytes, FetchBackoff: b.cfg.ReplicaFetch.Backoff,
		LeaderThrottle: b.cfg.LeaderThrottle, FollowerThrottle: b.cfg.FollowerThrottle, CopyThrottle: b.cfg.copyThrottle(), Moved: b.moved,
	})
	if err != nil {
		var locked *vfs.LockedError
		if errors.As(err, &locked) {
			return lockError(filepath.Dir(locked.Name), err)
		}
		return fmt.Errorf("%w: %w", ErrDisk, err)
	}
	b.partitions = set
	b.previousEpoch = cleanEpoch(set.Directories())
	b.log.Info("logs opened", zap.Duration("took", time.Since(began)), zap.Bool("clean", b.previousEpoch >= 0))
	return nil
}

// cleanEpoch is the broker epoch of the last clean stop, -1 unless every directory tells of the same one (R1).
func cleanEpoch(dirs []partition.Directory) int64 {
	epoch := int64(-1)
	for i, d := range dirs {
		if i > 0 && d.BrokerEpoch != epoch {
			return -1
		}
		epoch = d.BrokerEpoch
	}
	return epoch
}

// recovering logs progress once a second while logs are opened.
func (b *Broker) recovering() func(done, total int) {
	last := time.Now()
	return func(done, total int) {
		if time.Since(last) >= time.Second {
			last = time.Now()
			b.log.Info("opening logs", zap.Int("done", done), zap.Int("total", total))
		}
	}
}

// dirFailed is told when a data directory goes offline. Its partitions refuse by themselves; a process whose every
// directory is gone, or that lost the controller's, ends (R16).
func (b *Broker) dirFailed(path string, id metadata.DirID, err error) {
	b.log.Error("data directory offline", zap.String("dir", path), zap.Stringer("id", id), zap.Error(err))
	if path == b.cfg.LogDirs[0] || b.allFailed() {
		select {
		case b.fatal <- fmt.Errorf("%w: %s: %w", ErrDisk, path, err):
		default:
		}
	}
}

func (b *Broker) allFailed() bool {
	if b.partitions == nil {
		return false
	}
	for _, d := range b.partitions.Directories() {
		if d.Err == nil {
			return false
		}
	}
	return true
}

// abandon gives back what Open had taken before it failed.
func (b *Broker) abandon() {
	if b.partitions != nil {
		if err := b.partitions.Abandon(); err != nil {
			b.log.Warn("abandon", zap.Error(err))
		}
	}
	for _, l := range b.listeners {
		l.l.Drain()
	}
}
