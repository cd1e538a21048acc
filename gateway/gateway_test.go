package gateway

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func listGroups(correlation int32) []byte {
	return requestFrame(kmsg.NewPtrListGroupsRequest(), correlation)
}

// number is an answer that tells which request it belongs to.
func number(r request) []byte { return binary.BigEndian.AppendUint32(nil, uint32(r.correlation)) }

func TestAnswersComeInOrderWithTheirBytes(t *testing.T) {
	b := newFakeBroker(t, 1, number)
	_, at := startGateway(t, nil, b.addr())
	c := dialTo(t, at.Brokers[1])
	const requests = 1000
	var sent []byte
	go func() {
		for i := range int32(requests) {
			f := listGroups(i * 7)
			sent = append(sent, f[4:]...)
			if _, err := c.Write(f); err != nil {
				return
			}
		}
	}()
	for i := range int32(requests) {
		if id, body := c.receive(); id != i*7 || int32(binary.BigEndian.Uint32(body)) != i*7 {
			t.Fatalf("answer %d has correlation id %d and body %x", i, id, body)
		}
	}
	var got []byte
	for _, r := range b.requests() {
		got = append(got, r.frame...)
	}
	if !bytes.Equal(got, sent) {
		t.Error("the broker saw other bytes")
	}
}

func TestEachAddressLeadsToItsBroker(t *testing.T) {
	who := func(id byte) func(request) []byte { return func(request) []byte { return []byte{id} } }
	one, two := newFakeBroker(t, 1, who(1)), newFakeBroker(t, 2, who(2))
	_, at := startGateway(t, nil, one.addr(), two.addr())
	for id := range int32(2) {
		c := dialTo(t, at.Brokers[id+1])
		c.send(listGroups(5))
		if _, body := c.receive(); !bytes.Equal(body, []byte{byte(id + 1)}) {
			t.Errorf("broker %d answers at the address of %d", body, id+1)
		}
	}
	c := dialTo(t, at.Listeners["PLAINTEXT"])
	c.send(listGroups(6))
	if _, body := c.receive(); len(body) != 1 {
		t.Errorf("nobody answers at the first address: %x", body)
	}
}

// A new broker gets its address with the very answer that names it.
func TestABrokerHasItsAddressBeforeAClientHearsOfIt(t *testing.T) {
	fresh := newFakeBroker(t, 7, number)
	host, port := fresh.host()
	b := newFakeBroker(t, 1, func(request) []byte {
		m := kmsg.NewPtrMetadataResponse()
		m.Version = 4
		m.Brokers = []kmsg.MetadataResponseBroker{{NodeID: 7, Host: host, Port: port}, {NodeID: -1, Host: "", Port: -1}}
		return m.AppendTo(nil)
	})
	g, at := startGateway(t, func(c *Config) { c.HealthInterval = time.Hour }, b.addr())
	c := dialTo(t, at.Listeners["PLAINTEXT"])
	q := kmsg.NewPtrMetadataRequest()
	q.Version = 4
	c.send(requestFrame(q, 1))
	_, body := c.receive()
	m := kmsg.NewPtrMetadataResponse()
	if m.Version = 4; m.ReadFrom(body) != nil || len(m.Brokers) != 2 || m.Brokers[1].Port != -1 {
		t.Fatalf("%+v", m)
	}
	named := net.JoinHostPort(m.Brokers[0].Host, strconv.Itoa(int(m.Brokers[0].Port)))
	if named == fresh.addr() {
		t.Fatal("the client learned the broker's own address")
	}
	c = dialTo(t, named)
	c.send(listGroups(9))
	if id, _ := c.receive(); id != 9 || len(fresh.requests()) != 1 {
		t.Error("the named address does not lead to the broker")
	}
	if addr, ok := g.nodes.addr(7); !ok || addr != fresh.addr() {
		t.Errorf("broker 7 is known at %q", addr)
	}
}

// fetchAnswer has so many bytes of records, then a broker.
func fetchAnswer(host string, port int32, records int) (*kmsg.FetchResponse, []byte) {
	bytes := make([]byte, records)
	for i := range bytes {
		bytes[i] = byte(rand.Uint32())
	}
	p := kmsg.NewFetchResponseTopicPartition()
	p.RecordBatches = bytes
	topic := kmsg.NewFetchResponseTopic()
	topic.Partitions = []kmsg.FetchResponseTopicPartition{p, p}
	r := kmsg.NewPtrFetchResponse()
	r.Version, r.Topics = 16, []kmsg.FetchResponseTopic{topic}
	r.Brokers = []kmsg.FetchResponseBroker{{NodeID: 1, Host: host, Port: port}}
	return r, append([]byte{0}, r.AppendTo(nil)...)
}

func TestRecordsOfEverySizePassAndTheBrokersBehindThemAreNamed(t *testing.T) {
	for _, records := range []int{0, 100, 16 << 10, 60 << 10, 200 << 10, 3 << 20} {
		t.Run(fmt.Sprint(records), func(t *testing.T) {
			want, body := fetchAnswer("10.9.9.9", 9, records)
			b := newFakeBroker(t, 1, func(request) []byte { return body })
			_, at := startGateway(t, nil, b.addr())
			c := dialTo(t, at.Brokers[1])
			q := kmsg.NewPtrFetchRequest()
			q.Version, q.ReplicaID = 16, -1
			for i := range int32(3) { // the connection is in step after each
				c.send(requestFrame(q, i))
				id, got := c.receive()
				r := kmsg.NewPtrFetchResponse()
				if r.Version = 16; id != i || r.ReadFrom(got[1:]) != nil {
					t.Fatal("no answer to Fetch")
				}
				for n, p := range r.Topics[0].Partitions {
					if !bytes.Equal(p.RecordBatches, want.Topics[0].Partitions[n].RecordBatches) {
						t.Fatalf("other records of partition %d", n)
					}
				}
				if len(r.Brokers) != 1 || r.Brokers[0].Host != "127.0.0.1" || r.Brokers[0].Port == 9 {
					t.Fatalf("brokers: %+v", r.Brokers)
				}
			}
		})
	}
}

func TestOnlyWhatTheGatewayPassesIsOffered(t *testing.T) {
	b := newFakeBroker(t, 1, func(r request) []byte {
		v := kmsg.NewPtrApiVersionsResponse()
		v.Version = r.version
		v.ApiKeys = []kmsg.ApiVersionsResponseApiKey{{ApiKey: 3, MaxVersion: 99}, {ApiKey: 56, MaxVersion: 3}, {ApiKey: 20001}}
		return v.AppendTo(nil)
	})
	_, at := startGateway(t, nil, b.addr())
	c := dialTo(t, at.Brokers[1])
	newer := []byte{0, 0, 0, 12, 0, 18, 0, 99, 0, 0, 0, 1, 0xff, 0xff, 0, 0} // no broker may see it
	q := kmsg.NewPtrApiVersionsRequest()
	q.Version = 4
	c.send(newer, requestFrame(q, 2))
	if id, body := c.receive(); id != 1 || binary.BigEndian.Uint16(body) != 35 {
		t.Errorf("a newer ApiVersions gets %x", body)
	}
	id, body := c.receive()
	v := kmsg.NewPtrApiVersionsResponse()
	if v.Version = 4; id != 2 || v.ReadFrom(body) != nil || len(v.ApiKeys) != 1 || v.ApiKeys[0].MaxVersion != 13 {
		t.Errorf("offered: %+v", v.ApiKeys)
	}
	if n := len(b.requests()); n != 1 {
		t.Errorf("the broker saw %d requests", n)
	}
}

func TestWhatMustNotPassEndsTheConnection(t *testing.T) {
	follower := kmsg.NewPtrFetchRequest()
	follower.Version, follower.ReplicaID = 11, 2
	newFollower := kmsg.NewPtrFetchRequest()
	newFollower.Version, newFollower.ReplicaState.ID = 17, 2
	for name, bytes := range map[string][]byte{
		"a follower's Fetch":       requestFrame(follower, 1),
		"a newer follower's Fetch": requestFrame(newFollower, 1),
		"AlterPartition":           {0, 0, 0, 10, 0, 56, 0, 3, 0, 0, 0, 1, 0xff, 0xff},
		"the metadata feed":        {0, 0, 0, 10, 0x4e, 0x21, 0, 0, 0, 0, 0, 1, 0xff, 0xff},
		"a newer Metadata":         {0, 0, 0, 10, 0, 3, 0, 14, 0, 0, 0, 1, 0xff, 0xff},
		"SaslHandshake 0":          {0, 0, 0, 10, 0, 17, 0, 0, 0, 0, 0, 1, 0xff, 0xff},
		"a length of 2 GB":         {0x7f, 0xff, 0xff, 0xff},
		"HTTP":                     []byte("GET / HTTP/1.1\r\n\r\n"),
		"half a header":            {0, 0, 0, 8, 0, 3, 0, 1, 0, 0, 0, 1},
		"half a Produce":           {0, 0, 0, 11, 0, 0, 0, 3, 0, 0, 0, 1, 0xff, 0xff, 0},
	} {
		t.Run(name, func(t *testing.T) {
			b := newFakeBroker(t, 1, number)
			_, at := startGateway(t, nil, b.addr())
			c := dialTo(t, at.Brokers[1])
			c.send(listGroups(1), bytes)
			if id, _ := c.receive(); id != 1 {
				t.Error("what came before is not answered")
			}
			_ = c.ended()
			if n := len(b.requests()); n != 1 {
				t.Errorf("the broker saw %d requests", n)
			}
		})
	}
}

func TestAProduceWithoutAcksGetsNoAnswerAndKeepsTheOrder(t *testing.T) {
	b := newFakeBroker(t, 1, func(r request) []byte {
		if r.key == 0 {
			return []byte{}
		}
		return number(r)
	})
	_, at := startGateway(t, nil, b.addr())
	c := dialTo(t, at.Brokers[1])
	q := kmsg.NewPtrProduceRequest()
	q.Version, q.Acks = 9, 0
	c.send(requestFrame(q, 1), listGroups(2), requestFrame(q, 3), listGroups(4))
	for _, want := range []int32{2, 4} {
		if id, _ := c.receive(); id != want {
			t.Errorf("answer %d instead of %d", id, want)
		}
	}
	if n := len(b.requests()); n != 4 {
		t.Errorf("the broker saw %d requests", n)
	}
}

func TestAnAnswerThatIsNotTheNextOneEndsBothConnections(t *testing.T) {
	for name, bad := range map[string][]byte{
		"another correlation id": {0, 0, 0, 8, 0, 0, 0, 99, 1, 2, 3, 4},
		"no length":              {0, 0, 0, 0, 0, 0, 0, 0},
		"a negative length":      {0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1},
		"an end in the middle":   {0, 0, 1, 0, 0, 0, 0, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			ends := make(chan struct{})
			go func() {
				for {
					nc, err := l.Accept()
					if err != nil {
						return
					}
					go func() {
						defer nc.Close()
						if r, err := readRequest(nc); err != nil || r.key != 16 {
							return // the prober
						}
						_, _ = nc.Write(bad)
						if name == "an end in the middle" {
							return
						}
						_, _ = readRequest(nc) // ends with the connection
						close(ends)
					}()
				}
			}()
			_, at := startGateway(t, nil, l.Addr().String())
			c := dialTo(t, at.Listeners["PLAINTEXT"])
			c.send(listGroups(1))
			_ = c.ended()
			if name != "an end in the middle" {
				<-ends
			}
		})
	}
}

// An end of the stream before any answer is taken for a wrong configuration by clients; a reset makes them come again.
func TestABrokerThatIsGoneResetsItsClients(t *testing.T) {
	b := newFakeBroker(t, 1, number)
	_, at := startGateway(t, nil, b.addr())
	b.close()
	c := dialTo(t, at.Brokers[1])
	c.send(listGroups(1))
	if err := c.ended(); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the connection ends with %v", err)
	}
}

func TestTheFirstAddressLeadsToABrokerThatLives(t *testing.T) {
	gone, b := newFakeBroker(t, 1, number), newFakeBroker(t, 2, number)
	_, at := startGateway(t, nil, gone.addr(), b.addr())
	gone.close()
	for i := range int32(4) { // in turn
		c := dialTo(t, at.Listeners["PLAINTEXT"])
		c.send(listGroups(i))
		if id, _ := c.receive(); id != i {
			t.Errorf("answer %d", id)
		}
	}
}

func TestAStopLetsRequestsUnderWayBeAnswered(t *testing.T) {
	asked, answer := make(chan struct{}), make(chan struct{})
	b := newFakeBroker(t, 1, func(r request) []byte {
		close(asked)
		<-answer
		return number(r)
	})
	g, at := startGateway(t, nil, b.addr())
	c := dialTo(t, at.Brokers[1])
	c.send(listGroups(1))
	<-asked
	g.stop()
	for { // nobody new is let in
		nc, err := net.Dial("tcp", at.Brokers[1])
		if err != nil {
			break
		}
		_ = nc.Close()
	}
	close(answer)
	if id, _ := c.receive(); id != 1 {
		t.Errorf("answer %d", id)
	}
	if err := c.ended(); err != nil {
		t.Errorf("the connection ends with %v", err)
	}
}

func TestAReloadMovesAddressesAndLeavesConnectionsAlone(t *testing.T) {
	b := newFakeBroker(t, 1, number)
	g, at := startGateway(t, nil, b.addr())
	c := dialTo(t, at.Brokers[1])
	c.send(listGroups(1))
	c.receive()
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	next := *g.config()
	next.Addr = busy.Addr().String()
	if err := g.Reload(next); !errors.Is(err, ErrConfig) {
		t.Errorf("an address in use gives %v", err)
	}
	if g.config().Addr == next.Addr {
		t.Error("a reload that failed has changed the configuration")
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	next.Addr = free.Addr().String()
	free.Close()
	next.MaxConnections = 5 // counts after a restart
	if err := g.Reload(next); err != nil {
		t.Fatal(err)
	}
	if g.config().MaxConnections == 5 {
		t.Error("a key that needs a restart counts at once")
	}
	fresh := dialTo(t, next.Addr)
	fresh.send(listGroups(3))
	if id, _ := fresh.receive(); id != 3 {
		t.Errorf("answer %d at the new address", id)
	}
	if nc, err := net.Dial("tcp", at.Listeners["PLAINTEXT"]); err == nil {
		nc.Close()
		t.Error("the old address still lets clients in")
	}
	c.send(listGroups(2))
	if id, _ := c.receive(); id != 2 {
		t.Errorf("answer %d on an old connection", id)
	}
}

func TestHostsOfBrokers(t *testing.T) {
	const pattern = "b{node}.kafka.example"
	for host, want := range map[string]int32{
		"b0.kafka.example": 0, "b12.kafka.example": 12, "B12.Kafka.Example.": 12, "b2147483647.kafka.example": 2147483647,
		"": bootstrap, "kafka.example": bootstrap, "b.kafka.example": bootstrap, "b-1.kafka.example": bootstrap, "b01.kafka.example": bootstrap,
		"b+1.kafka.example": bootstrap, "b1.kafka.example.org": bootstrap, "xb1.kafka.example": bootstrap, "b2147483648.kafka.example": bootstrap,
		"b1b2.kafka.example": bootstrap,
	} {
		if got := nodeOfHost(pattern, host); got != want {
			t.Errorf("%q is %d, want %d", host, got, want)
		}
		if want >= 0 && nodeOfHost(pattern, hostOfNode(pattern, want)) != want {
			t.Errorf("the host of %d leads elsewhere", want)
		}
	}
}

func TestManyBrokersAreNotAllRemembered(t *testing.T) {
	n := newNodes(nil)
	for id := range int32(maxNodes + 10) {
		n.learn(id, []byte("host"), id)
	}
	if got := n.count(); got != maxNodes {
		t.Errorf("%d are", got)
	}
	n.learn(3, []byte("other"), 1)
	if addr, _ := n.addr(3); addr != "other:1" {
		t.Errorf("a broker that moved is at %s", addr)
	}
}
