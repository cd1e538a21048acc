package broker

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/zap"

	"cordwood/partition"
)

// The controller decides by the directories of replicas when a disk fails (R16), so it must know where they are:
//
//	image, or a replica that moved ──▶ Misplaced ──▶ AssignReplicasToDirs ──▶ active controller ──▶ image
//
// What is told is compared with the image each time: an answer that was lost is asked for again, and who said what when does not
// matter.
const (
	mostPlacements = 10_000 // told at once
	placementPause = 500 * time.Millisecond
)

// moved notes that a replica may be where the image does not have it.
func (b *Broker) moved() {
	select {
	case b.placed <- struct{}{}:
	default:
	}
}

// tellPlacements runs until ctx ends.
func (b *Broker) tellPlacements(ctx context.Context) error {
	for said := ""; ; {
		select {
		case <-b.placed:
		case <-ctx.Done():
			return nil
		}
		for b.epoch.Load() != 0 {
			all := b.partitions.Misplaced(b.image())
			if len(all) == 0 {
				break
			}
			answer, err := b.toController(ctx, b.placementsRequest(all))
			if err == nil {
				err = refusedBy(answer)
			}
			if err == nil {
				said = ""
				if b.awaitPlacements(ctx) {
					continue
				}
				return nil
			}
			if text := err.Error(); text != said && ctx.Err() == nil { // a line for each reason, not for each try
				said = text
				b.log.Warn("directories of replicas", zap.Error(err))
			}
			if !sleep(ctx, placementPause) {
				return nil
			}
		}
	}
}

// awaitPlacements waits for the next image, which may have what was told; false: ctx ended.
func (b *Broker) awaitPlacements(ctx context.Context) bool {
	t := time.NewTimer(placementPause)
	defer t.Stop()
	select {
	case <-b.placed: // an image is one, too
	case <-t.C:
	case <-ctx.Done():
		return false
	}
	return true
}

// placementsRequest tells where these replicas are.
func (b *Broker) placementsRequest(all []partition.Placement) *kmsg.AssignReplicasToDirsRequest {
	q := kmsg.NewPtrAssignReplicasToDirsRequest()
	q.BrokerID, q.BrokerEpoch = int32(b.cfg.NodeID), b.epoch.Load()
	dirs := map[[16]byte]int{}
	for _, m := range all[:min(len(all), mostPlacements)] {
		i, known := dirs[m.Dir]
		if !known {
			i, dirs[m.Dir] = len(q.Directories), len(q.Directories)
			d := kmsg.NewAssignReplicasToDirsRequestDirectory()
			d.ID = m.Dir
			q.Directories = append(q.Directories, d)
		}
		d := &q.Directories[i]
		if n := len(d.Topics); n == 0 || d.Topics[n-1].TopicID != m.Topic {
			t := kmsg.NewAssignReplicasToDirsRequestDirectoryTopic()
			t.TopicID = m.Topic
			d.Topics = append(d.Topics, t)
		}
		t := &d.Topics[len(d.Topics)-1]
		p := kmsg.NewAssignReplicasToDirsRequestDirectoryTopicPartition()
		p.Partition = m.Index
		t.Partitions = append(t.Partitions, p)
	}
	return q
}
