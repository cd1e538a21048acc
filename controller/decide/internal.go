package decide

import (
	"slices"

	"cordwood/metadata"
)

// raiseInternal gives internal topics the replicas there were too few brokers for when they were made: group offsets
// of a cluster that began as one node must not stay on one disk. It is a reassignment that only adds, decided on the
// image with changes applied. What an operator is just moving away from somewhere is left alone.
func raiseInternal(img *metadata.Image, rules *Rules, changes []metadata.Change) []metadata.Change {
	var out []metadata.Change
	after := img
	use := &dirUse{}
	for _, name := range []string{metadata.OffsetsTopic, metadata.TransactionsTopic, metadata.ShareStateTopic} {
		if img.Topic(name) == nil {
			continue
		}
		if after == img {
			var err error
			if after, err = img.With(img.Index()+1, changes); err != nil {
				return nil // they are refused as they are, too
			}
			use.img = after
		}
		out = append(out, raise(after, after.Topic(name), rules, use)...)
	}
	return out
}

func raise(img *metadata.Image, t *metadata.Topic, rules *Rules, use *dirUse) []metadata.Change {
	var out []metadata.Change
	placer := newPlacer(img, t.ID, use)
	want := rules.internalFactor(t.Name, len(placer.brokers))
	r := reassigner{img: img, req: &AlterReassignmentsRequest{AllowFactorChange: true, Rules: rules}, use: use}
	for n, p := range t.Partitions {
		if len(p.Removing) > 0 || len(p.Replicas) >= want {
			continue
		}
		change, err := r.decide(&Reassignment{Topic: t.Name, Index: int32(n), Replicas: placer.extend(n, p.Replicas, want)})
		if err == nil && change != nil {
			out = append(out, change)
		}
	}
	return out
}

// extend returns replicas for partition index as place would choose them, but with all that it has already. The new
// ones may come first: that moves preferred leaders to brokers that had none.
func (p *placer) extend(index int, have []metadata.NodeID, factor int) []metadata.NodeID {
	out := p.place(index, factor)
	for _, n := range have {
		if slices.Contains(out, n) {
			continue
		}
		for at := len(out) - 1; at >= 0; at-- {
			if !slices.Contains(have, out[at]) {
				out[at] = n
				break
			}
		}
	}
	return out
}
