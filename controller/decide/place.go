package decide

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"

	"cordwood/metadata"

	"github.com/twmb/franz-go/pkg/kerr"
)

// placer gives partitions their replicas: leaders go round all live brokers that stay, followers are
// shifted by one more with every round so that the same brokers do not always follow the
// same leader, and no rack gets a second replica before every rack has one.
type placer struct {
	brokers []*metadata.Broker // that may be given replicas, racks taking turns
	racks   int
	use     *dirUse // replicas per directory
	start   int
	leaving int // live brokers that are being decommissioned
}

// newPlacer starts at a place that depends on the topic's (random) id, so that not every
// topic's first partition is led by the same broker.
func newPlacer(img *metadata.Image, seed metadata.TopicID, use *dirUse) *placer {
	byRack := map[string][]*metadata.Broker{}
	var racks []string
	leaving := 0
	for b := range img.Brokers() {
		if !img.Placeable(b.ID) {
			if b.Live() {
				leaving++
			}
			continue
		}
		if byRack[b.Rack] == nil {
			racks = append(racks, b.Rack)
		}
		byRack[b.Rack] = append(byRack[b.Rack], b)
	}
	slices.Sort(racks)
	p := &placer{racks: len(racks), use: use, leaving: leaving}
	for n := 0; len(racks) > 0; n++ {
		racks = slices.DeleteFunc(racks, func(r string) bool { return n >= len(byRack[r]) })
		for _, r := range racks {
			p.brokers = append(p.brokers, byRack[r][n])
		}
	}
	if len(p.brokers) > 0 {
		p.start = (int(seed[1])<<16 | int(seed[2])<<8 | int(seed[3])) % len(p.brokers)
	}
	return p
}

// dirUse counts the replicas of each directory, those of the request under way included.
// It looks at the image only when a broker has a choice.
type dirUse struct {
	img   *metadata.Image
	count map[metadata.DirID]int
}

// least takes the directory with the fewest replicas.
func (u *dirUse) least(dirs []metadata.DirID) metadata.DirID {
	if len(dirs) == 1 {
		return dirs[0]
	}
	if u.count == nil {
		u.count = map[metadata.DirID]int{}
		for t := range u.img.Topics() {
			for _, p := range t.Partitions {
				for _, d := range p.Dirs {
					u.count[d]++
				}
			}
		}
	}
	d := slices.MinFunc(dirs, func(a, b metadata.DirID) int {
		return cmp.Or(cmp.Compare(u.count[a], u.count[b]), bytes.Compare(a[:], b[:]))
	})
	u.count[d]++
	return d
}

// fits tells whether the live brokers can hold so many replicas of a partition.
func (p *placer) fits(factor int) *Refusal {
	switch {
	case len(p.brokers) == 0:
		return refuse(kerr.InvalidReplicationFactor, "Unable to replicate the partition %d time(s): All brokers are currently fenced.%s", factor, p.note())
	case factor > len(p.brokers):
		return refuse(kerr.InvalidReplicationFactor, "Unable to replicate the partition %d time(s): The target replication factor of %d cannot be reached because only %d broker(s) are registered.%s",
			factor, factor, len(p.brokers), p.note())
	}
	return nil
}

// note says what an operator may have forgotten.
func (p *placer) note() string {
	if p.leaving == 0 {
		return ""
	}
	return fmt.Sprintf(" %d more are being decommissioned and take no new replicas.", p.leaving)
}

// place returns the replicas of partition index, the leader first. fits must hold.
func (p *placer) place(index, factor int) []metadata.NodeID {
	n := len(p.brokers)
	first, shift := (p.start+index)%n, (p.start+index)/n*p.racks
	chosen := []*metadata.Broker{p.brokers[first]}
	for k := 0; len(chosen) < factor; k++ {
		// After n-1 steps every broker was looked at: racks may repeat from then on.
		b := p.brokers[(first+1+(shift+k)%(n-1))%n]
		rackTaken := slices.ContainsFunc(chosen, func(c *metadata.Broker) bool { return c.Rack == b.Rack })
		if slices.Contains(chosen, b) || (rackTaken && k < n-1 && len(chosen) < p.racks) {
			continue
		}
		chosen = append(chosen, b)
	}
	out := make([]metadata.NodeID, factor)
	for i, b := range chosen {
		out[i] = b.ID
	}
	return out
}

// directories picks the directory of each replica; nil when no broker has told any.
func (p *placer) directories(replicas []metadata.NodeID) []metadata.DirID {
	out, told := make([]metadata.DirID, len(replicas)), false
	for i, id := range replicas {
		if b := p.use.img.Broker(id); b != nil && len(b.Dirs) > 0 {
			out[i], told = p.use.least(b.Dirs), true
		}
	}
	if !told {
		return nil
	}
	return out
}
