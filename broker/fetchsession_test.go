package broker

import (
	"testing"

	"cordwood/protocol"
)

// A follower whose epochs the leader does not know is told to start over: epoch -1 and an end. Left out of the answer, as what
// has not changed is, it would ask again at once, for ever.
func TestWhereAHistoryEndsIsAlwaysNewsInASession(t *testing.T) {
	p := &sessionPartition{toldHighWatermark: 7, toldLogStart: 3}
	var out protocol.FetchedPartition
	out.Clear()
	out.HighWatermark, out.LogStart = 7, 3
	if p.news(&out) {
		t.Error("nothing has changed, and yet it is told")
	}
	out.Diverging.End = 3
	for range 2 {
		if !p.news(&out) {
			t.Error("the end of the history is not told")
		}
	}
	out.Clear()
	out.HighWatermark, out.LogStart = 7, 3
	if !p.news(&out) {
		t.Error("the high watermark is not told after the history was mended")
	}
}
