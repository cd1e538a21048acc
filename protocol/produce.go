package protocol

// producePartitionMemory is what serving one partition may take besides its
// record bytes: a result, an append, a place in the reply. A partition with the
// smallest batch there is brings that much budget along; a frame stuffed with
// empty partitions does not (bad input 33).
const producePartitionMemory = 256

// ProduceRequest reads a Produce request in place, v3-v13:
//
//	transactional id nullable string | acks int16 | timeout int32 | topics:
//	  topic string (v13: uuid) | partitions: index int32 | records nullable bytes
//
// from v9 on compact, with tags. A value may be used again and again; it
// allocates nothing (P5). All slices alias the body (P6).
type ProduceRequest struct {
	Version         int16
	TransactionalID []byte // nil is null
	Acks            int16
	TimeoutMillis   int32
	Topics          int // including topics without partitions
	Partitions      int

	first cursor // before the first topic
	next  cursor // before the next partition or topic
	topic topicHead
	rest  int // partitions left in this topic
	heads int // topics left
}

// topicHead is what names a topic: the id from v13 on, the name before.
type topicHead struct {
	name []byte
	id   [16]byte
}

// ProducePartition is one partition of a Produce request.
type ProducePartition struct {
	Topic    []byte // before v13
	TopicID  [16]byte
	NewTopic bool // the first partition of its topic
	Index    int32
	Records  []byte // nil is null
}

// Decode reads the head of a body and checks all of it. After an error, which is
// a *CloseError, there is nothing to iterate over.
func (r *ProduceRequest) Decode(version int16, body []byte) error {
	*r = ProduceRequest{Version: version}
	c := cursor{b: body}
	flexible := version >= 9
	r.TransactionalID = c.text(flexible, true)
	r.Acks = c.int16()
	r.TimeoutMillis = c.int32()
	r.first = c
	r.Rewind()
	budget := budgetFactor*int64(len(body)) + budgetBase
	var p ProducePartition
	for r.Next(&p) {
		r.Partitions++
		if budget -= producePartitionMemory; budget < 0 {
			r.next.fail(ReasonBudget)
		}
	}
	c = r.next
	if flexible {
		c.skipTags()
	}
	if !c.bad && c.left() > 0 {
		c.fail(ReasonTrailing)
	}
	if c.bad {
		*r = ProduceRequest{Version: version}
		return c.close(int16(Produce), version)
	}
	r.Rewind()
	return nil
}

// Rewind lets Next begin again at the first partition.
func (r *ProduceRequest) Rewind() {
	r.next, r.rest = r.first, 0
	r.heads = max(r.next.array(r.Version >= 9, false, 3), 0) // a topic: name, count and tags, one byte each
	r.Topics = r.heads
}

// Next puts the next partition into p. Topics without partitions are passed over.
func (r *ProduceRequest) Next(p *ProducePartition) bool {
	c, flexible := &r.next, r.Version >= 9
	p.NewTopic = false
	for r.rest == 0 {
		if r.heads == 0 || c.bad {
			return false
		}
		r.heads--
		r.topic.read(c, flexible, r.Version >= 13)
		r.rest = max(c.array(flexible, false, 5), 0)
		p.NewTopic = true
		if r.rest == 0 && flexible {
			c.skipTags()
		}
	}
	r.rest--
	p.Topic, p.TopicID = r.topic.name, r.topic.id
	p.Index = c.int32()
	p.Records = c.bytes(flexible, true)
	if flexible {
		c.skipTags()
		if r.rest == 0 {
			c.skipTags() // the topic's
		}
	}
	return !c.bad
}

func (t *topicHead) read(c *cursor, flexible, byID bool) {
	if byID {
		t.id = c.uuid()
	} else {
		t.name = c.text(flexible, false)
	}
}
