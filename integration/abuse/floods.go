package abuse

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/protocol/record"
)

// floods is what section J has on a single connection; the rest of it needs a process of its own.
func floods(g *Ground) []Case {
	return []Case{
		{Number: 131, Name: "a byte every 5 seconds", Cost: Slow, Play: slowloris},
		{Number: 133, Name: "max_wait and min_bytes of 2^31-1, and a client that goes", Play: parkAndGo},
		{Number: 133, Name: "min_bytes of 2^31-1 and max_bytes of 1", Play: g.cappedMinimum},
		{Number: 134, Name: "max_bytes of 2^31-1 on 10,000 partitions", Cost: Heavy, Play: g.widest},
		{Number: 135, Name: "a fetch session for each", Play: newSession},
		{Number: 136, Name: "a group of its own", Play: joinOnce},
		{Number: 136, Name: "7 MiB of metadata", Cost: Heavy, Play: refuses(kerr.GroupMaxSizeReached, ask(fatJoin(7<<20)), joinCode)},
		{Number: 136, Name: "10 MiB of metadata", Cost: Heavy, Play: closes(request(fatJoin(10<<20), 1))},
		{Number: 138, Name: "InitProducerId", Play: accepts(ask(kmsg.NewPtrInitProducerIDRequest()), func(r kmsg.Response) int16 {
			return r.(*kmsg.InitProducerIDResponse).ErrorCode
		})},
		{Number: 142, Name: "ListOffsets of -9", Play: noSuchTime},
		{Number: 142, Name: "OffsetForLeaderEpoch of -5", Play: noSuchEpoch},
		{Number: 143, Name: "OffsetCommit with 31 KiB of metadata",
			Play: refuses(kerr.OffsetMetadataTooLarge, ask(commit("victims", "victim", 1, strings.Repeat("m", 31<<10))), commitCode)},
		{Number: 143, Name: "OffsetCommit with 1 MiB of metadata", Cost: Heavy, Play: closes(request(commit("victims", "victim", 1, strings.Repeat("m", 1<<20)), 1))},
		{Number: 143, Name: "OffsetCommit of -1", Play: refuses(kerr.InvalidRequest, ask(commit("victims", "victim", -1, "")), commitCode)},
		{Number: 143, Name: "OffsetCommit of 2^63-1", Play: accepts(ask(commit("victims", "victim", math.MaxInt64, "")), commitCode)},
		{Number: 144, Name: "DeleteRecords above the high watermark", Play: refuses(kerr.OffsetOutOfRange, ask(deleteRecords(1<<40)), deleteRecordsCode)},
		{Number: 144, Name: "DeleteRecords of -2", Play: refuses(kerr.OffsetOutOfRange, ask(deleteRecords(-2)), deleteRecordsCode)},
	}
}

// slowloris sends a request so slowly that the deadline of a frame comes first.
func slowloris(c *Conn) error {
	for _, b := range request(metadata(false, "victim", "victim", "victim"), 1) {
		if _, err := c.Write([]byte{b}); err != nil {
			return nil // closed
		}
		if err := c.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
			return err
		}
		if err := c.Closed(); err == nil || err.Error() != "left open" {
			return err
		}
	}
	return fmt.Errorf("left open")
}

// parkAndGo asks for what will never come. The broker must notice that nobody waits.
func parkAndGo(c *Conn) error {
	q := fetch(12, math.MaxInt32, math.MaxInt32, math.MaxInt32, part{topic: "victim", offset: 1, most: math.MaxInt32})
	if err := c.Send(q); err != nil {
		return err
	}
	if err := c.SetReadDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
		return err
	}
	if err := c.Closed(); err == nil || err.Error() != "left open" {
		return fmt.Errorf("not parked: %v", err)
	}
	return nil
}

// cappedMinimum is answered at once: no more than max_bytes can come.
func (g *Ground) cappedMinimum(c *Conn) error {
	resp, err := c.Ask(fetch(12, math.MaxInt32, math.MaxInt32, 1, part{topic: "victim", most: 1}))
	if err != nil {
		return err
	}
	if len(fetched(resp)[0].RecordBatches) == 0 {
		return fmt.Errorf("no records")
	}
	return c.Alive()
}

// widest is bounded by fetch.max.bytes, and one batch beyond.
func (g *Ground) widest(c *Conn) error {
	var parts []part
	for i := range int32(10_000) {
		parts = append(parts, part{topic: "wide", index: i % 64, most: math.MaxInt32})
	}
	resp, err := c.Ask(fetch(12, 0, 0, math.MaxInt32, parts...))
	if err != nil {
		return err
	}
	total := 0
	for _, p := range fetched(resp) {
		if err := is(p.ErrorCode, nil); err != nil {
			return err
		}
		total += len(p.RecordBatches)
	}
	if total == 0 || total > g.MaxFetch+wideBatch+record.Overhead+100 {
		return fmt.Errorf("%d bytes of records", total)
	}
	return nil
}

// newSession makes a session and forgets it.
func newSession(c *Conn) error {
	q := fetch(12, 0, 0, 1<<20, part{topic: "victim", most: 1 << 20})
	q.SessionEpoch = 0
	resp, err := c.Ask(q)
	if err != nil {
		return err
	}
	return is(resp.(*kmsg.FetchResponse).ErrorCode, nil)
}

// joinOnce asks to join a group that nobody else knows, and goes. Before the bound the answer is a member id.
func joinOnce(c *Conn) error {
	if _, err := c.Ask(find("x")); err != nil {
		return err
	}
	resp, err := c.Ask(join(fmt.Sprintf("flood-%d", time.Now().UnixNano()), ""))
	if err != nil {
		return err
	}
	if code := joinCode(resp); code != kerr.MemberIDRequired.Code && code != kerr.GroupMaxSizeReached.Code {
		return is(code, kerr.GroupMaxSizeReached)
	}
	return nil
}

func fatJoin(size int) *kmsg.JoinGroupRequest {
	q := join("victims", "")
	q.Protocols[0].Metadata = make([]byte, size)
	return q
}

func noSuchTime(c *Conn) error {
	q := listOffsets(1)
	q.Topics[0].Partitions[0].Timestamp = -9
	resp, err := c.Ask(q)
	if err != nil {
		return err
	}
	if p := resp.(*kmsg.ListOffsetsResponse).Topics[0].Partitions[0]; p.ErrorCode != 0 || p.Offset != -1 || p.Timestamp != -1 {
		return fmt.Errorf("answered %+v", p)
	}
	return c.Alive()
}

func noSuchEpoch(c *Conn) error {
	q := kmsg.NewPtrOffsetForLeaderEpochRequest()
	q.Version, q.ReplicaID = 4, -1
	t := kmsg.NewOffsetForLeaderEpochRequestTopic()
	t.Topic = "victim"
	p := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
	p.CurrentLeaderEpoch, p.LeaderEpoch = -1, -5
	t.Partitions = append(t.Partitions, p)
	q.Topics = append(q.Topics, t)
	resp, err := c.Ask(q)
	if err != nil {
		return err
	}
	if p := resp.(*kmsg.OffsetForLeaderEpochResponse).Topics[0].Partitions[0]; p.ErrorCode != 0 || p.LeaderEpoch != -1 || p.EndOffset != -1 {
		return fmt.Errorf("answered %+v", p)
	}
	return c.Alive()
}

func deleteRecords(offset int64) *kmsg.DeleteRecordsRequest {
	q := kmsg.NewPtrDeleteRecordsRequest()
	q.Version, q.TimeoutMillis = 2, 1000
	t := kmsg.NewDeleteRecordsRequestTopic()
	t.Topic = "victim"
	p := kmsg.NewDeleteRecordsRequestTopicPartition()
	p.Offset = offset
	t.Partitions = append(t.Partitions, p)
	q.Topics = append(q.Topics, t)
	return q
}

func deleteRecordsCode(r kmsg.Response) int16 {
	return r.(*kmsg.DeleteRecordsResponse).Topics[0].Partitions[0].ErrorCode
}
