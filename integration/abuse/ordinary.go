package abuse

import (
	"fmt"
	"math/rand/v2"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Ordinary is what an honest client does that is in a hurry, with a connection for each play as in the bad inputs: the
// measure of what a busy neighbour costs others.
func Ordinary(g *Ground) []Case {
	rng := rand.New(rand.NewPCG(1, 2))
	value := make([]byte, 900<<10)
	for i := range value {
		value[i] = byte(rng.Uint32() & 0x0f)
	}
	list := []Case{
		{Name: "a record of 100 bytes", Play: takes(good(100))},
		{Name: "a batch of 900 KiB", Cost: Heavy, Play: takes(wrap(0, 1, recordOf(0, key, value)))},
		{Name: "metadata of all topics", Play: everyTopic},
		{Name: "a fetch of a megabyte", Cost: Heavy, Play: g.readsWide},
	}
	for _, codec := range packers {
		batch := wrap(int16(codec), 1, packed(codec, 0, recordOf(0, key, value)))
		list = append(list, Case{Name: fmt.Sprintf("a batch of 900 KiB, %v", codec), Cost: Heavy, Play: takes(batch)})
	}
	for i := range list {
		list[i].Section = 'O'
	}
	return list
}

// takes produces to the topic that forgets.
func takes(batch []byte) func(*Conn) error {
	return func(c *Conn) error {
		resp, err := c.Ask(produce("sink", batch))
		if err != nil {
			return err
		}
		return is(produced(resp), nil)
	}
}

func everyTopic(c *Conn) error {
	q := metadata(false)
	q.Topics = nil
	resp, err := c.Ask(q)
	if err != nil {
		return err
	}
	if got := len(resp.(*kmsg.MetadataResponse).Topics); got < len(topics) {
		return fmt.Errorf("%d topics", got)
	}
	return nil
}

// readsWide fetches all partitions of a topic, up to fetch.max.bytes.
func (g *Ground) readsWide(c *Conn) error {
	var parts []part
	for i := range int32(64) {
		parts = append(parts, part{topic: "wide", index: i, most: 1 << 20})
	}
	resp, err := c.Ask(fetch(12, 0, 0, int32(g.MaxFetch), parts...))
	if err != nil {
		return err
	}
	for _, p := range fetched(resp) {
		if err := is(p.ErrorCode, nil); err != nil {
			return err
		}
	}
	return nil
}
