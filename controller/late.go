package controller

import (
	"slices"
	"time"

	"cordwood/metadata"

	"go.uber.org/zap"
)

// judgeLate looks who is late by now, and tells.
func (n *Node) judgeLate(now time.Time) {
	img := n.Image()
	n.sessions.mu.Lock()
	n.sessions.s.Judge(img, now)
	news, late := n.tellLate(img), n.sessions.late
	n.sessions.mu.Unlock()
	if news && len(late) > 0 {
		n.log.Info("brokers are late: clients are not told of them", zap.String("event", "CW-0422"), zap.Any("brokers", late))
	}
}

// tellLate wakes the feeds if others are late than were before; sessions.mu is held.
func (n *Node) tellLate(img *metadata.Image) (news bool) {
	late := n.sessions.s.Late(img)
	if slices.Equal(late, n.sessions.late) {
		return false
	}
	n.sessions.late = late
	close(n.sessions.lateMoved)
	n.sessions.lateMoved = make(chan struct{})
	return true
}

// late is who is late, and what is closed when that changes.
func (n *Node) late() ([]metadata.NodeID, <-chan struct{}) {
	n.sessions.mu.Lock()
	defer n.sessions.mu.Unlock()
	return n.sessions.late, n.sessions.lateMoved
}
