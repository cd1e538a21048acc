package partition

import (
	"errors"
	"runtime"
	"time"

	"go.uber.org/zap"

	"cordwood/isr"
	"cordwood/metadata"
	"cordwood/protocol/record"
	"cordwood/segment"
	"cordwood/segment/vfs"
)

// Config is what a Set is told. Defaulted fills in what may be left out.
type Config struct {
	Self   metadata.NodeID
	Dirs   []string // log.dirs; made if missing
	FS     vfs.FS
	Codecs record.Codecs
	Log    *zap.Logger
	Now    func() time.Time // wall time of timestamps and retention

	Defaults        metadata.TopicConfig // of topics without overrides
	MaxDecompressed int64                // bound of one decompressed batch
	MaxOpenFiles    int                  // segment files kept open
	JournalLimit    int64                // bytes of a directory's journal; negative: no journal

	RecoveryThreads       int           // logs opened at once, per directory
	DiskStall             time.Duration // a write or sync that takes longer takes the directory offline (R16)
	ProbeInterval         time.Duration // between writes to an idle disk that show whether it hangs (R16); 0: none
	HighWatermarkInterval time.Duration // between checkpoints of high watermarks
	CheckpointInterval    time.Duration // between checkpoints of recovery points and log starts
	RetentionInterval     time.Duration // between retention passes
	ScrubInterval         time.Duration // in which every sealed segment is read once (R16); negative: never
	MendInterval          time.Duration // between tries to mend damaged ranges from other replicas
	ProducerInterval      time.Duration // between passes that forget idle producers
	InitialDelay          time.Duration // before the first retention pass
	ProducerExpiry        time.Duration // a producer idle for that long is forgotten

	Link               Link          // to the other brokers; nil: there are none
	MaxLag             time.Duration // replica.lag.time.max.ms
	FetchWait          time.Duration // replica.fetch.wait.max.ms
	FetchMinBytes      int           // replica.fetch.min.bytes
	FetchBytes         int           // replica.fetch.max.bytes, of one partition
	FetchResponseBytes int           // replica.fetch.response.max.bytes
	FetchBackoff       time.Duration // replica.fetch.backoff.ms: the longest pause after an error; they grow up to it
	StreamBytes        int           // of sealed segments asked for at once by a replica that is far behind; negative: never
	StreamSync         int           // bytes of them that are appended between two syncs
	LeaderThrottle     int64         // leader.replication.throttled.rate where no dynamic config says otherwise; 2^63-1: no limit
	FollowerThrottle   int64         // follower.replication.throttled.rate, as LeaderThrottle
	CopyThrottle       int64         // replica.alter.log.dirs.io.max.bytes.per.second; below 0: nothing is copied

	// Progress, if set, is told while logs are opened at start.
	Progress func(done, total int)
	// DirFailed, if set, is told once of each directory that goes offline. It must not call the Set.
	DirFailed func(path string, id metadata.DirID, err error)
	// Moved, if set, is told that a replica is in another directory than before. It must not call the Set.
	Moved func()
}

// Defaulted returns c with every zero value that has a default replaced.
func (c Config) Defaulted() Config {
	if c.FS == nil {
		c.FS = vfs.OS()
	}
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Defaults.SegmentBytes == 0 {
		c.Defaults = metadata.DefaultTopicConfig()
	}
	orInt64(&c.MaxDecompressed, 64<<20)
	orInt(&c.MaxOpenFiles, segment.DefaultOpenFiles)
	orInt64(&c.JournalLimit, segment.DefaultJournalBytes)
	orInt(&c.RecoveryThreads, max(2, runtime.GOMAXPROCS(0)))
	orDuration(&c.DiskStall, 5*time.Second)
	orDuration(&c.HighWatermarkInterval, 5*time.Second)
	orDuration(&c.CheckpointInterval, time.Minute)
	orDuration(&c.RetentionInterval, 5*time.Minute)
	orDuration(&c.ScrubInterval, 7*24*time.Hour)
	orDuration(&c.MendInterval, 30*time.Second)
	orDuration(&c.ProducerInterval, 10*time.Minute)
	orDuration(&c.InitialDelay, 30*time.Second)
	orDuration(&c.ProducerExpiry, 24*time.Hour)
	orDuration(&c.MaxLag, isr.DefaultMaxLag)
	orDuration(&c.FetchWait, 500*time.Millisecond)
	orInt(&c.FetchMinBytes, 1)
	orInt(&c.FetchBytes, 1<<20)
	orInt(&c.FetchResponseBytes, 10<<20)
	orDuration(&c.FetchBackoff, time.Second)
	orInt(&c.StreamBytes, 4<<20)
	orInt(&c.StreamSync, 64<<20)
	orInt64(&c.CopyThrottle, noThrottle)
	return c
}

// Validate refuses what cannot work.
func (c *Config) Validate() error {
	switch {
	case len(c.Dirs) == 0:
		return errors.New("no log directory")
	case c.Self < 0:
		return errors.New("no node id")
	}
	return nil
}

func orInt(v *int, d int) {
	if *v == 0 {
		*v = d
	}
}

func orInt64(v *int64, d int64) {
	if *v == 0 {
		*v = d
	}
}

func orDuration(v *time.Duration, d time.Duration) {
	if *v == 0 {
		*v = d
	}
}

// settings is a topic's configuration in the words of the rooms that use it. It is replaced, never changed.
type settings struct {
	topic   metadata.TopicConfig
	rules   record.Rules
	segment segment.Config
}

func (s *Set) settingsOf(img *metadata.Image, name string) *settings {
	overrides := img.Config(metadata.ResourceTopic, name)
	if len(overrides) == 0 {
		return s.plain
	}
	c, err := s.plain.topic.With(overrides)
	if err != nil { // the controller validates; an image of a newer version may know more
		s.log.Error("topic config is not understood, defaults are used", zap.String("event", "CW-0510"), zap.String("topic", name), zap.Error(err))
		return s.plain
	}
	return s.settings(c)
}

func (s *Set) settings(c metadata.TopicConfig) *settings {
	return &settings{topic: c, rules: s.rules(&c), segment: s.segmentConfig(&c)}
}

func (s *Set) rules(c *metadata.TopicConfig) record.Rules {
	r := record.Rules{
		MaxBytes:        c.MaxMessageBytes,
		MaxDecompressed: s.cfg.MaxDecompressed,
		KeyRequired:     c.Compact,
		LogAppendTime:   c.LogAppendTime,
		BeforeMax:       c.TimestampBeforeMax.Milliseconds(),
		AfterMax:        c.TimestampAfterMax.Milliseconds(),
		Codecs:          s.cfg.Codecs,
	}
	if c.Compression != metadata.CompressionProducer {
		r.Recompress, r.Compression = true, record.Codec(c.Compression)
	}
	switch c.Compression {
	case metadata.CompressionGzip:
		r.Level = c.GzipLevel
	case metadata.CompressionLZ4:
		r.Level = c.LZ4Level
	case metadata.CompressionZstd:
		r.Level = c.ZstdLevel
	}
	return r
}

func (s *Set) segmentConfig(c *metadata.TopicConfig) segment.Config {
	l := segment.DefaultConfig()
	l.SegmentBytes, l.SegmentAge, l.SegmentJitter = c.SegmentBytes, c.SegmentAge, c.SegmentJitter
	l.IndexInterval, l.IndexBytes = c.IndexInterval, c.SegmentIndexBytes
	l.RetentionBytes, l.RetentionAge = c.RetentionBytes, c.Retention
	l.DeleteDelay = c.FileDeleteDelay
	l.MaxMessageBytes = c.MaxMessageBytes
	l.Preallocate = c.Preallocate
	l.Compact, l.Delete = c.Compact, c.Delete
	l.ProducerExpiry = s.cfg.ProducerExpiry
	return l
}
