package group

import (
	"errors"

	"github.com/twmb/franz-go/pkg/kbin"
)

var errSubscription = errors.New("subscription is not the consumer protocol's")

// learnSubscriptions reads what the members of the generation subscribe to.
func (g *group) learnSubscriptions() {
	g.subscribed, g.subscribedKnown = nil, false
	if !g.isConsumer() {
		return
	}
	topics := map[string]struct{}{}
	if len(g.members) > 0 {
		if g.protocol == nil {
			return
		}
		for _, p := range g.members {
			if err := readSubscription(p.metadata(*g.protocol), topics); err != nil {
				return
			}
		}
	}
	g.subscribed, g.subscribedKnown = topics, true
}

// readSubscription adds the topics of a ConsumerProtocolSubscription. Every version begins as version 0 does: version,
// topics; what follows is not looked at, so that a later version is understood, too.
func readSubscription(b []byte, topics map[string]struct{}) error {
	r := kbin.Reader{Src: b}
	if r.Int16() < 0 {
		return errSubscription
	}
	n := r.ArrayLen()
	for range max(n, 0) {
		if t := r.String(); r.Ok() {
			topics[t] = struct{}{}
		} else {
			break
		}
	}
	if !r.Ok() {
		return errSubscription
	}
	return nil
}
