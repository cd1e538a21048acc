package abuse

import (
	"fmt"
	"reflect"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/protocol"
)

// repeated is bad input 46: one thing 10,000 times in a request. The time must be linear, so the play's own bound is
// the check; what is written must be written once or not at all.
func repeated(*Ground) []Case {
	const times = 10_000
	names := make([]string, times)
	for i := range names {
		names[i] = "victim"
	}
	parts := make([]part, times)
	for i := range parts {
		parts[i] = part{topic: "victim", most: 1}
	}
	return []Case{
		{Number: 46, Name: "Metadata of one topic", Cost: Heavy, Play: accepts(ask(metadata(true, names...)), metadataCode)},
		{Number: 46, Name: "Fetch of one partition", Cost: Heavy, Play: accepts(ask(fetch(12, 0, 0, 1<<20, parts...)), fetchCode)},
		{Number: 46, Name: "CreateTopics of one topic", Cost: Heavy, Play: refuses(kerr.InvalidRequest, ask(create(names...)), createCode)},
		{Number: 46, Name: "DeleteTopics of one topic", Cost: Heavy, Play: refuses(kerr.InvalidRequest, ask(remove(names...)), removeCode)},
		{Number: 46, Name: "ListOffsets of one partition", Cost: Heavy, Play: refuses(kerr.InvalidRequest, ask(listOffsets(times)), func(r kmsg.Response) int16 {
			return r.(*kmsg.ListOffsetsResponse).Topics[0].Partitions[0].ErrorCode
		})},
		{Number: 46, Name: "Produce to one partition, bad batches", Cost: Heavy, Play: producedTwice},
	}
}

func listOffsets(times int) *kmsg.ListOffsetsRequest {
	q := kmsg.NewPtrListOffsetsRequest()
	q.Version = 7
	t := kmsg.NewListOffsetsRequestTopic()
	t.Topic = "victim"
	for range times {
		p := kmsg.NewListOffsetsRequestTopicPartition()
		p.Timestamp = -1
		t.Partitions = append(t.Partitions, p)
	}
	q.Topics = append(q.Topics, t)
	return q
}

// producedTwice: 1,000 mentions of one partition, each with a damaged batch, are 1,000 refusals.
func producedTwice(c *Conn) error {
	bad := good(10)
	bad[len(bad)-1] ^= 1
	q := produce("victim", bad)
	for range 999 {
		q.Topics[0].Partitions = append(q.Topics[0].Partitions, q.Topics[0].Partitions[0])
	}
	resp, err := c.Ask(q)
	if err != nil {
		return err
	}
	for _, p := range resp.(*kmsg.ProduceResponse).Topics[0].Partitions {
		if err := is(p.ErrorCode, kerr.CorruptMessage); err != nil {
			return err
		}
	}
	return c.Alive()
}

// everyAPI is bad input 36: in every version of every API, every array empty, then null where it may be, then with one
// element that names nothing. Each is answered.
func everyAPI() []Case {
	var cases []Case
	for _, api := range protocol.APIs() {
		if api.Listeners&protocol.Client == 0 {
			continue
		}
		var all []kmsg.Request
		for version := api.Min; version <= api.Max; version++ {
			for _, fill := range []func(reflect.Value){empty, func(reflect.Value) {}, strange} {
				q := kmsg.RequestForKey(int16(api.Key))
				q.SetVersion(version)
				if d, ok := q.(interface{ Default() }); ok {
					d.Default()
				}
				fill(reflect.ValueOf(q).Elem())
				settle(q)
				all = append(all, q)
			}
		}
		cases = append(cases, Case{Number: 36, Name: api.Name + ", arrays empty, null and strange", Play: func(c *Conn) error {
			for i, q := range all {
				if _, err := c.Ask(q); err != nil {
					return fmt.Errorf("version %d, the %d. of three: %w", q.GetVersion(), i%3+1, err)
				}
			}
			return c.Alive()
		}})
	}
	return cases
}

// empty makes every array of a message one without elements.
func empty(v reflect.Value) {
	for i := range v.NumField() {
		if f := v.Field(i); f.Kind() == reflect.Slice && f.CanSet() {
			f.Set(reflect.MakeSlice(f.Type(), 0, 0))
		}
	}
}

// strange gives every array one element, in which numbers are -5 and names are of nothing that exists.
func strange(v reflect.Value) {
	for i := range v.NumField() {
		f := v.Field(i)
		if !f.CanSet() || v.Type().Field(i).Name == "Version" {
			continue
		}
		switch f.Kind() {
		case reflect.Slice:
			if f.Type().Elem().Kind() == reflect.Uint8 {
				continue
			}
			one := reflect.MakeSlice(f.Type(), 1, 1)
			element(one.Index(0))
			f.Set(one)
		default:
			element(f)
		}
	}
}

func element(v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		if d, ok := v.Addr().Interface().(interface{ Default() }); ok {
			d.Default()
		}
		strange(v)
	case reflect.String:
		v.SetString("no-such-thing")
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(-5)
	}
}

// settle keeps a request from doing what takes long, or what gets no answer.
func settle(q kmsg.Request) {
	switch r := q.(type) {
	case *kmsg.ProduceRequest:
		r.Acks = 1
	case *kmsg.FetchRequest:
		r.ReplicaID, r.MaxWaitMillis = -1, 0
		r.ReplicaState.ID = -1
	}
}
